"""What a finished stage says of itself: content hashes of its files, its inputs and the code that made it.

Two manifests with the same `digest` stand for the same artifact: the digest covers settings, seed and file
contents, and leaves out whatever differs between two equal runs (wall time, commit, machine).
"""

import ast
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil

from r4t_utils.run import paths

PACKAGE = "r4t_utils"
# Looks, not content.
UNHASHED = {f"{PACKAGE}.{name}" for name in ("evaluation.plots", "evaluation.figures", "machine.progress")}
LOOKED_UP = ("inputs", "data", "code", "results")
RECORDED_VERSIONS = ("torch", "transformers", "trl", "peft", "faiss-cpu", "numpy", "pandas", "pyarrow")


def write_text(path: Path, text: str) -> Path:
    """Writes a file under a temporary name and renames it, so that a reader sees the old text or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def to_json(value) -> str:
    """Strict JSON with sorted keys; numpy scalars and arrays become numbers and lists, NaN becomes null."""
    return json.dumps(_plain(value), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a file's content; raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hashes(folder: Path) -> dict[str, dict]:
    """{"model/weights.safetensors": {"sha256": ..., "bytes": ...}} for every file but the manifest."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != paths.manifest(folder))
    return {str(p.relative_to(folder)): {"sha256": file_hash(p), "bytes": p.stat().st_size} for p in files}


def data_hash(folder: Path | None) -> str:
    """Hash of the data files at the top of a data folder; "" without a folder."""
    if folder is None:
        return ""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in (".json", ".gz", ".txt"))
    return text_hash(to_json({p.name: file_hash(p) for p in files}))


def digest(manifest: dict) -> str:
    """Identity of an artifact: what it is and holds, whenever and wherever it was made."""
    kept = ("stage", "profile", "label", "seed", "settings", "files")
    return text_hash(to_json({key: manifest[key] for key in kept}))


def read(folder: Path) -> dict | None:
    """The manifest of a finished stage; None where there is none or it cannot be read."""
    try:
        manifest = json.loads(paths.manifest(folder).read_text(encoding="utf-8"))
        whole = manifest["digest"] == digest(manifest) and all(key in manifest for key in LOOKED_UP)
        return manifest if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


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


def code_hash(notebook: Path) -> str:
    """Hash of a notebook's code cells, of the package's modules that they import, directly or not, and of the
    data files (YAML, JSON) that those modules name.

    Comments, docstrings and layout do not count, nor do the modules that only draw or report. "" where there
    is no such notebook; ValueError where it is not one.
    """
    if not notebook.is_file():
        return ""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    trees = [_parsed(source) for source in sources]
    found, waiting = {}, sorted(set().union(*(_imports(tree, "") for tree in trees)))
    while waiting:
        module = waiting.pop()
        file = _file(module)
        if module in found or module in UNHASHED or file is None:
            continue
        text = file.read_text(encoding="utf-8")
        tree = _parsed(text)
        named = {
            p.name: file_hash(p)
            for p in sorted(file.parent.iterdir())
            if p.suffix in (".yaml", ".json") and p.name in text
        }
        found[module] = [ast.dump(tree), named]
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        waiting.extend(_imports(tree, package))
    return text_hash(to_json([[ast.dump(tree) for tree in trees], found]))


def _parsed(source: str) -> ast.Module:
    """The syntax tree without docstrings."""
    try:
        tree = ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source))
    except SyntaxError:
        return ast.Module(body=[ast.Expr(ast.Constant(source))], type_ignores=[])
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body.pop(0)
    return tree


def _imports(tree: ast.Module, package: str) -> set[str]:
    """The package's modules (and possible modules) that a tree imports, with their parent packages."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    ours = {name for name in names if name.split(".")[0] == PACKAGE}
    return {".".join(name.split(".")[:depth]) for name in ours for depth in range(1, name.count(".") + 2)}


def _file(module: str) -> Path | None:
    base = paths.ROOT.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def provenance() -> dict:
    """Versions, commit and machine, for the record."""
    versions = {"python": platform.python_version()}
    for name in RECORDED_VERSIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    hardware = {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": gpu,
    }
    return {"versions": versions, "commit": _commit(), "hardware": hardware}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit, with a plus sign where the tree has changes, other than in the results, which a run itself writes;
    None outside a repository."""
    git = ["git", "-C", str(paths.ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "-uno", "--", ".", ":!results"], capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")
