"""The warm-up language, which must not know the corpus."""

import inspect

import numpy as np
import pytest

from r4t_utils.data.sample import generate
from r4t_utils.policy import warmup


@pytest.fixture(scope="module")
def corpus():
    return generate(1100, 60, 60)


@pytest.mark.parametrize("task", ["oar", "wscr"])
def test_generic_fanouts_are_k_short_queries(task):
    rng = np.random.default_rng(0)
    for query in ("boho beach look", "what to wear", "hat", "the a"):
        for k in (1, 10):
            subs = warmup.fanout(task, query, k, rng)
            assert len(subs) == k
            assert all(0 < len(s.split()) <= 12 and s == " ".join(s.split()) for s in subs)
    assert len(set(warmup.fanout(task, "boho beach look", 10, rng))) >= 8


def test_generic_fanouts_follow_the_seed():
    one, same, other = (warmup.fanout("oar", "boho beach look", 10, np.random.default_rng(s)) for s in (0, 0, 1))
    assert one == same != other


def test_unknown_task_is_an_error():
    with pytest.raises(KeyError):
        warmup.fanout("music", "boho beach look", 10, np.random.default_rng(0))


def test_generic_fanouts_know_nothing_of_the_database(monkeypatch):
    """They take no corpus, and they come out the same when the corpus cannot be read."""
    assert list(inspect.signature(warmup.fanout).parameters) == ["task", "query", "k", "rng"]
    before = warmup.fanout("wscr", "boho beach look", 10, np.random.default_rng(0))

    def forbidden(*_, **__):
        raise AssertionError("the warm-up looked at the database")

    for name in ("world", "generate", "surface"):
        monkeypatch.setattr(f"r4t_utils.data.sample.{name}", forbidden)
    monkeypatch.setattr("r4t_utils.data.corpus.Corpus.load", forbidden)
    warmup.language.cache_clear()
    assert warmup.fanout("wscr", "boho beach look", 10, np.random.default_rng(0)) == before
    assert warmup.language().keys() == {"endings", "openings", "thesaurus", "facets", "garments"}


def test_generic_fanouts_use_words_that_the_corpus_lacks(corpus):
    known = {word for title in corpus.items.title for word in title.split()}
    rng = np.random.default_rng(0)
    for task in ("oar", "wscr"):
        words = {w for _ in range(200) for sub in warmup.fanout(task, "boho beach", 10, rng) for w in sub.split()}
        assert len(words - known) >= 20 and len(words & known) >= 20
    garments = {g for g in warmup.language()["garments"] if not set(g.split()) & known}
    assert len(garments) >= 5  # garments that the corpus does not sell


def test_generic_outfit_queries_stay_on_topic_more_often_than_not():
    rng = np.random.default_rng(0)
    subs = [sub for _ in range(100) for sub in warmup.fanout("oar", "zigzag quokka", 10, rng)]
    kept = np.mean(["zigzag" in sub or "quokka" in sub for sub in subs])
    both = np.mean(["zigzag" in sub and "quokka" in sub for sub in subs])
    assert kept == 1 and 0.6 < both < 0.95  # the rest drifts: one topic word among unrelated facets
