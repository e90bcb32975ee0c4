"""Files that appear whole or not at all, and the hashes of what they hold."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r4t_utils.machine.checks import file_hash


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


def to_json(value: Any) -> str:
    """Strict JSON with sorted keys; numpy scalars and arrays become numbers and lists, and what is not finite null."""
    return json.dumps(_plain(value), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def text_hash(text: str) -> str:
    """sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def folder_hashes(folder: Path) -> dict[str, dict]:
    """{"model/weights.safetensors": {"sha256": ..., "bytes": ...}} for every file."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): {"sha256": file_hash(p), "bytes": p.stat().st_size} for p in files}


def unwritable(folder: Path) -> str:
    """Why nothing can be written into a folder, which need not exist yet, in words; "" if something can."""
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    probe = existing / f".{os.getpid()}.partial"
    try:
        probe.touch()
        probe.unlink()
        return ""
    except OSError as error:
        return f"{folder} cannot be written ({existing}: {error.strerror})"


def move_files(source: Path, target: Path) -> None:
    """Moves every file below `source` to its place below `target`, one rename each, and removes `source`."""
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
    shutil.rmtree(source)


def replaced(path: Path) -> Path:
    """Where a file or folder waits while its successor takes its place."""
    return path.with_name(f".{path.name}.replaced")


def replace(successors: Mapping[Path, Path]) -> None:
    """Puts finished files or folders in their predecessors' places, {place: successor}: all of them, or none where it
    fails or is interrupted.

    Where the process is killed, some are there and others are not; `restore` of a place leaves it with one of the two.
    """
    moved: list[Path] = []
    try:
        for place, successor in successors.items():
            restore(place)
            moved.append(place)
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                os.replace(place, replaced(place))
            os.replace(successor, place)
    except BaseException:
        for place in moved:
            if replaced(place).exists() or not successors[place].exists():
                remove(place)  # the successor, if it came so far
            restore(place)
        raise
    for place in moved:
        remove(replaced(place))


def restore(place: Path) -> None:
    """Brings back a file or folder whose replacement was cut short."""
    waiting = replaced(place)
    if waiting.exists() and not place.exists():
        os.replace(waiting, place)
    remove(waiting)


def remove(path: Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        path.unlink()
