"""The data every stage shares: items, collections, and the queries of both tasks."""

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel

from r4t_utils.data.language import Language, fashion, own_words
from r4t_utils.data.splits import near_to
from r4t_utils.machine.checks import damaged, read, read_json

SPLITS = ("train", "validation", "test")
NEEDED = {  # columns of each table; others are for the judge or the reader
    "items": {"title", "category"},
    "collections": {"title", "items"},
    "oar": {"query", "family", "group", "split"},
    "wscr": {"query", "items", "group", "split"},
    "qrels": {"query", "content", "subtopic"},
}
TABLES = ("items", "collections", "oar", "wscr")
Speaks = Literal["fashion", "own words"]


class _Facts(BaseModel):
    name: str
    speaks: Speaks
    labels: bool


@dataclass(frozen=True)
class Corpus:
    """A fixed database D and its queries.

    Attributes:
        name: label of the data set ("sample", "polyvore-subset", "perspectrum", "jsonl-recipes").
        items: one row per item, indexed 0..n-1: title, category (and known attributes, where there are any).
        collections: one row per outfit, indexed 0..m-1: title, items (row numbers of ``items``).
        oar: broad queries of open-ended abstract retrieval: query, group (of near-duplicates, the unit of splits and
            of intervals), split, family, and, where attributes are known, intent (JSON: attribute -> admissible
            values). With qrels also id, and apart: a validation or test query that shares no relevant content with
            any training query.
        wscr: queries of weakly supervised compositional retrieval: query, group, split, items (the reference set Y),
            and, where Y is the items of one outfit, collection (the outfit).
        qrels: None, or what people judged relevant: query (an id of ``oar``), content (row number of ``collections``),
            subtopic (text, the query's own).
        speaks: what the small policy's warm-up is composed of: "fashion", a list written for it, or "own words".
    """

    name: str
    items: pd.DataFrame
    collections: pd.DataFrame
    oar: pd.DataFrame
    wscr: pd.DataFrame
    qrels: pd.DataFrame | None = None
    speaks: Speaks = "fashion"

    def queries(self, task: str, split: str) -> pd.DataFrame:
        """The rows of one task ("oar" or "wscr") and split, renumbered from 0; ValueError for an unknown split.

        Each task is split by itself, so a training query of one may be near to a held-out query of the other: such a
        query is in no split.
        """
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        table = {"oar": self.oar, "wscr": self.wscr}[task]
        rows = (table["split"] == split).to_numpy()
        return table.loc[rows if split != "train" else rows & ~self._told[task]].reset_index(drop=True)

    @cached_property
    def _held_out(self) -> list[str]:
        """Validation and test queries of both tasks."""
        return [query for table in (self.oar, self.wscr) for query in table.loc[table["split"] != "train", "query"]]

    @cached_property
    def _told(self) -> dict[str, np.ndarray]:
        """Which queries of a task are near to a held-out query of either: bool (n,)."""
        tables = {"oar": self.oar, "wscr": self.wscr}
        return {task: near_to(table["query"].tolist(), self._held_out) for task, table in tables.items()}

    @cached_property
    def language(self) -> Language:
        """The general language of the small policy's warm-up: a fashion list, or the commonest words of the contents
        and of the training queries, one by one, so that it does not say which of them go together."""
        if self.speaks == "fashion":
            return fashion()
        asked = [query for task in ("oar", "wscr") for query in self.queries(task, "train")["query"]]
        return own_words(list(dict.fromkeys(asked)), self.items.title.tolist())

    def training_collections(self) -> np.ndarray:
        """Which collections may teach an encoder, bool (m,): no validation or test query was written for them, is
        near to their title (`near_to`), or has them among its relevant contents."""
        held_out = [table[table.split != "train"] for table in (self.oar, self.wscr)]
        excluded = near_to(self.collections.title.tolist(), self._held_out)
        if "collection" in self.wscr:
            excluded = excluded | self.collections.index.isin(held_out[1]["collection"].tolist())
        if self.qrels is not None:
            theirs = self.qrels.loc[self.qrels["query"].isin(held_out[0]["id"].tolist()), "content"]
            excluded = excluded | self.collections.index.isin(theirs.tolist())
        return ~excluded

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
        if self.qrels is not None:
            self.qrels.to_parquet(folder / "qrels.parquet")
        facts = _Facts(name=self.name, speaks=self.speaks, labels=self.qrels is not None)
        (folder / "corpus.json").write_text(json.dumps(facts.model_dump()))

    @classmethod
    def load(cls, folder: Path) -> "Corpus":
        """The corpus that ``save`` wrote into the folder; ValueError that names a missing or damaged file."""
        facts = read_json(folder / "corpus.json", _Facts)
        names = (*TABLES, "qrels") if facts.labels else TABLES
        return cls(facts.name, *(_table(folder, name) for name in names), speaks=facts.speaks)


def _table(folder: Path, name: str) -> pd.DataFrame:
    path = folder / f"{name}.parquet"
    table = read(path, pd.read_parquet)
    if missing := sorted(NEEDED[name] - {*table}):
        raise damaged(path, f"has no column {', '.join(missing)}")
    return table
