"""Near-duplicate queries and the 8:1:1 split that keeps them together (set-up of the paper, Section 3)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from r4t_utils.data.text import topic_words

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
NEAR = 0.8  # Jaccard overlap of topic words from which two queries are near-duplicates
LARGEST = 1 / 20  # of a held-out split: a group of two or more that is larger goes to training
BLOCK = 1000  # queries compared with all others at a time: all pairs at once may not fit in memory


def near_duplicate_groups(queries: list[str], *keys: Sequence, threshold: float = NEAR) -> np.ndarray:
    """Group number of every query, in the order of the groups' first queries; one group must not be split.

    Two queries share a group when their topic words overlap (Jaccard) by at least ``threshold``, when they have the
    same value in one of ``keys`` (each one value per query), or when a chain of such pairs joins them. Queries of
    nothing but generic words are one request.
    """
    n = len(queries)
    pairs = [_near_pairs(queries, queries, threshold)]
    for values in keys:  # each query and the first one with its value
        code = pd.factorize(pd.Series(values))[0]
        pairs.append(np.stack([np.arange(n), np.unique(code, return_index=True)[1][code]]))
    i, j = np.hstack(pairs)
    return connected_components(coo_array((np.ones(len(i)), (i, j)), (n, n)), directed=False)[1].astype(int)


def near_to(queries: list[str], others: list[str], threshold: float = NEAR) -> np.ndarray:
    """Which queries share topic words with one of the others as near-duplicates do: bool (len(queries),)."""
    near = np.zeros(len(queries), bool)
    near[_near_pairs(queries, others, threshold)[0]] = True
    return near


def _near_pairs(queries: list[str], others: list[str], threshold: float) -> np.ndarray:
    """(2, pairs): the numbers of each query and each of the others whose topic words overlap by ``threshold``."""
    words = pd.Series([sorted(topic_words(text)) or [""] for text in (*queries, *others)], dtype=object).explode()
    shape = len(queries) + len(others), len(words)
    holds = csr_array((np.ones(len(words), int), (words.index, pd.factorize(words)[0])), shape=shape)
    size, pairs = holds.sum(1), [np.empty((2, 0), int)]
    theirs = holds[len(queries) :].T
    for start in range(0, len(queries), BLOCK):
        common = (holds[start : min(start + BLOCK, len(queries))] @ theirs).tocoo()
        i, j = common.row + start, common.col
        near = common.data >= threshold * (size[i] + size[j + len(queries)] - common.data)
        pairs.append(np.stack([i[near], j[near]]))
    return np.hstack(pairs)


def split_811(groups: np.ndarray, rng: np.random.Generator, strata: Sequence | None = None) -> np.ndarray:
    """ "train", "validation" or "test" for every query: 8:1:1 of the queries, whole groups only.

    Each stratum (a value of ``strata``, such as the query's family) is split 8:1:1 as far as whole groups allow, so
    that what is chosen on validation queries fits test ones. No group fills more than ``LARGEST`` of a held-out split,
    or a score would be that group's.
    """
    table = pd.crosstab(groups, np.zeros(len(groups)) if strata is None else np.asarray(strata))
    counts = table.to_numpy()
    target = np.outer([*SHARES.values()], counts.sum(0))
    seen, place = np.zeros_like(target), np.zeros(len(counts), int)
    large = counts.sum(1) > max(1, LARGEST * SHARES["test"] * len(groups))
    order = rng.permutation(len(counts))
    for i in (*order[large[order]], *order[~large[order]]):
        if not large[i]:  # where the shortfall, as a share of the target, is largest
            place[i] = np.argmax((1 - seen / target) @ counts[i])
        seen[place[i]] += counts[i]
    return np.array([*SHARES])[place[table.index.get_indexer(groups)]]


def with_splits(table: pd.DataFrame, rng: np.random.Generator, *keys: str) -> pd.DataFrame:
    """The table of queries with columns group and split added; equal values in a column of ``keys`` stay together."""
    table["group"] = near_duplicate_groups(table["query"].tolist(), *(table[key].tolist() for key in keys))
    table["split"] = split_811(table["group"].to_numpy(), rng, table.get("family")) if len(table) else []
    return table
