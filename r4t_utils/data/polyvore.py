"""Maryland Polyvore (Han et al. 2017): outfits that people published, read from the official JSON files.

The folder holds train_no_dup.json, valid_no_dup.json and test_no_dup.json, or some of them, plain or as
.json.gz, and category_id.txt where there is one. The paper's database is the union of the three, so their own
split is not kept.
"""

import gzip
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from r4t_utils.data import polyvore_queries
from r4t_utils.data.corpus import Corpus

# git blob ids of the official files, in polyvore.tar.gz of xthan/polyvore-dataset
OFFICIAL = {
    "train_no_dup.json": "45fac021b7b1b9af4ccde3ad7813e51e20f4259d",
    "valid_no_dup.json": "719a3ffb2ecc47e6ab9787c8ab6ac874475865c7",
    "test_no_dup.json": "ae6fae8265264a287d7d94f80f68538b03933ea0",
}
CATEGORIES = "category_id.txt"
MIN_ITEMS = 4  # named items that make an outfit
SEED = 2603  # queries and splits are data: training seeds do not change them
REMEDY = "unpack it from polyvore.tar.gz of xthan/polyvore-dataset"


class DataError(ValueError):
    """A data folder or file that cannot be used; the message names it, the rule and the remedy."""


def label(folder: Path) -> str:
    """ "polyvore" where the folder holds the three official files, to the byte, else "polyvore-subset".

    Raises DataError where no file is there, or one cannot be read as outfits.
    """
    files = _read(folder)
    if _official(files):
        return "polyvore"
    for name, data in files.items():
        _outfits(folder / name, data)
    return "polyvore-subset"


def load(folder: Path, n_oar_queries: int, n_wscr_queries: int, max_outfits: int = 0) -> Corpus:
    """The corpus of a folder; the same files and arguments give the same corpus.

    Items without a name are left out. Outfits with fewer than ``MIN_ITEMS`` others are dropped, and counted
    in ``collections.attrs["dropped"]``; of the rest, ``max_outfits`` drawn with a fixed seed stay (0: all).
    Items of one name stay separate items. There may be fewer queries than asked for: the data decide. Prints
    one line where the files are not the official ones.

    Raises DataError as ``label`` does, and where no outfit is left.
    """
    files = _read(folder)
    official = _official(files)
    if not official:
        print(f"unverified subset: {', '.join(files)} in {folder} are not the three official Polyvore files")
    categories = _categories(folder)
    read = [outfit for name, data in files.items() for outfit in _outfits(folder / name, data)]
    kept = [outfit for outfit in read if len(outfit[1]) >= MIN_ITEMS]
    dropped = len(read) - len(kept)
    if not kept:
        rule = f"none with {MIN_ITEMS} named items or more; at least one is needed"
        raise DataError(f"{folder} has {len(read)} outfits, {rule}: use more data")
    rng = np.random.default_rng(SEED)
    if 0 < max_outfits < len(kept):
        kept = [kept[i] for i in sorted(rng.choice(len(kept), max_outfits, replace=False))]
    items, collections = [], []
    for title, members in kept:
        rows = range(len(items), len(items) + len(members))
        items += [{"title": name, "category": categories.get(n, f"category {n}")} for name, n in members]
        collections.append({"title": title, "items": list(rows)})
    items, collections = pd.DataFrame(items), pd.DataFrame(collections)
    collections.attrs["dropped"] = dropped
    oar = polyvore_queries.broad_queries(items, collections, n_oar_queries, rng)
    wscr = polyvore_queries.outfit_queries(items, collections, n_wscr_queries, rng)
    return Corpus("polyvore" if official else "polyvore-subset", items, collections, oar, wscr)


def blob_id(data: bytes) -> str:
    """The id that git gives to a file of these bytes: 40 hexadecimal digits."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _official(files: dict[str, bytes]) -> bool:
    return {name.removesuffix(".gz"): blob_id(data) for name, data in files.items()} == OFFICIAL


def _read(folder: Path) -> dict[str, bytes]:
    """The uncompressed bytes of every official name in the folder; the plain file goes before the .gz."""
    if not folder.is_dir():
        remedy = f"give the one that holds {', '.join(OFFICIAL)}"
        raise DataError(f"data folder {folder} is missing or not a folder: {remedy}")
    found = {}
    for name in OFFICIAL:
        path = next((folder / n for n in (name, f"{name}.gz") if (folder / n).is_file()), None)
        if path is None:
            continue
        try:
            data = path.read_bytes()
            found[path.name] = gzip.decompress(data) if path.suffix == ".gz" else data
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be read ({error}); it must be a whole file: {REMEDY}") from None
    if not found:
        rule = f"none of {', '.join(OFFICIAL)}, plain or as .json.gz; at least one is needed"
        raise DataError(f"data folder {folder} holds {rule}: {REMEDY}")
    return found


def _outfits(path: Path, data: bytes) -> list[tuple[str, list[tuple[str, int]]]]:
    """(title, [(item name, category id)]) of every outfit of one file; items without a name are left out."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}): {REMEDY}") from None
    if not isinstance(content, list) or not content:
        raise DataError(f"{path} must be a list of outfits, and not an empty one: {REMEDY}")
    return [_outfit(path, number, entry) for number, entry in enumerate(content)]


def _outfit(path: Path, number: int, entry: Any) -> tuple[str, list[tuple[str, int]]]:
    try:
        title, members = entry["name"], [(item["name"], item["categoryid"]) for item in entry["items"]]
    except (KeyError, TypeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else "it has another shape"
        rule = "must be {name, items: [{name, categoryid}, ...]}"
        raise DataError(f"{path}: outfit {number} {rule}, but {what}: {REMEDY}") from None
    for name, category in members:
        if type(name) is not str or type(category) is not int:
            values = f"name={name!r}, categoryid={category!r}; they must be text and a whole number"
            raise DataError(f"{path}: outfit {number} has an item with {values}: {REMEDY}")
    if type(title) is not str:
        raise DataError(f"{path}: outfit {number} has name={title!r}; it must be text: {REMEDY}")
    return " ".join(title.split()), [(" ".join(name.split()), category) for name, category in members if name.strip()]


def _categories(folder: Path) -> dict[int, str]:
    """Category id -> name; empty where the folder has no such table."""
    path = folder / CATEGORIES
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [line.split(maxsplit=1) for line in lines if line.strip()]
        return {int(number): name.strip() for number, name in rows}
    except (OSError, ValueError) as error:
        rule = "every line must be a category id and its name"
        raise DataError(f"{path} cannot be read ({error}); {rule}: {REMEDY}, or remove it") from None
