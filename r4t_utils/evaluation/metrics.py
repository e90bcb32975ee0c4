"""Scores of Tables 1 and 2, and set-aware ranking measures.

Every score is in 0..1; the paper prints hundredths of that (0..100).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from r4t_utils.evaluation.intervals import bootstrap_interval
from r4t_utils.machine.checks import whole
from r4t_utils.policy.rewards import coverage, vendi
from r4t_utils.space.encoder import unit
from r4t_utils.space.index import Index


def recall_at(Y: Sequence, pool: Sequence | np.ndarray) -> np.ndarray:
    """Recall@K: the share of each reference set found in the pooled candidates of its fan-out, (n,).

    Y: n sets of ids; pool: n arrays of ids, such as (k, c) for c candidates from each of k directions. K is what the
    pool holds (k*c = 5,000 in the paper). Repeats, empty slots and errors as in `rewards.coverage`.
    """
    return coverage(Y, pool)


def hit_at(Y: Sequence, pool: Sequence | np.ndarray) -> np.ndarray:
    """Hit@K: 1 where the pool holds at least one of the reference set, else 0. Arguments of recall_at."""
    return (coverage(Y, pool) > 0).astype(np.float64)


def hits_by_prefix(
    z: np.ndarray, index: Index, Y: Sequence, prefixes: Sequence[int], groups: ArrayLike | None = None
) -> pd.DataFrame:
    """Does every prefix of a matryoshka embedding retrieve? A row for each: prefix, hit_at_10 (the share of queries z
    (n, d) with one of their contents Y among the ten nearest) and low, high, its interval over groups (n,)."""
    rows = []
    for prefix in prefixes:
        found, _ = Index(unit(index.vectors[:, :prefix])).search(unit(z[:, :prefix]), 10)
        mean, low, high, _ = bootstrap_interval(hit_at(Y, found), 2000, 0, groups)
        rows.append({"prefix": prefix, "hit_at_10": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


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
    """Subtopics of the first k results, (<=k, s), and of all relevant documents, (r, s), as floats; subtopics that no
    relevant document has are left out of both."""
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
    J = J[:, J.any(0)]
    top = ranked[: whole("k", k, 1)]
    return np.where(top[:, None] >= 0, J[top], False).astype(np.float64), J[J.any(1)].astype(np.float64)


def _alpha(alpha: float) -> float:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it must be in 0..1.")
    return alpha


def gains(rows: np.ndarray, alpha: float) -> np.ndarray:
    """What each result adds: every subtopic that it has is worth (1 - alpha)^(how many results before it have it).

    rows: (..., k, s), 0 or 1, results in order and their subtopics; alpha in 0..1. Returns (..., k), from 0 to s.
    """
    seen_before = np.cumsum(rows, -2) - rows
    return (rows * (1 - _alpha(alpha)) ** seen_before).sum(-1)


def alpha_dcg(rows: np.ndarray, alpha: float) -> np.ndarray:
    """The gains, each divided by log2(1 + rank), summed: (...); arguments of `gains`."""
    return (gains(rows, alpha) / np.log2(np.arange(2, rows.shape[-2] + 2))).sum(-1)


def err_ia(rows: np.ndarray, n_subtopics: ArrayLike, k: int, alpha: float) -> np.ndarray:
    """ERR-IA@k as ndeval has it, (...): the gains, each divided by its rank, summed and divided by the same of k
    results that each have all subtopics. Arguments of `gains` (k results or fewer); n_subtopics: (...), 1 or more.

    With alpha = 1/2 the chance that a reader stops at a relevant result is 1/2, as for binary labels in Chapelle et al.
    (2009). The divisor depends on k and the number of subtopics alone, so the best possible order is mostly below 1.
    """
    ranks = np.arange(1, k + 1)
    most = ((1 - _alpha(alpha)) ** (ranks - 1) / ranks).sum()
    return (gains(rows, alpha) / ranks[: rows.shape[-2]]).sum(-1) / (most * np.asarray(n_subtopics))


def greedy_order(judged: np.ndarray, k: int, alpha: float) -> np.ndarray:
    """Which rows of judged (r, s) greedy takes, in its order, (<=k,): each time the one that adds most to those before
    it (`gains`), of equals the first."""
    worth, free, chosen = np.ones(judged.shape[1]), np.ones(len(judged), bool), []
    for _ in range(min(k, len(judged))):
        gain = np.round(judged @ worth, 12)  # sums of equals may differ in their last bits
        best = int(np.where(free, gain, -1.0).argmax())
        chosen.append(best)
        free[best] = False
        worth = worth * (1 - alpha) ** judged[best]
    return np.array(chosen, np.int64)


def greedy_ideal(judged: np.ndarray, k: int, alpha: float) -> np.ndarray:
    """The k rows (<=k, s) of judged (r, s) as greedy takes them; the exact ideal is NP-hard."""
    return judged[greedy_order(judged, k, alpha)]


def subtopic_recall_at(ranked: ArrayLike, labels: ArrayLike, relevant: ArrayLike, k: int) -> float:
    """S-recall@k: the share of a query's subtopics that its first k results cover; only relevant ones count.

    ranked: (m,) different document ids, best first, -1 for none; labels: (n_docs, s) bool, document has subtopic;
    relevant: (n_docs,) bool, document satisfies the query; k: 1 or more. The subtopics counted are those that some
    relevant document has, even when there are more of them than k. Returns 0..1. Raises ValueError for wrong shapes,
    repeated ids, or a query without relevant documents.
    """
    top, judged = _gains(ranked, labels, relevant, k)
    return float(top.any(0).sum() / judged.shape[1])


def alpha_ndcg_at(ranked: ArrayLike, labels: ArrayLike, relevant: ArrayLike, k: int, alpha: float = 0.5) -> float:
    """alpha-nDCG@k (Clarke et al. 2008): each repeat of a subtopic is worth (1 - alpha) of the one before.

    Arguments, errors and the rule for relevance as in `subtopic_recall_at`; a document may carry several subtopics;
    alpha in 0..1. Normalised by the greedy ideal over all relevant documents, so it may pass 1 by a little where greedy
    is not optimal. Returns a float from 0.
    """
    alpha, (top, judged) = _alpha(alpha), _gains(ranked, labels, relevant, k)
    return float(alpha_dcg(top, alpha) / alpha_dcg(greedy_ideal(judged, k, alpha), alpha))


def err_ia_at(ranked: ArrayLike, labels: ArrayLike, relevant: ArrayLike, k: int, alpha: float = 0.5) -> float:
    """ERR-IA@k of `err_ia`, 0..1, for the arguments of `alpha_ndcg_at`, with its errors."""
    top, judged = _gains(ranked, labels, relevant, k)
    return float(err_ia(top, judged.shape[1], k, alpha))
