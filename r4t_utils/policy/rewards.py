"""Eq. 1-5: what the fan-out policy is rewarded for. NumPy, batched over any leading axes.

A fan-out that holds fewer than k sub-queries is scored through `present`, a mask over its k slots. An empty slot
counts as the worst value that any sub-query could have had there: distance 2 and cosine -1, the extremes for unit
vectors, and no entropy. So leaving a sub-query out never raises a term, whatever the sub-query would have been, and a
policy gains nothing from short answers. A malformed fan-out has no slot present and gets the lowest value of each term.

Q is a set, so a sub-query that is said twice is in it once: `repeated` marks the later ones, which fill a slot and
raise the sums of Eq. 3 and 4 by nothing (a negative value still counts). As printed, the sums would pay for them again.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

WORST_DISTANCE = 2.0  # between opposite unit vectors
Flags = ArrayLike | None  # of slots: (..., k) bool


class Reward(NamedTuple):
    """Eq. 1: the weighted `total`, and its three terms before weighting or scaling (`div` in 1..k)."""

    total: np.ndarray
    ground: np.ndarray
    div: np.ndarray
    align: np.ndarray


def _slot_flags(name: str, flags: Flags, shape: tuple, default: bool) -> np.ndarray:
    flags = np.full(shape, default) if flags is None else np.asarray(flags)
    if flags.dtype != bool or flags.shape != shape:
        raise ValueError(f"{name} is {flags.dtype} {flags.shape}; pass bool flags of shape {shape}, one for each slot.")
    return flags


def _set_mean(value: np.ndarray, repeated: Flags) -> np.ndarray:
    """Mean over the k slots, which a repeat never raises."""
    repeated = _slot_flags("repeated", repeated, value.shape, False)
    return np.where(repeated, np.minimum(value, 0.0), value).mean(-1)


def _unit(name: str, X: ArrayLike, present: Flags = None) -> tuple[np.ndarray, np.ndarray]:
    """X as float64, its present rows of norm 1, as is checked, and its empty slots zero; and which are present."""
    X = np.asarray(X, np.float64)
    present = _slot_flags("present", present, X.shape[:-1], True)
    X = np.where(present[..., None], X, 0.0)
    norm = np.linalg.norm(X, axis=-1)
    bad = ~(np.abs(norm - 1.0) < 1e-3) & present
    if bad.any():
        wrong = f"{name} has a row of norm {norm[bad].flat[0]:.4g}; every embedding must have norm 1."
        raise ValueError(f"{wrong} Normalise the rows, or mark empty slots in present.")
    return X, present


def vendi(E: ArrayLike, present: Flags = None) -> np.ndarray:
    """Vendi score, Eq. 2: exp of the entropy of the eigenvalues of E E^T / k.

    E: (..., k, d) unit rows; present: optional (..., k) bool. Returns (...), in 1 (all rows equal) to k (all
    orthogonal). With m < k rows present it is V_m^(m/k): the entropy of a mixture is concave, so this is a lower bound
    on the score after any filling of the empty slots. Raises ValueError for rows that are not of unit norm.
    """
    E = np.asarray(E)
    if E.ndim < 2 or E.shape[-2] == 0:
        raise ValueError(f"E has shape {E.shape}; it must be (..., k, d) with k of 1 or more.")
    E, present = _unit("E", E, present)
    k, m = E.shape[-2], present.sum(-1)
    K = E @ np.swapaxes(E, -1, -2) / np.maximum(m, 1)[..., None, None]
    p = np.clip(np.linalg.eigvalsh(K), 0.0, None)
    entropy = -(p * np.log(np.where(p > 0, p, 1.0))).sum(-1)
    return np.clip(np.exp(entropy * m / k), 1.0, k)


def ground(nearest_distance: ArrayLike, present: Flags = None, repeated: Flags = None) -> np.ndarray:
    """Groundedness, Eq. 3: 1 - mean distance from each sub-query to its nearest content.

    nearest_distance: (..., k) Euclidean distances between unit vectors, in 0..2; present, repeated: optional (..., k)
    bool. Returns (...), in -1..1. Raises ValueError for a distance outside 0..2.
    """
    distance = np.asarray(nearest_distance, np.float64)
    present = _slot_flags("present", present, distance.shape, True)
    distance = np.where(present, distance, WORST_DISTANCE)
    good = (distance >= 0) & (distance <= WORST_DISTANCE + 1e-3)
    if not good.all():
        wrong = f"nearest_distance holds {distance[~good].flat[0]:.4g}; distances of unit vectors are in 0..2."
        raise ValueError(f"{wrong} Pass Euclidean distances, not squared distances or inner products.")
    return _set_mean(1.0 - distance, repeated)


def align(Q: ArrayLike, z_q: ArrayLike, present: Flags = None, repeated: Flags = None) -> np.ndarray:
    """Alignment, Eq. 4: mean cosine between the sub-queries and the query.

    Q: (..., k, d) and z_q: (..., d), unit rows; present, repeated: optional (..., k) bool. Returns (...), in -1..1.
    Raises ValueError for rows that are not of unit norm.
    """
    Q, present = _unit("Q", Q, present)
    cosine = np.einsum("...kd,...d->...k", Q, _unit("z_q", z_q)[0])
    return _set_mean(np.where(present, cosine, -1.0), repeated)  # the worst cosine, where nothing is asked


def composite(
    nearest_distance: ArrayLike,
    C: ArrayLike,
    Q: ArrayLike,
    z_q: ArrayLike,
    *,
    lambda_g: float = 0.6,
    lambda_d: float = 0.2,
    lambda_a: float = 0.2,
    diversity: Literal["vendi", "vendi_over_k"] = "vendi",
    alignment: Literal["text", "found"] = "text",
    present: Flags = None,
    repeated: Flags = None,
) -> Reward:
    """Reward of OAR fan-outs, Eq. 1: lambda_g r_ground + lambda_d r_div + lambda_a r_align.

    nearest_distance: (..., k); C: (..., k, d) the representative (top-1) content of each sub-query; Q: (..., k, d)
    sub-queries; z_q: (..., d) the query; present: optional (..., k) bool, all False for a malformed fan-out; repeated:
    optional (..., k) bool, True where an earlier slot says the same. `diversity` says how the terms, whose ranges
    differ, are added: "vendi" takes r_div in 1..k, as printed in Eq. 2; "vendi_over_k" takes r_div / k, in 1/k..1.
    `alignment` says what is compared with the query: "text" the sub-queries Q, as printed in Eq. 4; "found" the
    contents C, which is ours. A facet that contradicts the query costs the text's cosine little and buys diversity,
    whereas what such a sub-query finds is off topic. Returns a Reward of arrays (...). Raises ValueError for another
    diversity or alignment, for a weight below 0 or infinite, or where all are 0.
    """
    weights = lambda_g, lambda_d, lambda_a
    good = all(0 <= weight < np.inf for weight in weights) and any(weights)
    if diversity not in ("vendi", "vendi_over_k") or not good:
        given = f"diversity={diversity!r}, weights {weights}"
        raise ValueError(f"{given}: must be vendi or vendi_over_k, and three numbers of 0 or more, one of them above 0")
    if alignment not in ("text", "found"):
        raise ValueError(f"alignment={alignment!r}: must be text or found")
    aligned = Q if alignment == "text" else C
    r = ground(nearest_distance, present, repeated), vendi(C, present), align(aligned, z_q, present, repeated)
    weight = {"vendi": lambda_d, "vendi_over_k": lambda_d / np.shape(C)[-2]}[diversity]
    return Reward(lambda_g * r[0] + weight * r[1] + lambda_a * r[2], *r)


def standardised(terms: Sequence[ArrayLike], weights: Sequence[float], group: int, counted: np.ndarray) -> np.ndarray:
    """Weighted sum of terms, each first standardised among the fan-outs of its query, as advantages are in Eq. 6.

    terms: arrays (n,) in the order of queries, ``group`` fan-outs each (n a multiple); counted: (n,) bool, the fan-outs
    that mean and standard deviation are taken over. So weights mean the same in every space and on every scale. A
    term that does not vary within a group adds nothing (GDPO: Liu et al. 2026, arXiv 2601.05242). Returns (n,).
    """
    total = np.zeros(len(counted))
    use = counted.reshape(-1, group)
    n = np.maximum(use.sum(1, keepdims=True), 1)
    for term, weight in zip(terms, weights, strict=True):
        x = np.asarray(term, np.float64).reshape(-1, group)
        gap = np.where(use, x - np.where(use, x, 0.0).sum(1, keepdims=True) / n, 0.0)
        spread = np.sqrt((gap**2).sum(1, keepdims=True) / n)
        total += weight * np.where(spread > 1e-9, gap / np.maximum(spread, 1e-9), 0.0).ravel()
    return total


def coverage(Y: Sequence, retrieved: Sequence | np.ndarray) -> np.ndarray:
    """Reward of WSCR fan-outs, Eq. 5: |Y n R(Q)| / |Y|.

    Y: B reference sets of item ids, each of 1 or more; retrieved: B arrays of ids of any shape, the union of a
    fan-out's results with repeats allowed and -1 where a slot holds nothing. Returns (B,), in 0..1. An empty slot
    retrieves nothing, so leaving a sub-query out never raises the reward. Raises ValueError for an empty reference set
    or lengths that differ.
    """
    if len(Y) != len(retrieved):
        raise ValueError(f"{len(Y)} reference sets for {len(retrieved)} results; there must be one for each.")
    out = np.empty(len(Y))
    for b, (y, found) in enumerate(zip(Y, retrieved)):
        y = np.unique(np.asarray(y, np.int64))
        if y.size == 0 or y[0] < 0:
            raise ValueError(f"reference set {b} is {y.tolist()}; it needs at least one id, none negative.")
        out[b] = np.isin(y, np.asarray(found, np.int64).ravel()).mean()
    return out
