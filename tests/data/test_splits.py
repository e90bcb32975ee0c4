import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r4t_utils.data import splits
from r4t_utils.data.splits import LARGEST, near_duplicate_groups, split_811
from r4t_utils.data.text import topic_words

WORDS = ["boho", "beach", "beaches", "winter", "cosy", "look", "for", "the", "party", "gig", "red"]
queries = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join), min_size=1, max_size=15)


def brute_force(texts, keys, threshold):
    """Components by repeated merging over all pairs: slow and simple."""
    words = [topic_words(text) for text in texts]

    def near(i, j):
        if any(values[i] == values[j] for values in keys):
            return True
        either = words[i] | words[j]
        return not either or len(words[i] & words[j]) / len(either) >= threshold

    group = list(range(len(texts)))
    for _ in texts:
        for i in range(len(texts)):
            for j in range(len(texts)):
                if near(i, j):
                    group[i] = group[j] = min(group[i], group[j])
    return group


def partition(groups):
    groups = np.asarray(groups).tolist()
    return {frozenset(i for i, g in enumerate(groups) if g == name) for name in groups}


@settings(deadline=None)
@given(queries, st.sampled_from([0.5, 0.8, 1.0]), st.integers(0, 2), st.randoms(use_true_random=False))
def test_groups_are_the_components_of_near_duplicates(texts, threshold, keyed, random):
    keys = [[random.randint(0, 8) for _ in texts] for _ in range(keyed)]
    found = near_duplicate_groups(texts, *keys, threshold=threshold)
    assert partition(found) == partition(brute_force(texts, keys, threshold))
    assert list(dict.fromkeys(found.tolist())) == list(range(found.max() + 1))  # numbered as they appear


@settings(deadline=None)
@given(queries, queries, st.sampled_from([0.5, 0.8, 1.0]))
def test_near_to_is_what_would_be_one_group(texts, others, threshold):
    found = splits.near_to(texts, others, threshold)
    for text, near in zip(texts, found):
        assert near == any(brute_force([text, other], [], threshold) == [0, 0] for other in others)
    assert not splits.near_to(texts, []).any() and len(splits.near_to([], others)) == 0


def test_groups_chain_through_a_third_query():
    five, six, seven = "a1 b1 c1 d1 e1", "a1 b1 c1 d1 e1 f1", "a1 b1 c1 d1 e1 f1 g1"
    assert len(set(near_duplicate_groups([five, seven]))) == 2  # 5 of 7
    assert len(set(near_duplicate_groups([five, seven, six]))) == 1  # 5 of 6, then 6 of 7


def test_no_queries_have_no_groups():
    assert near_duplicate_groups([]).tolist() == near_duplicate_groups([], []).tolist() == []


def random_queries(n):
    rng = np.random.default_rng(0)
    return [" ".join(f"w{i}" for i in rng.integers(0, 12, rng.integers(3, 7))) for _ in range(n)]


def test_groups_do_not_depend_on_the_blocks_of_the_comparison(monkeypatch):
    texts = random_queries(200)
    whole = near_duplicate_groups(texts)
    assert 1 < len(set(whole)) < len(texts)
    monkeypatch.setattr(splits, "BLOCK", 7)
    assert near_duplicate_groups(texts).tolist() == whole.tolist()


@pytest.mark.training
def test_group_numbers_do_not_depend_on_the_order_of_sets():
    """Python draws the order of a set of words anew in every process."""
    code = "import sys; from r4t_utils.data.splits import near_duplicate_groups as f; print(f(sys.argv[1:]).tolist())"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code, *random_queries(200)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(printed) == 1


def test_equal_keys_join_queries_without_a_word_in_common():
    assert len(set(near_duplicate_groups(["boho", "hippie", "goth"], ["x", "x", "y"]))) == 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=5, max_size=60), st.integers(0, 9))
def test_split_keeps_groups_whole_and_near_811(sizes, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    split = split_811(groups, np.random.default_rng(seed))
    for group in range(len(sizes)):
        assert len(set(split[groups == group])) == 1
    for name in ("validation", "test"):
        held = np.bincount(groups[split == name])
        assert held.max(initial=0) <= max(1, LARGEST * 0.1 * len(groups))  # one query fills no split
        assert held.sum() - 0.1 * len(groups) <= held.max(initial=0)  # a split is filled up at most once


def test_split_of_single_queries_is_exact_and_depends_on_the_seed_alone():
    groups = np.arange(1000)
    first, again, other = (split_811(groups, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert [(first == name).sum() for name in ("train", "validation", "test")] == [800, 100, 100]
    assert (first == again).all() and (first != other).any()


def test_every_stratum_is_split_alike():
    rng = np.random.default_rng(0)
    groups, strata = rng.integers(0, 600, 2000), rng.choice(["moods", "seasons", "hybrids"], 2000, p=[0.1, 0.3, 0.6])
    split = split_811(groups, rng, strata)  # groups reach over strata
    for name in set(strata):
        for held in ("validation", "test"):
            assert 0.08 < (split[strata == name] == held).mean() < 0.12
