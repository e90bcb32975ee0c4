"""The stored database: what comes back, how many candidates fit, and vectors that fit nothing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file

from r4t_utils.data.corpus import Corpus
from r4t_utils.run import profiles
from r4t_utils.space import encoder as encoders
from r4t_utils.space.database import Database
from r4t_utils.space.encoder import DualEncoder, unit
from r4t_utils.space.index import Index


def rows(n, seed):
    return unit(np.random.default_rng(seed).standard_normal((n, 8))).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A database of 26 items and 3 outfits, whose sentence encoder is never asked."""
    monkeypatch.setattr(encoders, "SentenceEncoder", type("Mute", (), {"width": 384, "tuned": 0}))
    items = pd.DataFrame({"title": [f"item {i}" for i in range(26)], "category": "x"})
    collections = pd.DataFrame({"title": ["a", "b", "c"], "items": [[0, 1], [2], [3, 4]]})
    queries = pd.DataFrame({"query": ["q"], "family": "x", "group": 0, "split": ["train"], "items": [[0]]})
    heads = torch.randn(2, 384, 8, generator=torch.Generator().manual_seed(0))
    encoder = DualEncoder(encoders.SentenceEncoder(), torch.zeros(384), heads[0].clone(), heads[1].clone())
    corpus = Corpus("toy", items, collections, queries, queries)
    Database(corpus, encoder, Index(rows(3, 0)), Index(rows(26, 1))).save(tmp_path / "database")
    return tmp_path / "database"


def test_what_was_saved_comes_back(folder):
    database = Database.load(folder)
    np.testing.assert_array_equal(database.index("oar").vectors, rows(3, 0))
    np.testing.assert_array_equal(database.index("wscr").vectors, rows(26, 1))
    assert database.titles("oar")[0] == "a: item 0, item 1" and database.titles("wscr")[25] == "item 25"


@pytest.mark.parametrize("fraction, k, each", [(1.0, 10, 2), (0.035, 10, 1), (0.5, 2, 6), (0.5, 1, 13), (1.0, 26, 1)])
def test_directions_together_ask_for_no_more_items_than_there_are(folder, fraction, k, each):
    database = Database.load(folder)
    assert database.per_direction(fraction, k) == each
    assert k * each <= len(database.items)


def test_vectors_that_fit_neither_corpus_nor_encoder_are_named(folder):
    path = folder / "vectors.safetensors"
    vectors = load_file(path)
    save_file(vectors | {"items": vectors["items"][:25]}, path)
    with pytest.raises(
        ValueError, match=r"vectors.safetensors has items \(25, 8\).*corpus/ with encoder/ asks for \(26, 8\)"
    ):
        Database.load(folder)


class Hashed:
    """A sentence encoder that knows texts by their bytes alone."""

    width = 384
    tuned = 0

    def __call__(self, texts, label=""):
        rows = [np.random.default_rng([*text.encode()]).standard_normal(384) for text in texts]
        return np.stack(rows).astype(np.float32)


def test_a_corpus_whose_titles_may_not_teach_is_built_on_what_may():
    """Titles with a digit teach nothing; the names of items still do."""
    items = pd.DataFrame({"title": [f"model {i}" for i in range(60)], "category": "x"})
    collections = pd.DataFrame({"title": items.title, "items": [[i] for i in range(60)]})
    asked = [f"request {word}" for word in ("red", "blue", "green", "plain", "wide")]
    queries = pd.DataFrame({"query": asked, "family": "x", "group": range(5), "items": [[i] for i in range(5)]})
    queries["split"] = ["train", "train", "train", "validation", "test"]
    corpus, settings = Corpus("toy", items, collections, queries, queries), profiles.load("smoke", "").encoder
    for kept in (queries, queries[queries.split != "train"]):
        database = Database.build(replace(corpus, wscr=kept), Hashed(), settings, 0)
        assert np.isfinite(database.collections.vectors).all() and len(database.items) == 60
