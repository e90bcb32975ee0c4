"""The warm-up language, which must not know the corpus."""

import inspect
import re

import numpy as np
import pytest

from r4t_utils.data.language import fashion, own_words
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
            subs = warmup.fanout(task, query, k, rng, fashion())
            assert len(subs) == k
            assert all(0 < len(s.split()) <= 12 and s == " ".join(s.split()) for s in subs)
    assert len(set(warmup.fanout(task, "boho beach look", 10, rng, fashion()))) >= 8


def test_generic_fanouts_follow_the_seed():
    one, same, other = (
        warmup.fanout("oar", "boho beach look", 10, np.random.default_rng(s), fashion()) for s in (0, 0, 1)
    )
    assert one == same != other


def test_unknown_task_is_an_error():
    with pytest.raises(KeyError):
        warmup.fanout("music", "boho beach look", 10, np.random.default_rng(0), fashion())


def test_generic_fanouts_know_nothing_of_the_database(monkeypatch):
    """They take no corpus, and they come out the same when the corpus cannot be read."""
    assert list(inspect.signature(warmup.fanout).parameters) == ["task", "query", "k", "rng", "language"]
    before = warmup.fanout("wscr", "boho beach look", 10, np.random.default_rng(0), fashion())

    def forbidden(*_, **__):
        raise AssertionError("the warm-up looked at the database")

    for name in ("world", "generate", "surface"):
        monkeypatch.setattr(f"r4t_utils.data.sample.{name}", forbidden)
    monkeypatch.setattr("r4t_utils.data.corpus.Corpus.load", forbidden)
    fashion.cache_clear()
    assert warmup.fanout("wscr", "boho beach look", 10, np.random.default_rng(0), fashion()) == before


def test_generic_fanouts_use_words_that_the_corpus_lacks(corpus):
    known = {word for title in corpus.items.title for word in title.split()}
    rng = np.random.default_rng(0)
    for task in ("oar", "wscr"):
        words = {
            w for _ in range(200) for sub in warmup.fanout(task, "boho beach", 10, rng, fashion()) for w in sub.split()
        }
        assert len(words - known) >= 20 and len(words & known) >= 20
    garments = {g for g in fashion().things if not set(g.split()) & known}
    assert len(garments) >= 5  # garments that the corpus does not sell


def test_generic_outfit_queries_stay_on_topic_more_often_than_not():
    rng = np.random.default_rng(0)
    subs = [sub for _ in range(100) for sub in warmup.fanout("oar", "zigzag quokka", 10, rng, fashion())]
    kept = np.mean(["zigzag" in sub or "quokka" in sub for sub in subs])
    both = np.mean(["zigzag" in sub and "quokka" in sub for sub in subs])
    assert kept == 1 and 0.6 < both < 0.95  # the rest drifts: one topic word among unrelated facets


CLAIMS = [
    "Vaccination must be made compulsory",
    "Zoos should be closed",
    "We should ban the \u201csmart\u201d motorways now",
]
POINTS = [
    "zoos teach children about animals",
    "animals suffer in zoos",
    "vaccines protect children",
    "motorways cost money",
]


def test_a_corpus_of_another_subject_is_warmed_up_in_its_own_words():
    """Nothing of fashion is said, and only words of the query, of the corpus one by one, and neutral ones are."""
    language, rng, said = own_words(CLAIMS, POINTS), np.random.default_rng(0), set()
    for task in ("oar", "wscr"):
        for query in CLAIMS:
            for _ in range(60):
                subs = warmup.fanout(task, query, 10, rng, language)
                assert all(0 < len(sub.split()) <= language.longest + 5 <= 12 and '"' not in sub for sub in subs)
                said |= {word for sub in subs for word in sub.split()}
    theirs = {word for text in [*CLAIMS, *POINTS] for word in re.findall("[a-z]+", text.lower())}
    neutral = {
        word
        for term in (*language.openings, *language.endings, *language.facets["aspects"], "with")
        for word in term.split()
    }
    assert said <= theirs | neutral and {"animals", "children", "vaccination"} <= said
    assert not {"outfit", "dress", "boho", "clothes", "wear"} & (said | neutral)
    assert not {"must", "should", "the"} & (said - neutral)


def test_own_words_are_the_commonest_first_with_one_spelling_each():
    language = own_words(["Zoo or zoos?", "the zoo"], ["a cat and cats", "a cat", "dogs", "dogs 12 in"])
    assert language.facets["contents"] == ["cat", "dogs"] and language.facets["queries"] == ["zoo"]
    with pytest.raises(ValueError, match="no content has a word of 3 letters"):
        own_words(["zoo"], ["of it", "12 34"])
