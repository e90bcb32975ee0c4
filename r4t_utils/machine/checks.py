"""What comes from outside, numbers and saved files: taken if it is what it should be, else refused in plain words."""

import hashlib
import json
import math
import unicodedata
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, files
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError
from safetensors.numpy import load_file

from r4t_utils.settings import fault

if TYPE_CHECKING:
    import pandas as pd

LFS_POINTER = b"version https://git-lfs"

FREE = ("asked", "fanout", "finds", "pieces", "query", "sub_queries", "title")  # columns of a table: any text
UNSEEN = "\u115f\u1160\u2800\u3164\uffa0\ufffd"  # letters and symbols for Unicode, which show nothing or stand for none
LONGEST = 2000  # characters of a query; the encoder reads the first 128 tokens

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


def whole(name: str, value: object, low: int, high: float = math.inf, why: str = "") -> int:
    """The value as an int. Raises ValueError, with `why`, if it is not a whole number from low to high."""
    if isinstance(value, Integral) and not isinstance(value, bool) and low <= int(value) <= high:
        return int(value)
    bounds = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
    raise ValueError(f"{name}={value!r}: must be a whole number {bounds}" + (f"; {why}" if why else ""))


def require_text(query: object) -> None:
    """Raises ValueError for a query that is no text, too long, or without a character that can be seen."""
    if not isinstance(query, str):
        raise ValueError(f"the query is {query!r}, which is no text; give it as str")
    if len(query) > LONGEST:
        raise ValueError(f"the query has {len(query)} characters: at most {LONGEST} are read; shorten it")
    kinds = [unicodedata.category(c) for c in query if c not in UNSEEN]
    if "Cs" in kinds:
        raise ValueError(f"the query {query!r} holds half a surrogate pair; decode the text that it comes from anew")
    if not any(kind[0] in "LNPS" for kind in kinds):
        raise ValueError(f"the query is empty: {query!r} shows no character; give it at least one word")


def damaged(path: Path, what: str) -> ValueError:
    """The error that says what is wrong with a saved file, and the remedy."""
    return ValueError(f"{path} {what}; copy the folder anew, or make it again")


def require_same(checkpoint: Path, was: Mapping[str, object], now: Mapping[str, object], remedy: str) -> None:
    """Raises ValueError, with the remedy, for a checkpoint that was made with other settings than those of now."""
    if other := [f"{name}={was.get(name)!r}, not {value!r}" for name, value in now.items() if was.get(name) != value]:
        raise ValueError(f"{checkpoint} is a checkpoint of other settings ({', '.join(other)}); {remedy}")


def read(path: Path, parse: Callable[[Path], T]) -> T:
    """parse(path). Raises ValueError for a file that is missing, a Git LFS pointer, cut short or of another kind."""
    if not path.is_file():
        raise damaged(path, "is missing")
    try:
        with open(path, "rb") as file:
            pointer = file.read(len(LFS_POINTER)) == LFS_POINTER
        if not pointer:
            return parse(path)
    except Exception as error:  # whatever a parser makes of damage
        raise damaged(path, f"cannot be read: cut short, or of another kind ({type(error).__name__})") from None
    raise ValueError(f"{path} is a Git LFS pointer, not the file that it stands for; fetch that with `git lfs pull`")


def file_hash(*paths: Path) -> str:
    """sha256 of the content of a file, or of several in turn; raises OSError where one cannot be read."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def packaged(shipped: Mapping[str, str], sha256: str, remedy: str) -> list[Path]:
    """The files that installed packages ship, {package: name of its file}, which together are the one of this sha256;
    none where one of them is missing.

    Raises ValueError, with the remedy, for files of another sha256.
    """
    try:
        paths = [
            next(Path(str(f.locate())) for f in files(package) or () if f.name == name)
            for package, name in shipped.items()
        ]
    except (PackageNotFoundError, StopIteration):
        return []
    if (found := file_hash(*paths)) != sha256:
        what = ", ".join(map(str, paths))
        raise ValueError(f"{what} has sha256 {found}, not the official {sha256}: {remedy}")
    return paths


def read_json(path: Path, model: type[Model]) -> Model:
    """The values of a JSON file. Raises ValueError also where a key is unknown or missing, or a value not allowed."""
    values = read(path, lambda p: json.loads(p.read_bytes()))
    try:
        found = model.model_validate(values)
    except ValidationError as error:
        raise damaged(path, f"is not of this version ({'; '.join(map(fault, error.errors()))})") from None
    if left := sorted(model.model_fields.keys() - found.model_fields_set):
        raise damaged(path, f"is not of this version (no value for {', '.join(left)})")
    return found


def read_fields(path: Path, kind: Any) -> Any:
    """What a JSON file holds, the fields of a pydantic type checked and any others left. Raises ValueError, which names
    the field, for one that is missing or not allowed."""
    values = read(path, lambda p: json.loads(p.read_bytes()))
    try:
        TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise damaged(path, f"is not of this version ({'; '.join(map(fault, error.errors()))})") from None
    return values


def read_table(path: Path, *columns: str) -> "pd.DataFrame":
    """A CSV file as a table. Raises ValueError, which names the column, for one of these that is missing, and for a
    text where most lines have a number, but for columns of titles and the like, which may be 1984."""
    import pandas as pd  # which takes its time, and most callers of this file read no table

    table = read(path, pd.read_csv)
    if missing := [name for name in columns if name not in table]:
        raise damaged(path, f"has no column {missing[0]!r}")
    for name in table.select_dtypes(exclude="number").columns.difference(FREE):
        filled = table[name].dropna()
        odd = filled[pd.isna(pd.to_numeric(filled, errors="coerce"))].tolist()  # pyright: ignore
        if 0 < len(odd) < len(filled) / 2:
            raise damaged(path, f"has {name}={odd[0]!r}, where other lines have a number")
    return table


def read_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], source: str, dtype: type[np.floating] = np.float32
) -> dict[str, np.ndarray]:
    """Finite arrays of a safetensors file. Raises ValueError also for other names, types or shapes (from `source`)."""
    arrays = read(path, load_file)
    if other := sorted(arrays.keys() ^ shapes.keys()):
        raise damaged(path, f"does not hold the tensors that {source} asks for: {', '.join(other[:3])}")
    for name, x in arrays.items():
        if x.shape != shapes[name] or x.dtype != dtype:
            asked = f"{shapes[name]} in {np.dtype(dtype)}"
            raise damaged(path, f"has {name} {x.shape} in {x.dtype}; {source} asks for {asked}")
        if not np.isfinite(x).all():
            raise damaged(path, f"has values in {name} that are not finite")
    return arrays
