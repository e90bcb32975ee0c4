"""What a finished stage says of itself: content hashes of its files, its inputs and the code that made it.

Two manifests with the same `digest` stand for the same artifact: the digest covers settings, seed and file
contents, and leaves out whatever differs between two equal runs (wall time, commit, machine).
"""

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

from r4t_utils.machine.checks import file_hash
from r4t_utils.machine.device import numerics
from r4t_utils.run import paths
from r4t_utils.run.files import text_hash, to_json

FILE = "manifest.json"
IDENTITY = ("stage", "profile", "label", "seed", "settings", "files")
LOOKED_UP = ("inputs", "data", "code", "results")
RECORDED_VERSIONS = ("torch", "transformers", "trl", "peft", "faiss-cpu", "numpy", "pandas", "pyarrow")


def digest(manifest: dict) -> str:
    """Identity of an artifact: what it is and holds, whenever and wherever it was made."""
    return text_hash(to_json({key: manifest[key] for key in IDENTITY}))


def state(manifest: dict) -> str:
    """The artifact with all that its reader sees: its digest, its results, and the code that made them."""
    return text_hash(to_json({key: manifest[key] for key in ("digest", "results", "code")}))


def read(folder: Path) -> dict | None:
    """The manifest of a finished stage; None where there is none or it cannot be read."""
    try:
        manifest = json.loads((folder / FILE).read_text(encoding="utf-8"))
        whole = manifest["digest"] == digest(manifest) and all(key in manifest for key in LOOKED_UP)
        return manifest if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def told(results: Path) -> dict[str, dict]:
    """What the manifest of a folder of results says of each stage; {} where there is none or it cannot be read."""
    try:
        return json.loads((results / FILE).read_text(encoding="utf-8"))["stages"]
    except (OSError, ValueError, KeyError):
        return {}


def damage(folder: Path, manifest: dict) -> str:
    """The first file that is missing, cut short or altered, in words; "" if all are as they were written."""
    for name, fact in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != fact["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {fact['bytes']}"
        if file_hash(path) != fact["sha256"]:
            return f"the content of {name} has changed"
    return ""


def provenance() -> dict:
    """Versions, commit and machine: what no setting fixes, and the last bits of a result may depend on."""
    import torch

    versions = {"python": platform.python_version()}
    for name in RECORDED_VERSIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    hardware = {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    return {"versions": versions, "commit": _commit(), "hardware": hardware | numerics()}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit, with a plus sign where the tree has changes, other than in what is recorded of runs (the results,
    and the notebooks, whose code is hashed beside it); None outside a repository."""
    git = ["git", "-C", str(paths.ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        own = [":!results", ":!notebooks/*.ipynb"]
        changes = subprocess.run(
            [*git, "status", "--porcelain", "-uno", "--", ".", *own], capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")
