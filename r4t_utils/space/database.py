"""The frozen database of a run: the corpus, the dual encoder and one index a task, as notebook 1 stores them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from r4t_utils.data.corpus import Corpus
from r4t_utils.space.encoder import DualEncoder
from r4t_utils.space.index import Index


@dataclass(frozen=True)
class Database:
    """OAR searches collections, WSCR searches items."""

    corpus: Corpus
    encoder: DualEncoder
    collections: Index
    items: Index

    def index(self, task: str) -> Index:
        return {"oar": self.collections, "wscr": self.items}[task]

    def titles(self, task: str) -> list[str]:
        """What a person reads of each content: an item's title, a collection's title and items."""
        if task == "wscr":
            return self.corpus.items.title.tolist()
        collections = zip(self.corpus.collections.title, self.corpus.collection_texts())
        return [f"{title}: {text}" for title, text in collections]

    def per_direction(self, fraction: float, k: int) -> int:
        """Candidates of one WSCR direction when k of them pool ``fraction`` of the items."""
        return max(1, round(fraction * len(self.items) / k))

    def save(self, folder: Path) -> None:
        for part in ("corpus", "encoder"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            getattr(self, part).save(folder / part)
        vectors = {"items": self.items.vectors, "collections": self.collections.vectors}
        save_file(vectors, folder / "vectors.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "Database":
        vectors = load_file(folder / "vectors.safetensors")
        return cls(
            Corpus.load(folder / "corpus"),
            DualEncoder.load(folder / "encoder"),
            *(Index(np.ascontiguousarray(vectors[name])) for name in ("collections", "items")),
        )
