"""How the ranked lists that several directions find become one set of k different results.

    fill         the lists take turns; each gives its best result that no list gave before
    round_robin  rank 1 of every list in turn, then rank 2, ...; a result that is already there is skipped
    fusion       reciprocal-rank fusion (Cormack et al. 2009): a list votes 1 / (60 + rank) for each of its results
    top1         the paper's: as round_robin, but repeats stay, so that a set may hold fewer different results

The query's own list (what a search without a fan-out finds) can take part, as a search engine would keep it: it has the
share `query_weight` of the turns (fill, round_robin; the first turn is its own) or of the votes (fusion), and the other
lists share the rest equally. In top1 it has no part. The order of the lists decides whose turn comes first, and in
fusion it decides between equal votes only.
"""

from typing import get_args

import numpy as np

from r4t_utils.machine.checks import whole
from r4t_utils.settings import Merging
from r4t_utils.space.index import Searchable

RULES: tuple[str, ...] = get_args(Merging.model_fields["rule"].annotation)
SMOOTHING = 60  # of reciprocal-rank fusion, as in Cormack et al. 2009
DEPTH = 100  # results of each list that vote; a deeper one decides next to nothing
BLOCK = 256  # queries searched and merged at once: a matter of memory alone


def merge(lists: np.ndarray, k: int, how: Merging, own: np.ndarray | None = None) -> np.ndarray:
    """One set from m ranked lists for each of n queries.

    Args:
        lists: (n, m, c) ids of 0 or more, best first; those of one list differ.
        k: results wanted: 1..c, so that every list could fill a set alone; 1..m*c for top1.
        own: (n, c) ids that the query itself finds, best first; needed where `how.query_weight` is above 0.
    Returns ids (n, k), best first; all k of a query differ, but for top1. Raises ValueError for other shapes, a
    negative id, k out of range, or a missing `own`.
    """
    lists = np.asarray(lists)
    if lists.ndim != 3 or lists.dtype.kind not in "iu" or 0 in lists.shape[1:] or lists.min(initial=0) < 0:
        given = f"lists is {lists.dtype} {lists.shape}, from {lists.min(initial=0)}"
        raise ValueError(f"{given}; it must be ids of 0 or more, (n, m, c); search for as many as each list needs")
    n, m, c = lists.shape
    if how.rule == "top1":
        k = whole("k", k, 1, m * c, f"{m} lists of {c} hold no more results")
        return lists.transpose(0, 2, 1).reshape(n, m * c)[:, :k]
    k = whole("k", k, 1, c, f"lists of {c} results fill no larger set; search deeper")
    if how.query_weight == 0:
        own = lists[:, 0, :0]
    elif own is None or np.shape(own) != (n, c):
        given = "None" if own is None else np.shape(own)
        raise ValueError(f"own is {given}; query_weight={how.query_weight} needs the query's own list, {(n, c)}")
    rule = {"fill": _fill, "round_robin": _round_robin, "fusion": _fusion}[how.rule]
    return rule(lists, np.asarray(own), k, how.query_weight)


def find(
    index: Searchable,
    directions: np.ndarray,
    z_q: np.ndarray,
    k: int,
    how: Merging,
    allowed: np.ndarray | None = None,
) -> np.ndarray:
    """The merged set of each query: directions (n, m, d) and queries z_q (n, d), unit rows -> ids (n, k), best first.

    Every direction is searched as deep as the rule needs, among the `allowed` ids (None: all). Raises ValueError for
    rows that the index refuses, or k outside 1..len(index), or 1..len(allowed).
    """
    n, m, d = np.shape(directions)
    contents = len(index) if allowed is None else len(allowed)
    k = whole("k", k, 1, contents, "there are no more contents")
    c = depth(how, m, k, contents)
    found = [np.zeros((0, k), np.int64)]
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        lists = index.search(np.reshape(directions[rows], (-1, d)), c, allowed)[0].reshape(-1, m, c)
        own = index.search(z_q[rows], c, allowed)[0] if how.query_weight and how.rule != "top1" else None
        found.append(merge(lists, k, how, own))
    return np.concatenate(found)


def depth(how: Merging, m: int, k: int, contents: int) -> int:
    """Results that each of m lists needs, so that the rule can make k of them: at most all `contents`."""
    needed = {"top1": -(-k // m), "fusion": max(k, DEPTH)}.get(how.rule, k)
    return min(needed, contents)


def _turns(m: int, c: int, weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Whose turn it is, one list after the other, while each has c turns: the list (m is the query's own) and how many
    turns it had before. Of the first t turns, ceil(t * weight) are the query's own."""
    turn = np.arange(m * c)
    late = 1e-9  # rounding must not move a turn
    times, source, had = np.ceil((turn + 1) / (1 - weight) - late) - 1, turn % m, turn // m
    if weight:
        times = np.concatenate([np.floor(np.arange(c) / weight + late), times])
        source, had = np.concatenate([np.full(c, m), source]), np.concatenate([np.arange(c), had])
    order = np.argsort(times, kind="stable")
    return source[order], had[order]


def _in_turn(lists: np.ndarray, own: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All results in the order of turns, (n, s), with the list and the rank (from 0) of each, (s,)."""
    n, m, c = lists.shape
    source, rank = _turns(m, c, weight)
    flat = np.concatenate([lists.reshape(n, m * c), own], axis=1)
    return flat[:, source * c + rank], source, rank


def _sorted(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of ids (n, s), sorted by id and then by position; and where, in that order, a new id begins."""
    s = ids.shape[1]
    keys = np.sort(ids.astype(np.int64) * s + np.arange(s), axis=1)  # many times faster than a stable argsort
    ids, positions = np.divmod(keys, s)
    return positions, np.diff(ids, axis=1, prepend=-1) != 0


def _round_robin(lists: np.ndarray, own: np.ndarray, k: int, weight: float) -> np.ndarray:
    ids = _in_turn(lists, own, weight)[0]
    for s in (2 * k, ids.shape[1]):  # few repeats: the first turns suffice
        part = ids[:, :s]
        positions, new = _sorted(part)
        fresh = np.zeros(part.shape, bool)
        np.put_along_axis(fresh, positions, new, axis=1)
        if (fresh.sum(1) >= k).all():
            break
    kept = fresh & (fresh.cumsum(1) <= k)
    return part[kept].reshape(len(ids), k)


def _fusion(lists: np.ndarray, own: np.ndarray, k: int, weight: float) -> np.ndarray:
    ids, source, rank = _in_turn(lists, own, weight)
    (n, s), m = ids.shape, lists.shape[1]
    votes = np.where(source == m, weight, (1 - weight) / m) / (SMOOTHING + 1 + rank)
    positions, new = _sorted(ids)
    result = new.cumsum().reshape(n, s) - 1  # numbers the different results of all queries, 0, 1, ...
    total = np.bincount(result.ravel(), votes[positions].ravel())
    # Most votes first, then the earlier turn: one number for both, with votes rounded so that equal ones are equal.
    missing = np.rint((1 - total) * 1e12).astype(np.int64)
    keys = np.full((n, s), np.iinfo(np.int64).max)
    keys[new] = missing * s + positions[new]
    best = np.sort(np.partition(keys, k - 1, axis=1)[:, :k], axis=1) % s
    return np.take_along_axis(ids, best, axis=1)


def _fill(lists: np.ndarray, own: np.ndarray, k: int, weight: float) -> np.ndarray:
    n, m, c = lists.shape
    sources = _turns(m, c, weight)[0][:k].tolist()
    sets = []
    for ranked, plain in zip(lists.tolist(), own.tolist()):
        left, given = [iter(one) for one in (*ranked, plain)], {}
        for source in sources:
            given[next(content for content in left[source] if content not in given)] = None
        sets.append(list(given))
    return np.array(sets, lists.dtype).reshape(n, k)
