"""The best sets for the reward: candidates chosen greedily, by exchanges, and by trying every set.

A candidate is a sub-query, as the reward of Eq. 1 sees one: how near it is to a content, which content that is, and how
well it fits the query. A content stands as its own sub-query, at distance 0, and its alignment is its cosine to the
query, whether the reward aligns texts or what they find. So one search serves contents and texts alike.
"""

from collections.abc import Callable
from itertools import combinations, islice
from math import comb
from typing import NamedTuple

import numpy as np

from r4t_utils.settings import RlSettings

SCREENED = 32  # candidates whose Vendi score is worked out, of those that a cheaper score puts first
MOST_SETS = 200_000  # that `exact` tries
BLOCK = 4096  # sets at once
Terms = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]  # ground, div (1..k), align, k -> reward


class Pool(NamedTuple):
    """The N candidates of one query: `found` (N, d), unit rows, the content that each finds; `ground` (N,), 1 minus its
    distance to that content; `align` (N,), its alignment."""

    found: np.ndarray
    ground: np.ndarray
    align: np.ndarray


class Choice(NamedTuple):
    """Positions of k candidates in their pool, and the reward of the set."""

    chosen: list[int]
    total: float


def contents(vectors: np.ndarray, z_q: np.ndarray) -> Pool:
    """Every content (N, d) as a sub-query of its own for the query z_q (d,)."""
    return Pool(vectors, np.ones(len(vectors)), (vectors @ z_q).astype(np.float64))


def equation_1(settings: RlSettings) -> Terms:
    """Eq. 1 with the run's weights and scale of diversity, as `rewards.composite` adds its terms up."""

    def total(ground: np.ndarray, div: np.ndarray, align: np.ndarray, k: int) -> np.ndarray:
        scaled = div / k if settings.diversity == "vendi_over_k" else div
        return settings.lambda_g * ground + settings.lambda_d * scaled + settings.lambda_a * align

    return total


def rewards_of(pool: Pool, sets: np.ndarray, terms: Terms, gram: np.ndarray | None = None) -> np.ndarray:
    """Reward (s,) of sets of candidates, (s, k) positions; gram (N, N): the pool's cosines, where they are known."""
    if gram is None:
        E = pool.found[sets].astype(np.float64)
        div = _vendi(E @ E.swapaxes(1, 2))
    else:
        div = _vendi(gram[sets[:, :, None], sets[:, None, :]])
    return terms(pool.ground[sets].mean(1), div, pool.align[sets].mean(1), sets.shape[1])


def maximise(pool: Pool, k: int, terms: Terms, start: list[int] | None = None, screened: int = SCREENED) -> Choice:
    """The greedy set, or `start`, improved until no exchange of one member raises the reward.

    Greedy adds the candidate that makes the best set of m = 1, 2, ..., k, each judged as a whole. A candidate's Vendi
    score is worked out if the collision entropy of the set (a lower bound that needs no eigenvalues) puts it among the
    first `screened`; with `screened` = N nothing is left out. Raises ValueError for fewer than k candidates.
    """
    if len(pool.align) < k:
        raise ValueError(f"{len(pool.align)} candidates make no set of k={k}; lower k or give more candidates.")
    chosen, gram = list(start or []), _gram(pool)
    while len(chosen) < k:
        chosen.append(_best_addition(pool, gram, chosen, terms, screened)[0])
    total, since, slot = float(rewards_of(pool, np.array([chosen]), terms, gram)[0]), 0, 0
    while since < k:  # exchanges that changed nothing, one after the other
        rest = chosen[:slot] + chosen[slot + 1 :]
        candidate, value = _best_addition(pool, gram, rest, terms, screened)
        since += 1
        if value > total + 1e-9:
            chosen[slot], total, since = candidate, value, 0
        slot = (slot + 1) % k
    return Choice(chosen, total)


def exact(pool: Pool, k: int, terms: Terms) -> Choice:
    """The best of all sets of k candidates. Raises ValueError where there are more than `MOST_SETS`."""
    n = len(pool.align)
    if not 0 < comb(n, k) <= MOST_SETS:
        rule = f"1 to {MOST_SETS:,} can be tried; give fewer candidates, and at least k"
        raise ValueError(f"{n} candidates make {comb(n, k):,} sets of k={k}: {rule}.")
    sets, best, gram = combinations(range(n), k), Choice([], -np.inf), _gram(pool)
    while block := list(islice(sets, BLOCK)):
        values = rewards_of(pool, np.array(block), terms, gram)
        if values.max() > best.total:
            best = Choice(list(block[values.argmax()]), float(values.max()))
    return best


def exact_around(pool: Pool, choice: Choice, terms: Terms, extra: int) -> Choice:
    """The best set among the members of `choice` and the `extra` candidates that would replace one of them best: exact
    for exchanges of several at a time among these, and no proof for the whole pool. Never worse than `choice`."""
    offers = np.full(len(pool.align), -np.inf)
    for slot in range(len(choice.chosen)):
        rest = choice.chosen[:slot] + choice.chosen[slot + 1 :]
        offers = np.maximum(offers, promise(pool, rest, terms))
    offers[choice.chosen] = -np.inf
    near = [*choice.chosen, *np.argsort(-offers, kind="stable")[:extra].tolist()]
    best = exact(Pool(*(part[near] for part in pool)), len(choice.chosen), terms)
    return Choice([near[i] for i in best.chosen], best.total) if best.total > choice.total + 1e-9 else choice


def promise(pool: Pool, chosen: list[int], terms: Terms, others: Pool | None = None) -> np.ndarray:
    """What the set `chosen` would be worth with one candidate of `others` (the pool itself if None) added, (N,): the
    reward, with the collision entropy (from tr K^2) in place of the Shannon entropy (Vendi needs eigenvalues)."""
    others = others or pool
    return _promise(pool, chosen, terms, others, others.found @ pool.found[chosen].T)


def _promise(pool: Pool, chosen: list[int], terms: Terms, others: Pool, cosines: np.ndarray) -> np.ndarray:
    members, m = pool.found[chosen], len(chosen) + 1
    purity = (1 + 2 * (cosines**2).sum(1) + ((members @ members.T) ** 2).sum()) / m**2
    ground, align = ((have[chosen].sum() + new) / m for have, new in zip(pool[1:], others[1:]))
    return terms(ground, 1 / purity, align, m)


def _best_addition(pool: Pool, gram: np.ndarray, chosen: list[int], terms: Terms, screened: int) -> tuple[int, float]:
    offers = _promise(pool, chosen, terms, pool, gram[:, chosen])
    offers[chosen] = -np.inf
    kept = min(screened, len(offers) - len(chosen))
    first = np.sort(np.argpartition(-offers, kept - 1)[:kept])
    sets = np.column_stack([np.tile(np.array(chosen, int), (len(first), 1)), first])
    values = rewards_of(pool, sets, terms, gram)
    return int(first[values.argmax()]), float(values.max())


def _gram(pool: Pool) -> np.ndarray:
    E = pool.found.astype(np.float64)
    return E @ E.T


def _vendi(gram: np.ndarray) -> np.ndarray:
    """Vendi scores (s,) from Gram matrices (s, k, k) of unit rows."""
    p = np.clip(np.linalg.eigvalsh(gram / gram.shape[-1]), 0, None)
    return np.exp(-(p * np.log(np.where(p > 0, p, 1))).sum(-1))
