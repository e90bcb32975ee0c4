"""Re-rankers: rows that choose k results among the query's own candidates, without a search of their own.

MMR (Carbonell and Goldstein 1998), MSD (Borodin et al. 2017) and DPP (Chen et al. 2018) are `pyversity`'s. xQuAD
(Santos et al. 2010) takes sub-queries as input, so it is the fair re-ranker to put beside a search for each of them.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from pyversity import diversify

from r4t_utils.evaluation.methods import Answer, Search
from r4t_utils.policy.prompts import Fanout

STRATEGIES = ("mmr", "msd", "dpp")
CANDIDATES = 100  # of the query; twice the results where these are more


def candidates(search: Search, queries: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The query's best contents, ids (n, c), nearest first, and their cosines with it (n, c); c is `CANDIDATES`, or
    twice k where that is more, or all contents where there are fewer."""
    c = min(max(CANDIDATES, 2 * search.k), len(search.index))
    ids, distances = search.index.search(search.encoder.text(queries), c)
    return ids, 1 - distances**2 / 2


def reranked(search: Search, queries: list[str], strategy: str, strength: float) -> Answer:
    """MMR, MSD or DPP over the candidates of each query.

    strategy: "mmr", "msd" or "dpp". strength: 0 (relevance alone) to 1 (diversity alone), to be chosen on validation
    queries; it means another thing in each strategy. A DPP has no volume beyond d results, the width of the space, so
    the nearest candidates left fill the rest. Raises ValueError for others.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy={strategy!r} is not known; choose one of {', '.join(STRATEGIES)}")
    _share(strength)
    ids, cosines = candidates(search, queries)
    k = min(search.k, search.encoder.d) if strategy == "dpp" else search.k
    pick, found = partial(diversify, k=k, strategy=strategy, diversity=strength), []
    for row, relevance in zip(ids, cosines):
        chosen = pick(search.index.vectors[row], relevance).indices
        rest = np.setdiff1d(np.arange(len(row)), chosen)[: search.k - k]  # in order of relevance
        found.append(row[np.concatenate([chosen, rest])])
    return Answer(np.reshape(found, (len(ids), search.k)), None, None)


def xquad(search: Search, queries: list[str], fanouts: Sequence[Fanout], strength: float) -> Answer:
    """xQuAD: greedily the candidate d with the highest

        (1 - strength) P(d|q) + strength / m * sum_i P(d|q_i) prod_{c chosen} (1 - P(c|q_i)),

    over a policy's m sub-queries q_i, all as likely. P is the cosine, scaled to 0..1 over the candidates of the query.
    strength is in 0..1, to be chosen on validation queries. Raises ValueError for another.
    """
    _share(strength)
    texts = search.complete(queries, fanouts)
    ids, cosines = candidates(search, queries)
    rows = search.encoder.text([text for row in texts for text in row]).reshape(len(ids), -1, search.encoder.d)
    relevance = _scaled(cosines)
    covers = _scaled(np.einsum("nmd,ncd->nmc", rows, search.index.vectors[ids]))
    everyone, open_ = np.arange(len(ids)), np.ones(rows.shape[:2], np.float32)
    chosen, free = np.empty((len(ids), search.k), np.int64), np.ones(ids.shape, bool)
    for i in range(search.k):
        gain = (1 - strength) * relevance + strength * np.einsum("nm,nmc->nc", open_, covers) / rows.shape[1]
        chosen[:, i] = np.where(free, gain, -1).argmax(1)
        free[everyone, chosen[:, i]] = False
        open_ *= 1 - covers[everyone, :, chosen[:, i]]
    return Answer(np.take_along_axis(ids, chosen, axis=1), None, None)  # not found by the sub-queries


def _scaled(x: np.ndarray) -> np.ndarray:
    low, high = x.min(-1, keepdims=True), x.max(-1, keepdims=True)
    return (x - low) / np.maximum(high - low, 1e-12)


def _share(strength: float) -> None:
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength!r} must be in 0..1; choose one on validation queries")
