"""What a corpus of outfits is like: the numbers by which the sample corpus is compared with real outfits."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np

from r4t_utils.data.corpus import Corpus
from r4t_utils.data.text import topic_words
from r4t_utils.space.index import unit_rows

SAMPLED_ITEMS = 1000
SEED = 2603
TOP_WORDS = 300
RECORDED = Path(__file__).with_name("polyvore_statistics.json")


def statistics(corpus: Corpus, item_embeddings: np.ndarray) -> dict[str, float]:
    """Statistics of a corpus; distances and cosines are between ``item_embeddings`` (n, d), unit norm.

    items, outfits: counts.
    items_per_outfit, words_per_item_title: means.
    distinct_item_titles: distinct titles of items over items, in (0, 1].
    repeated_outfit_titles: share of outfits whose title, letter case aside, another outfit has too.
    nearest_item_distance: median over 1,000 items (fixed seed) of the distance to the nearest item of another title.
    nearest_outfit_distance: median distance from an outfit (unit mean of its items) to the nearest other one.
    cosine_within_outfit: mean cosine of two items of one outfit, every outfit counted once.
    cosine_of_random_items: mean cosine over all pairs of items.
    outfit_titles_sharing_a_word: share of outfits whose title has a topic word of one of its items' titles.
    zipf_slope: slope of log frequency on log rank over the 300 commonest words of item titles.

    Distances are Euclidean, in [0, 2]. Raises ValueError where the embeddings do not fit the items or are not unit
    norm, or where there are fewer than 2 outfits or titles.
    """
    x = unit_rows("item_embeddings", item_embeddings, (len(corpus.items), None))
    titles, members = corpus.items.title.tolist(), [list(ids) for ids in corpus.collections["items"]]
    if len(members) < 2 or len(set(titles)) < 2:
        counts = f"{len(members)} outfits and {len(set(titles))} titles of items"
        raise ValueError(f"{corpus.name} has {counts}; both must be at least 2: use a larger corpus")
    outfit_titles = corpus.collections.title.str.strip().str.casefold()
    words = [re.findall(r"[a-z0-9]+", title.lower()) for title in titles]
    topics = [topic_words(title) for title in titles]
    sharing = [
        not topic_words(title).isdisjoint(frozenset().union(*(topics[i] for i in ids)))
        for title, ids in zip(outfit_titles, members, strict=True)
    ]
    outfits = np.stack([x[ids].mean(0) for ids in members])
    outfits /= np.linalg.norm(outfits, axis=1, keepdims=True).clip(1e-12)
    within = [_mean_cosine(x[ids]) for ids in members if len(ids) > 1]
    sample = np.arange(len(x))
    if len(x) > SAMPLED_ITEMS:
        sample = np.sort(np.random.default_rng(SEED).choice(len(x), SAMPLED_ITEMS, replace=False))
    numbers = {
        "items": len(titles),
        "outfits": len(members),
        "items_per_outfit": np.mean([len(ids) for ids in members]),
        "words_per_item_title": np.mean([len(w) for w in words]),
        "distinct_item_titles": len(set(titles)) / len(titles),
        "repeated_outfit_titles": outfit_titles.duplicated(keep=False).mean(),
        "nearest_item_distance": _nearest(x, sample, np.unique(titles, return_inverse=True)[1]),
        "nearest_outfit_distance": _nearest(outfits, np.arange(len(outfits)), np.arange(len(outfits))),
        "cosine_within_outfit": np.mean(within) if within else np.nan,
        "cosine_of_random_items": _mean_cosine(x),
        "outfit_titles_sharing_a_word": np.mean(sharing),
        "zipf_slope": _zipf_slope([word for w in words for word in w]),
    }
    return {name: float(value) for name, value in numbers.items()}


def recorded() -> dict:
    """The statistics of real outfits, aggregates alone, plus "source": how they were made, without need of the data."""
    return json.loads(RECORDED.read_text())


def _nearest(x: np.ndarray, rows: np.ndarray, names: np.ndarray) -> float:
    """Median distance from the given rows of x (n, d) to their nearest row of another name."""
    parts = np.array_split(rows, max(1, len(rows) // 256))
    best = [np.where(names[part, None] == names, -np.inf, x[part] @ x.T).max(1) for part in parts]
    return np.median(np.sqrt(np.clip(2 - 2 * np.concatenate(best), 0, None)))


def _mean_cosine(x: np.ndarray) -> float:
    """Mean over all pairs of two rows: (|sum of rows|^2 - sum of |row|^2) / (n (n - 1))."""
    x = x.astype(np.float64)
    return (np.square(x.sum(0)).sum() - np.square(x).sum()) / (len(x) * (len(x) - 1))


def _zipf_slope(words: list[str]) -> float:
    counts = [count for _, count in Counter(words).most_common(TOP_WORDS)]
    ranks = np.arange(1, len(counts) + 1)
    return np.polyfit(np.log(ranks), np.log(counts), 1)[0] if len(counts) > 1 else np.nan
