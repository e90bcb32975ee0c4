"""The data every stage shares: items, collections, and the queries of both tasks."""

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from r4t_utils.data.text import clean

SPLITS = ("train", "validation", "test")
TABLES = ("items", "collections", "oar", "wscr")


@dataclass(frozen=True)
class Corpus:
    """A fixed database D and its queries.

    Attributes:
        name: label of the data set ("sample", "polyvore", "polyvore-subset").
        items: one row per item, indexed 0..n-1: title, category (and known attributes, where there are any).
        collections: one row per outfit, indexed 0..m-1: title, items (row numbers of ``items``).
        oar: broad queries of open-ended abstract retrieval: query, group (of near-duplicates, the unit of splits and
            of intervals), split, family, and, where attributes are known, intent (JSON: attribute -> admissible
            values).
        wscr: queries of weakly supervised compositional retrieval: query, group, split, collection (the outfit that
            it was written for), items (that outfit's, the reference set Y).
    """

    name: str
    items: pd.DataFrame
    collections: pd.DataFrame
    oar: pd.DataFrame
    wscr: pd.DataFrame

    def queries(self, task: str, split: str) -> pd.DataFrame:
        """The rows of one task ("oar" or "wscr") and split, renumbered from 0; ValueError for an unknown split."""
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        table = {"oar": self.oar, "wscr": self.wscr}[task]
        return table.loc[table["split"] == split].reset_index(drop=True)

    def training_collections(self) -> np.ndarray:
        """Which collections may teach an encoder, bool (m,): no validation or test query was written for them, or is
        their title."""
        held_out = [table[table.split != "train"] for table in (self.oar, self.wscr)]
        asked = {clean(query) for table in held_out for query in table["query"]}
        named = self.collections.title.map(clean).isin(asked).to_numpy()
        return ~named & ~self.collections.index.isin(held_out[1].collection)

    def collection_texts(self) -> list[str]:
        """Each collection as one line of text: its items' titles."""
        titles = self.items.title.to_numpy()
        return [", ".join(titles[list(ids)]) for ids in self.collections["items"]]

    def require(self, k: int) -> "Corpus":
        """This corpus; ValueError where a fan-out of k directions, or a split, would be empty of meaning."""
        for what, count in (("items", len(self.items)), ("collections", len(self.collections))):
            if count < 5 * k:
                rule = f"k={k} directions need at least {5 * k}"
                raise ValueError(f"{self.name} has {count} {what}; {rule}: use a larger corpus or lower folm.k")
        for task, split in product(("oar", "wscr"), SPLITS):
            if len(self.queries(task, split)) < 2:
                few = f"{self.name} leaves the {split} split of {task} with fewer than 2 queries"
                raise ValueError(f"{few}; an 8:1:1 split needs at least 20 distinct queries: use a larger corpus")
        return self

    def save(self, folder: Path) -> None:
        """Writes one Parquet file per table, and corpus.json, into a folder that exists."""
        for table in TABLES:
            getattr(self, table).to_parquet(folder / f"{table}.parquet")
        (folder / "corpus.json").write_text(json.dumps({"name": self.name}))

    @classmethod
    def load(cls, folder: Path) -> "Corpus":
        """The corpus that ``save`` wrote into the folder."""
        name = json.loads((folder / "corpus.json").read_text())["name"]
        return cls(name, *(pd.read_parquet(folder / f"{table}.parquet") for table in TABLES))
