"""Maryland Polyvore (Han et al. 2017): outfits that people published, read from the official JSON files.

The folder holds train_no_dup.json, valid_no_dup.json and test_no_dup.json, or some of them, plain or compressed by
gzip, as .json or .json.gz, and category_id.txt where there is one. The paper's database is the union of the three, so
their own split is not kept.
"""

import gzip
import hashlib
import json
import re
import unicodedata
import zlib
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from r4t_utils.data import polyvore_queries
from r4t_utils.data.corpus import Corpus
from r4t_utils.settings import fault

# git blob ids of the official files, in polyvore.tar.gz of xthan/polyvore-dataset
OFFICIAL = {
    "train_no_dup.json": "45fac021b7b1b9af4ccde3ad7813e51e20f4259d",
    "valid_no_dup.json": "719a3ffb2ecc47e6ab9787c8ab6ac874475865c7",
    "test_no_dup.json": "ae6fae8265264a287d7d94f80f68538b03933ea0",
}
MIN_ITEMS = 4  # named items that make an outfit
BLANK = " \u034f\u115f\u1160\u2800\u3164\uffa0\ufe0e\ufe0f"  # letters and marks that show nothing
REMEDY = "unpack it from polyvore.tar.gz of xthan/polyvore-dataset"


class DataError(ValueError):
    """A data folder or file that cannot be used; the message names it, the rule and the remedy, in ASCII."""

    def __init__(self, what: str, remedy: str = REMEDY):
        super().__init__(f"{what}: {remedy}".encode("ascii", "backslashreplace").decode())


def _visible(text: str) -> str:
    """A text as a reader sees it: without control and format characters, runs of whitespace as one space."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds half a surrogate pair")
    shown = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))
    return " ".join(shown.split()) if shown.strip(BLANK) else ""


Text = Annotated[str, AfterValidator(_visible)]


class Item(BaseModel):
    name: Text
    categoryid: int


class Outfit(BaseModel):
    """One entry of a file; other keys are ignored, and so are items without a visible name."""

    set_id: Annotated[Text, BeforeValidator(lambda value: "" if value is None else str(value))] = ""
    name: Text
    items: Annotated[list[Item], AfterValidator(lambda items: [item for item in items if item.name])]


OUTFITS = TypeAdapter(Annotated[list[Outfit], Field(min_length=1)])


def label(folder: Path) -> str:
    """ "polyvore" where the folder holds the three official files, to the byte, else "polyvore-subset".

    Raises DataError where no file is there, or one cannot be read as outfits or as category names.
    """
    name, files = _read(folder)
    _categories(folder)
    if name != "polyvore":
        _outfits(files)
    return name


def load(folder: Path, n_oar_queries: int, n_wscr_queries: int, max_outfits: int = 0) -> Corpus:
    """The corpus of a folder; the same files and arguments give the same corpus.

    An outfit whose set_id an earlier one has is left out, and so is one with fewer than ``MIN_ITEMS`` named items;
    ``collections.attrs`` counts them as "repeated" and "dropped". Of the rest, ``max_outfits`` drawn with a fixed seed
    stay (0: all). Items of one name stay separate items. There may be fewer queries than asked for: the data decide.
    Prints a line where files are not official or outfits are repeated. Raises DataError as ``label`` does, and where
    no outfit is left.
    """
    (name, files), categories = _read(folder), _categories(folder)
    if name != "polyvore":
        given = ", ".join(path.name for path in files)
        print(f"unverified subset: {given} in {str(folder)!a} are not the three official Polyvore files")
    read, repeated = _outfits(files)
    if repeated:
        print(f"repeated outfits: {repeated} in {str(folder)!a} have the set_id of an earlier one and are left out")
    kept = [outfit for outfit in read if len(outfit.items) >= MIN_ITEMS]
    if not kept:
        raise DataError(f"{folder} has {len(read)} outfits, none with {MIN_ITEMS} named items or more", "use more data")
    rng = np.random.default_rng(2603)  # queries and splits are data: training seeds do not change them
    if 0 < max_outfits < len(kept):
        kept = [kept[i] for i in sorted(rng.choice(len(kept), max_outfits, replace=False))]
    members = [item for outfit in kept for item in outfit.items]
    category = [categories.get(item.categoryid, f"category {item.categoryid}") for item in members]
    items = pd.DataFrame({"title": [item.name for item in members], "category": category})
    number = count()
    rows = [[next(number) for _ in outfit.items] for outfit in kept]
    collections = pd.DataFrame({"title": [outfit.name for outfit in kept], "items": rows})
    collections.attrs.update(dropped=sum(len(outfit.items) < MIN_ITEMS for outfit in read), repeated=repeated)
    oar = polyvore_queries.broad_queries(items, collections, n_oar_queries, rng)
    wscr = polyvore_queries.outfit_queries(items, collections, n_wscr_queries, rng)
    return Corpus(name, items, collections, oar, wscr)


def blob_id(data: bytes) -> str:
    """The id that git gives to a file of these bytes: 40 hexadecimal digits."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _read(folder: Path) -> tuple[str, dict[Path, bytes]]:
    """The label of the folder, and the uncompressed bytes of its files; a .json goes before a .json.gz."""
    if not folder.is_dir():
        raise DataError(f"data folder {folder} is missing or no folder", f"give the one with {', '.join(OFFICIAL)}")
    found = {}
    for name in OFFICIAL:
        for path in [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()][:1]:
            try:
                data = path.read_bytes()
                found[path] = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"{path} cannot be read ({error}); it must be a whole file") from None
    if not found:
        raise DataError(f"data folder {folder} holds none of {', '.join(OFFICIAL)}, plain or as .json.gz")
    official = {path.name.removesuffix(".gz"): blob_id(data) for path, data in found.items()} == OFFICIAL
    return "polyvore" if official else "polyvore-subset", found


def _outfits(files: dict[Path, bytes]) -> tuple[list[Outfit], int]:
    """Every outfit of the files, each set_id once, and how many repeats were left out."""
    found, total = {}, 0
    for path, data in files.items():
        try:
            outfits = OUTFITS.validate_python(json.loads(data), strict=True)
        except ValidationError as errors:
            first = errors.errors()[0]
            raise DataError(f"{path}: {'outfit ' * bool(first['loc'])}{fault(first)}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is not valid JSON ({error})") from None
        for number, outfit in enumerate(outfits):
            found.setdefault(outfit.set_id or (path, number), outfit)
        total += len(outfits)
    return list(found.values()), total - len(found)


def _categories(folder: Path) -> dict[int, str]:
    """Category id -> name; empty where the folder has no such table."""
    path, found = folder / "category_id.txt", {}
    try:
        lines = path.read_bytes().splitlines() if path.is_file() else []
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})", f"{REMEDY}, or remove it") from None
    for number, line in enumerate(lines, 1):
        text = _visible(line.decode(errors="replace"))
        row = re.fullmatch(r"([0-9]{1,9}) ([^\ufffd]+)", text)
        if text and (not row or found.setdefault(int(row[1]), row[2]) != row[2]):
            rule = "every line must be a category id and its one name"
            raise DataError(f"{path}: line {number}={line!r:.200}; {rule}", f"{REMEDY}, or remove it")
    return found
