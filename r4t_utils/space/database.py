"""The frozen database of a run: the corpus, the dual encoder and one index a task, as notebook 1 stores them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from r4t_utils.data.corpus import Corpus
from r4t_utils.settings import EncoderSettings
from r4t_utils.space.encoder import DualEncoder, SentenceEncoder, collection_embeddings, fit_heads
from r4t_utils.space.finetune import taught_pairs
from r4t_utils.space.index import Index, load_indices


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
        """What a person reads of each content: an item's title; a collection's title and, where it says more, items."""
        if task == "wscr":
            return self.corpus.items.title.tolist()
        pairs = zip(self.corpus.collections.title, self.corpus.collection_texts())
        return [title if title == text else f"{title}: {text}" for title, text in pairs]

    def per_direction(self, fraction: float, k: int) -> int:
        """Candidates of one WSCR direction when k of them pool ``fraction`` of the items (all, at most)."""
        n = len(self.items)
        return max(1, min(round(fraction * n / k), n // k))

    @classmethod
    def build(cls, corpus: Corpus, sentence: SentenceEncoder, settings: EncoderSettings, seed: int) -> "Database":
        """The corpus in the space of a sentence encoder and of heads fitted here, on `taught_pairs` and item names."""
        items = sentence(corpus.items["title"].tolist(), label="encode items")
        contents = collection_embeddings(items, corpus.collections["items"].tolist())
        named = items[np.random.default_rng(seed).permutation(len(items))[: 2 * len(contents)]]
        taught = [
            (sentence(kind.texts), np.stack([sentence(content).mean(0) for content in kind.contents]))
            for kind in taught_pairs(corpus)
            if kind.texts
        ]
        encoder = fit_heads(sentence, [(named, named), *taught], settings, seed)
        return cls(corpus, encoder, *(Index(encoder.content(each), encoder.space) for each in (contents, items)))

    def save(self, folder: Path) -> None:
        (folder / "corpus").mkdir(parents=True, exist_ok=True)
        self.corpus.save(folder / "corpus")
        self.encoder.save(folder / "encoder")
        vectors = {"items": self.items.vectors, "collections": self.collections.vectors}
        save_file(vectors, folder / "vectors.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "Database":
        """The database that `save` wrote. ValueError where encoder or vectors are damaged or do not fit the rest."""
        corpus, encoder = Corpus.load(folder / "corpus"), DualEncoder.load(folder / "encoder")
        shapes = {name: (len(getattr(corpus, name)), encoder.d) for name in ("collections", "items")}
        vectors, source = folder / "vectors.safetensors", "corpus/ with encoder/"
        return cls(corpus, encoder, *load_indices(vectors, shapes, source, encoder.space))
