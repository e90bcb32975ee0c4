import json
import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from r4t_utils.data.corpus import Corpus
from r4t_utils.space import statistics as module
from r4t_utils.space.statistics import statistics

ITEMS = ["red dress", "red dress", "black boots", "blue tote bag"]
OUTFITS = [("Red looks", [0, 2]), ("red Looks ", [1, 3]), ("Untitled", [2, 3])]
X = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)


def corpus(titles=ITEMS, outfits=OUTFITS):
    items = pd.DataFrame({"title": titles, "category": "x"})
    collections = pd.DataFrame(outfits, columns=["title", "items"])
    return Corpus("toy", items, collections, pd.DataFrame(), pd.DataFrame())


def test_values_worked_out_by_hand():
    # Unit means of the outfits: (1, 1)/sqrt 2, 0 (opposite items cancel), (-1, 1)/sqrt 2. Words by frequency:
    # red 2, dress 2, black, boots, blue, tote, bag 1.
    rank, count = np.log(np.arange(1, 8)), np.log([2, 2, 1, 1, 1, 1, 1])
    slope = ((rank - rank.mean()) * (count - count.mean())).sum() / ((rank - rank.mean()) ** 2).sum()
    expected = {
        "items": 4,
        "outfits": 3,
        "items_per_outfit": 2,
        "words_per_item_title": 9 / 4,
        "distinct_item_titles": 3 / 4,
        "repeated_outfit_titles": 2 / 3,
        "nearest_item_distance": math.sqrt(2),  # item 0 and its namesake do not count as neighbours
        "nearest_outfit_distance": math.sqrt(2),
        "cosine_within_outfit": (0 - 1 + 0) / 3,
        "cosine_of_random_items": (1 + 0 - 1 + 0 - 1 + 0) / 6,
        "outfit_titles_sharing_a_word": 2 / 3,
        "zipf_slope": slope,
    }
    assert statistics(corpus(), X) == pytest.approx(expected, abs=1e-6)


def test_distances_and_cosines_match_brute_force(monkeypatch):
    rng = np.random.default_rng(0)
    n, outfits = 60, [(f"t{i}", [int(j) for j in rng.choice(60, 5, replace=False)]) for i in range(12)]
    titles = [f"title {i % 40}" for i in range(n)]
    x = rng.normal(size=(n, 8))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    got = statistics(corpus(titles, outfits), x)
    nearest = [min(np.linalg.norm(x[i] - x[j]) for j in range(n) if titles[j] != titles[i]) for i in range(n)]
    means = [x[ids].mean(0) / np.linalg.norm(x[ids].mean(0)) for _, ids in outfits]
    apart = [min(np.linalg.norm(a - b) for b in means if b is not a) for a in means]
    within = [np.mean([x[i] @ x[j] for i, j in combinations(ids, 2)]) for _, ids in outfits]
    expected = {
        "nearest_item_distance": np.median(nearest),
        "nearest_outfit_distance": np.median(apart),
        "cosine_within_outfit": np.mean(within),
        "cosine_of_random_items": np.mean([a @ b for a, b in combinations(x, 2)]),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr(module, "SAMPLED_ITEMS", 20)
    sampled = statistics(corpus(titles, outfits), x)
    assert sampled == statistics(corpus(titles, outfits), x)  # a fixed seed
    between = {(a + b) / 2 for a in nearest for b in nearest}
    assert min(abs(sampled["nearest_item_distance"] - value) for value in between) < 1e-5


@pytest.mark.parametrize(
    "x, message",
    [
        (X[:3], r"item_embeddings has shape \(3, 2\): must be \(4, None\)"),
        (X[:, 0], r"item_embeddings has shape \(4,\): must be \(4, None\)"),
        (X * 2, "length 2: must be finite and of length 1"),
        (X * np.nan, "length nan: must be finite and of length 1"),
    ],
)
def test_embeddings_that_do_not_fit(x, message):
    with pytest.raises(ValueError, match=message):
        statistics(corpus(), x)


def test_a_corpus_too_small():
    with pytest.raises(ValueError, match="1 outfits"):
        statistics(corpus(outfits=OUTFITS[:1]), X)
    with pytest.raises(ValueError, match="1 titles"):
        statistics(corpus(titles=["a"] * 4), X)


def test_the_recorded_statistics_are_aggregates_with_the_same_names():
    numbers = module.recorded()
    source = numbers.pop("source")
    assert source.startswith("python docs/polyvore_statistics.py")
    assert list(numbers) == list(statistics(corpus(), X))
    assert all(isinstance(value, (int, float)) for value in numbers.values())
    assert len(json.dumps(numbers)) < 1000
    assert 0 < numbers["cosine_of_random_items"] < numbers["cosine_within_outfit"] < 1
