"""The reward of a set (Eq. 1 and 5) for what a policy wrote: parse, search, score."""

from collections.abc import Sequence

import numpy as np

from r4t_utils.policy import rewards
from r4t_utils.policy.prompts import matching_key, parse
from r4t_utils.settings import RlSettings
from r4t_utils.space.encoder import DualEncoder
from r4t_utils.space.index import Index


class SetReward:
    """Set-level reward of completions, as TRL calls it; keeps its components for the curves.

    OAR: the composite of Eq. 1 over the collections, in which a sub-query that is said twice (``matching_key``) adds to
    Eq. 3 and 4 once unless ``settings.repeats`` is "printed". A malformed fan-out earns 0, or what the worst
    well-formed one of the same call does where that is less. (The lowest value of Eq. 1, about -0.8, lies some thirty
    standard deviations from the well-formed ones: one such fan-out in a group leaves the others with nearly equal
    advantages, and nothing but form is learnt.) With ``settings.terms`` "standardised" the three terms are standardised
    among the ``settings.group`` fan-outs of a query before they are weighted. With "product" alignment gates diversity,
    max(r_align, 0) r_div / k, in place of Eq. 1's sum. Both are for training; `score` keeps Eq. 1.

    With ``settings.credit`` "sub_query" every call leaves in `credit` (n, k) what each sub-query of a fan-out is worth
    to it, more or less than its others: the reward less that of the k - 1 others, centred; 0 for a malformed one.

    WSCR: the coverage of Eq. 5 over the items, to which a sub-query that stutters adds nothing unless ``repeats`` is
    "printed": stutters end in loops that never close. (They do in OAR too, where paying them nothing was tried, and
    made fan-outs cautious.) A malformed fan-out earns what one item of the reference set is worth, negative: 0 is what
    many a well-formed one earns, and form would not be learnt.
    """

    def __init__(self, task: str, encoder: DualEncoder, index: Index, settings: RlSettings, k: int, n: int = 1):
        self.task, self.encoder, self.index, self.settings, self.k, self.n = task, encoder, index, settings, k, n
        self.__name__ = f"{task}_reward"
        self.rows: list[dict] = []  # one per call: the mean of every component
        self.credit = np.zeros((0, k))

    def __call__(
        self, completions: list[str], query: list[str], reference: Sequence[Sequence[int]] | None = None, **_: object
    ) -> list[float]:
        fanouts = [parse(text, self.k) for text in completions]
        queries = [[] if fanout.fault else fanout.queries for fanout in fanouts]
        total, parts = self.score(query, queries, reference, [fanout.stutters for fanout in fanouts])
        size = self.settings.group if len(total) % self.settings.group == 0 else len(total)
        formed, earned = np.array([bool(texts) for texts in queries]), total
        if self.task == "oar" and self.settings.terms == "standardised":
            earned = self._standardised(parts, formed, size)
        elif self.task == "oar" and self.settings.terms == "product":
            earned = np.where(formed, parts["align"].clip(0) * parts["div"] / self.k, 0.0)
        row = {"reward": total.mean(), "reward_std": total.reshape(-1, size).std(1).mean()}
        means = {name: values.mean() for name, values in parts.items()}
        self.rows.append({**row, **means, "well_formed": np.mean([not fanout.fault for fanout in fanouts])})
        return earned.tolist()

    def _standardised(self, parts: dict[str, np.ndarray], formed: np.ndarray, size: int) -> np.ndarray:
        s = self.settings
        weights = s.lambda_g, s.lambda_d, s.lambda_a
        total = rewards.standardised([parts[name] for name in ("ground", "div", "align")], weights, size, formed)
        return np.where(formed, total, min(0.0, total[formed].min(initial=0.0)))

    def score(
        self,
        query: list[str],
        fanouts: list[list[str]],
        reference: Sequence[Sequence[int]] | None = None,
        stutters: Sequence[Sequence[bool]] | None = None,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Reward (n,) of parsed fan-outs ([] = malformed), and its components; ``stutters`` as in ``Fanout``.

        Raises ValueError for WSCR fan-outs without their ``reference`` sets.
        """
        present = _padded([[True] * len(fanout) for fanout in fanouts], self.k)
        Q = self.encoder.text([sub for fanout in fanouts for sub in [*fanout, *["?"] * (self.k - len(fanout))]])
        ids, distance = self.index.search(Q, self.n)
        ids = ids.reshape(*present.shape, self.n)
        if self.task == "wscr":
            counts = present
            if stutters and self.settings.repeats == "once":
                counts = present & ~_padded(stutters, self.k)
            found = np.where(counts[..., None], ids, -1)
            return self._covered(found, [] if reference is None else reference, present), {}
        said = [[matching_key(sub) for sub in fanout] for fanout in fanouts]
        same = np.stack([_same(keys, self.k) for keys in said]) if said else np.zeros((0, self.k, self.k), bool)
        C, z_q = self.index.vectors[ids[..., 0]], self.encoder.text(query)
        nearest = distance[:, 0].reshape(present.shape)
        return self._composed(nearest, C, Q.reshape(*present.shape, -1), z_q, present, same)

    def _covered(self, found: np.ndarray, reference: Sequence[Sequence[int]], present: np.ndarray) -> np.ndarray:
        """Eq. 5 for the items found (n, k, pool), -1 where none counts."""
        total = rewards.coverage(reference, found)
        if self.settings.credit == "sub_query":
            without = [rewards.coverage(reference, found[:, others]) for others in self._others()]
            self.credit = _centred(total, without, present)
        return np.where(present.any(1), total, [-1 / len(Y) for Y in reference])

    def _composed(
        self, nearest: np.ndarray, C: np.ndarray, Q: np.ndarray, z_q: np.ndarray, present: np.ndarray, same: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Eq. 1 and its terms, for sub-queries Q (n, k, d), what each finds C at distance `nearest` (n, k), and which
        earlier ones each repeats (n, k, k)."""
        s = self.settings

        def eq_1(kept) -> rewards.Reward:
            repeated = same[:, kept][:, :, kept].any(2) & (s.repeats == "once")
            return rewards.composite(
                nearest[:, kept],
                C[:, kept],
                Q[:, kept],
                z_q,
                lambda_g=s.lambda_g,
                lambda_d=s.lambda_d,
                lambda_a=s.lambda_a,
                diversity=s.diversity,
                alignment=s.alignment,
                present=present[:, kept],
                repeated=repeated,
            )

        reward, formed = eq_1(slice(None)), present.any(1)
        if s.credit == "sub_query":
            self.credit = _centred(reward.total, [eq_1(others).total for others in self._others()], present)
        total = np.where(formed, reward.total, min(0.0, reward.total[formed].min(initial=0.0)))
        return total, {"ground": reward.ground, "div": reward.div, "align": reward.align}

    def _others(self) -> np.ndarray:
        """Of each slot the k - 1 others: bool (k, k)."""
        return ~np.eye(self.k, dtype=bool)


def _same(keys: Sequence[str], k: int) -> np.ndarray:
    """Which earlier sub-queries each of up to k repeats: bool (k, k)."""
    said = np.array([*keys, *range(k - len(keys))], object)
    return np.tril(said[:, None] == said, -1)


def _padded(rows: Sequence[Sequence[bool]], k: int) -> np.ndarray:
    """Rows of up to k truth values as a bool (n, k), False where a row ends."""
    return np.array([[*row, *[False] * (k - len(row))] for row in rows], bool)


def _centred(total: np.ndarray, without: Sequence[np.ndarray], present: np.ndarray) -> np.ndarray:
    """What each slot adds to a fan-out's total (n,), given those without each of the k, less the mean of its slots."""
    gain = total[:, None] - np.stack(without, 1)
    return np.where(present.any(1, keepdims=True), gain - gain.mean(1, keepdims=True), 0.0)
