"""Near-duplicate queries and the 8:1:1 split that keeps them together (set-up of the paper, Section 3)."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from r4t_utils.data.text import topic_words

SHARES = (("train", 0.8), ("validation", 0.1), ("test", 0.1))
NEAR = 0.8  # Jaccard overlap of topic words from which two queries are near-duplicates


def near_duplicate_groups(queries: list[str], *keys: Sequence, threshold: float = NEAR) -> np.ndarray:
    """Group number of every query; queries in one group must not be split.

    Two queries share a group when their topic words overlap (Jaccard) by at least ``threshold``, when they have the
    same value in one of ``keys`` (each one value per query), or when a chain of such pairs joins them. Queries of
    nothing but generic words are one request.
    """
    words = [topic_words(query) for query in queries]
    parent = list(range(len(queries)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first_with_key: dict = {}
    holders = defaultdict(list)
    for i, own in enumerate(words):
        for n, values in enumerate(keys):
            parent[root(i)] = root(first_with_key.setdefault((n, values[i]), i))
        shared: dict[int, int] = defaultdict(int)
        for word in own:
            for j in holders[word]:
                shared[j] += 1
            holders[word].append(i)
        for j, common in shared.items():
            if common >= threshold * len(own | words[j]):
                parent[root(i)] = root(j)
        if not own:  # nothing but generic words: all of these are one request
            parent[root(i)] = root(first_with_key.setdefault("generic", i))
    return np.array([root(i) for i in range(len(queries))])


LARGEST = 1 / 20  # of a held-out split: a group that is larger goes to training


def split_811(groups: np.ndarray, rng: np.random.Generator, strata: Sequence | None = None) -> np.ndarray:
    """ "train", "validation" or "test" for every query: 8:1:1 of the queries, whole groups only.

    Each stratum (a value of ``strata``, such as the query's family) is split 8:1:1 as far as whole groups allow, so
    that what is chosen on validation queries fits test ones. No group fills more than ``LARGEST`` of a held-out split,
    or a score would be that group's.
    """
    names, group = np.unique(groups, return_inverse=True)
    kinds, stratum = np.unique(np.zeros(len(groups)) if strata is None else np.asarray(strata), return_inverse=True)
    counts = np.zeros((len(names), len(kinds)), int)
    np.add.at(counts, (group, stratum), 1)
    target = np.outer([share for _, share in SHARES], counts.sum(0))
    seen, place = np.zeros_like(target), np.zeros(len(names), int)
    large = counts.sum(1) > LARGEST * SHARES[-1][1] * len(groups)
    order = rng.permutation(len(names))
    for i in (*order[large[order]], *order[~large[order]]):
        if not large[i]:  # where the shortfall, as a share of the target, is largest
            place[i] = np.argmax((1 - seen / target) @ counts[i])
        seen[place[i]] += counts[i]
    return np.array([name for name, _ in SHARES])[place[group]]
