"""Policies tuned by one reward and looked at, on a small part of the sample corpus with an encoder of words."""

import numpy as np
import pytest
import tiny

from r4t_utils.data.sample import generate
from r4t_utils.evaluation import trials
from r4t_utils.policy.prompts import Fanout
from r4t_utils.space.database import Database
from r4t_utils.space.index import Index

K = 3


@pytest.fixture(scope="module")
def database():
    corpus, encoder = generate(1064, 60, 20), tiny.WordEncoder()
    corpus.oar["split"] = np.where(np.arange(len(corpus.oar)) % 2, "train", "validation")
    corpus.wscr["split"] = "train"
    corpus.oar["group"] = np.arange(len(corpus.oar)) // 4  # two validation queries a group
    return Database(corpus, encoder, *(Index(encoder.text(kind.title)) for kind in (corpus.collections, corpus.items)))


@pytest.fixture(scope="module")
def watched(database):
    return trials.Watched(database, tiny.settings())


def answers(watched, fanout):
    return [fanout(query) for query in watched.queries["query"]]


def test_one_query_of_a_group_is_watched(watched):
    assert watched.queries["group"].is_unique and len(watched.queries) == 15


def test_collapse_is_measured(watched, database):
    copies = watched.measured(answers(watched, lambda q: Fanout([q] * K, "")))
    assert (copies["copies"] == 1).all() and np.allclose(copies[["distinct", "contents"]], 1 / K)
    assert np.allclose(copies["align"], 1) and np.allclose(copies["div"], 1 / K)
    faulty = watched.measured(answers(watched, lambda q: Fanout([], "not JSON")))
    assert (faulty["formed"] == 0).all() and (copies["formed"] == 1).all()
    assert (faulty["fanout"] == "not JSON").all() and (faulty["copies"] == 1).all()  # the engine asks the query itself
    titles = database.corpus.collections.title.drop_duplicates().iloc[:K].tolist()
    same = watched.measured(answers(watched, lambda q: Fanout(titles, "")))
    assert np.allclose(same["elsewhere"], 1) and (same["contents"] == 1).all() and (same["outside"] == 0).all()
    assert same["ground"].mean() > copies["ground"].mean() and (same["align"] < 0.95).all()
    words = watched.measured(answers(watched, lambda q: Fanout(["zzx", "qqy dress", "wwv"], "")))
    assert np.allclose(words["outside"], np.mean([1, 1, 0, 1]))


@pytest.mark.training
@pytest.mark.parametrize("given", [False, True])
def test_a_trial_looks_before_during_and_after(database, tmp_path, given, monkeypatch):
    monkeypatch.setattr(trials, "SetReward", lambda *_: tiny.Toy())
    settings = tiny.settings("rl.steps=4 rl.learning_rate=1e-2")
    zero_shot = None
    if given:
        zero_shot = tmp_path / "given"
        tiny.policy().save(zero_shot)
    seen = trials.trial(database, zero_shot, settings, 0, tmp_path)
    assert sorted(set(seen["step"])) == [0, 1, 2, 3, 4] and seen.groupby("step")["query"].nunique().eq(15).all()
    assert (tmp_path / "zero_shot").exists() != given
    again = trials.trial(database, zero_shot, settings, 0, tmp_path / "again")
    assert seen.equals(again)


class Drawer:
    """A policy whose first sample of a query is the query itself, and each further one a facet more."""

    tokenizer = staticmethod(lambda texts: {"input_ids": [[0] * 7 for _ in texts]})

    def fan_out(self, task, queries, n, seed):
        facets = ["", " red", " blue"]
        return [[Fanout([q + f for f in (facets[: i + 1] * K)[:K]], "") for i in range(n)] for q in queries]


def test_the_best_of_more_samples_earns_more_and_takes_as_many_tokens(database, monkeypatch):
    monkeypatch.setattr(trials, "SAMPLES", 4)
    monkeypatch.setattr(trials.Folm, "load", lambda *_: Drawer())
    found = trials.best_of(database, {"toy": None}, tiny.settings(), 0)
    means = found.groupby("n")[["reward", "tokens"]].mean()
    assert list(means.index) == [1, 2, 4] and np.diff(means["reward"]).min() > 0
    assert means["tokens"].tolist() == [7, 14, 28] and found["query"].nunique() == 15
