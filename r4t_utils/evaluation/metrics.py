"""Scores of Tables 1 and 2, set-aware ranking measures, and bootstrap intervals over groups of like queries.

Every score is in 0..1; the paper prints hundredths of that (0..100).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from r4t_utils.machine.checks import whole
from r4t_utils.policy.rewards import coverage, vendi
from r4t_utils.space.encoder import unit

LEVEL = 0.95  # of every interval


class Interval(NamedTuple):
    """A statistic of n queries with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int


def recall_at(Y: Sequence, pool: Sequence | np.ndarray) -> np.ndarray:
    """Recall@K: the share of each reference set found in the pooled candidates of its fan-out, (n,).

    Y: n sets of ids; pool: n arrays of ids, such as (k, c) for c candidates from each of k directions. K is what the
    pool holds (k*c = 5,000 in the paper). Repeats, empty slots and errors as in `rewards.coverage`.
    """
    return coverage(Y, pool)


def hit_at(Y: Sequence, pool: Sequence | np.ndarray) -> np.ndarray:
    """Hit@K: 1 where the pool holds at least one of the reference set, else 0. Arguments of recall_at."""
    return (coverage(Y, pool) > 0).astype(np.float64)


def vendi_of_runs(Z: ArrayLike) -> np.ndarray:
    """Vendi as in Table 2 (Appendix B.2): how much the answers to one query differ from run to run.

    Z: (n, runs, k, d), the directions of each of (5) runs. A run is represented by the mean of its directions, scaled
    to unit norm; the Vendi score over the runs is divided by their number. The paper says "normalised" and no more;
    this is our reading. Returns (n,), 1/runs (all alike) to 1. Raises ValueError for other shapes or a zero mean.
    """
    Z = np.asarray(Z, np.float64)
    if Z.ndim != 4 or Z.shape[1] < 2:
        raise ValueError(f"Z has shape {Z.shape}; it must be (n, runs, k, d) with 2 runs or more.")
    return vendi(unit(Z.mean(2))) / Z.shape[1]


def _gains(ranked: ArrayLike, labels: ArrayLike, relevant: ArrayLike, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Subtopics of the first k results, (<=k, s), and of all relevant documents, (r, s), as floats."""
    ranked, labels, relevant = np.asarray(ranked, np.int64), np.asarray(labels), np.asarray(relevant)
    if {labels.dtype, relevant.dtype} != {np.dtype(bool)} or labels.ndim != 2 or relevant.shape != labels.shape[:1]:
        given = f"labels is {labels.dtype} {labels.shape} and relevant {relevant.dtype} {relevant.shape}"
        raise ValueError(f"{given}; they must be bool (n_docs, s) and bool (n_docs,).")
    found = ranked[ranked >= 0]
    if ranked.ndim != 1 or len(np.unique(found)) < len(found) or (found >= len(labels)).any():
        rule = f"a flat list of different ids below {len(labels)}, or -1 for none"
        raise ValueError(f"ranked is {ranked.tolist()[:12]}; it must be {rule}. Remove repeats from the union first.")
    J = labels & relevant[:, None]
    if not J.any():
        raise ValueError("no relevant document has a subtopic, so no score is defined; leave the query out.")
    top = ranked[: whole("k", k, 1)]
    return np.where(top[:, None] >= 0, J[top], False).astype(np.float64), J[J.any(1)].astype(np.float64)


def subtopic_recall_at(ranked: ArrayLike, labels: ArrayLike, relevant: ArrayLike, k: int) -> float:
    """S-recall@k: the share of a query's subtopics that its first k results cover; only relevant ones count.

    ranked: (m,) different document ids, best first, -1 for none; labels: (n_docs, s) bool, document has subtopic;
    relevant: (n_docs,) bool, document satisfies the query; k: 1 or more. The subtopics counted are those that some
    relevant document has, even when there are more of them than k. Returns 0..1. Raises ValueError for wrong shapes,
    repeated ids, or a query without relevant documents.
    """
    top, judged = _gains(ranked, labels, relevant, k)
    return float(top.any(0).sum() / judged.any(0).sum())


def _alpha_dcg(rows: np.ndarray, alpha: float) -> float:
    seen_before = np.cumsum(rows, 0) - rows
    gain = (rows * (1 - alpha) ** seen_before).sum(1)
    return float((gain / np.log2(np.arange(2, len(rows) + 2))).sum())


def _greedy_ideal(judged: np.ndarray, k: int, alpha: float) -> np.ndarray:
    """Rows (<=k, s) as greedy takes them, the lower id first of equals; the exact ideal is NP-hard."""
    left, worth, chosen = judged.copy(), np.ones(judged.shape[1]), []
    for _ in range(min(k, len(judged))):
        best = int(np.argmax(left @ worth))
        chosen.append(judged[best])
        worth = worth * (1 - alpha) ** judged[best]
        left[best] = -1.0  # below any gain, so it is never chosen again
    return np.array(chosen)


def alpha_ndcg_at(ranked: ArrayLike, labels: ArrayLike, relevant: ArrayLike, k: int, alpha: float = 0.5) -> float:
    """alpha-nDCG@k (Clarke et al. 2008): each repeat of a subtopic is worth (1 - alpha) of the one before.

    Arguments, errors and the rule for relevance as in `subtopic_recall_at`; a document may carry several subtopics;
    alpha in 0..1. Normalised by the greedy ideal over all relevant documents, so it may pass 1 by a little where greedy
    is not optimal. Returns a float from 0.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be in 0..1.")
    top, judged = _gains(ranked, labels, relevant, k)
    return _alpha_dcg(top, alpha) / _alpha_dcg(_greedy_ideal(judged, k, alpha), alpha)


def _columns(*arrays: ArrayLike) -> np.ndarray:
    """Per-query scores side by side, (n, c), checked."""
    shapes = [np.shape(a) for a in arrays]
    if any(len(s) != 1 or s[0] < 2 for s in shapes) or len(set(shapes)) > 1:
        raise ValueError(f"scores have shapes {shapes}; they must be (n,), alike, with 2 queries or more.")
    X = np.stack([np.asarray(a, np.float64) for a in arrays], 1)
    if not np.isfinite(X).all():
        raise ValueError(f"{(~np.isfinite(X)).sum()} scores are not finite; leave their queries out.")
    return X


def _resampled_means(X: np.ndarray, n_boot: int, seed: int, groups: ArrayLike | None) -> np.ndarray:
    """Means of n_boot resamples of whole groups of the rows of X (n, c): (n_boot, c). Blocks keep memory small."""
    n_boot = whole("n_boot", n_boot, 100)
    names, group = np.unique(np.arange(len(X)) if groups is None else groups, return_inverse=True)
    if group.shape != X.shape[:1] or len(names) < 2:
        given = f"groups have shape {group.shape} and {len(names)} values"
        raise ValueError(f"{given}; they must name one of 2 groups or more for each of {len(X)} queries.")
    sizes, sums = np.bincount(group), np.zeros((len(names), X.shape[1]))
    np.add.at(sums, group, X)
    rng, blocks = np.random.default_rng(seed), [min(256, n_boot - start) for start in range(0, n_boot, 256)]
    drawn = (rng.integers(0, len(names), (size, len(names))) for size in blocks)
    return np.concatenate([sums[rows].sum(1) / sizes[rows].sum(1, keepdims=True) for rows in drawn])


def _interval(value: float, resampled: np.ndarray, n: int) -> Interval:
    # A resampled value itself, not one between two: a ratio may be infinite.
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return Interval(float(value), float(low), float(high), n)


def bootstrap_interval(values: ArrayLike, n_boot: int, seed: int, groups: ArrayLike | None = None) -> Interval:
    """Mean of per-query scores, values (n,), with its percentile bootstrap interval.

    Resamples whole ``groups`` (n,) of queries that ask for much the same, since such queries do not vote independently;
    each query by itself if None. n_boot: resamples, 100 or more for ends that mean something. Same arguments, same
    bits. Raises ValueError for fewer than 2 or non-finite scores, or fewer than 2 groups.
    """
    X = _columns(values)
    return _interval(X.mean(), _resampled_means(X, n_boot, seed, groups)[:, 0], len(X))


def paired_difference(a: ArrayLike, b: ArrayLike, n_boot: int, seed: int, groups: ArrayLike | None = None) -> Interval:
    """Mean of a - b over the same queries, a and b (n,); as `bootstrap_interval` otherwise."""
    X = _columns(a, b)
    return bootstrap_interval(X[:, 0] - X[:, 1], n_boot, seed, groups)


def paired_ratio(a: ArrayLike, b: ArrayLike, n_boot: int, seed: int, groups: ArrayLike | None = None) -> Interval:
    """Mean of a divided by mean of b, resampling the queries of both together; a and b (n,), 0 or more.

    As `bootstrap_interval` otherwise. If b averages 0, it raises ValueError; a resample in which it does is infinite.
    """
    X = _columns(a, b)
    if (X < 0).any() or X[:, 1].mean() == 0:
        raise ValueError("a ratio needs scores of 0 or more and a positive mean of b; use paired_difference.")
    M = _resampled_means(X, n_boot, seed, groups)
    ratios = np.divide(M[:, 0], M[:, 1], out=np.full(len(M), np.inf), where=M[:, 1] > 0)
    return _interval(X[:, 0].mean() / X[:, 1].mean(), ratios, len(X))
