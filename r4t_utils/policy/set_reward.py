"""The reward of a set (Eq. 1 and 5) for what a policy wrote: parse, search, score."""

import numpy as np

from r4t_utils.policy import rewards
from r4t_utils.policy.prompts import parse
from r4t_utils.space.index import Index


class SetReward:
    """Set-level reward of completions, as TRL calls it; keeps its components for the curves.

    OAR: the composite of Eq. 1 over the collections, in which a sub-query that is said twice adds to Eq. 3 and 4 once
    unless ``settings.repeats`` is "printed". A malformed fan-out earns 0, or what the worst well-formed one of the same
    call does where that is less. (The lowest value of Eq. 1, about -0.8, lies some thirty standard deviations from the
    well-formed ones: one such fan-out in a group leaves the others with nearly equal advantages, and nothing but form
    is learnt.)

    WSCR: the coverage of Eq. 5 over the items, to which a sub-query that stutters adds nothing unless ``repeats`` is
    "printed": stutters end in loops that never close. (They do in OAR too, where paying them nothing was tried, and
    made fan-outs cautious.) A malformed fan-out earns what one item of the reference set is worth, negative: 0 is what
    many a well-formed one earns, and form would not be learnt.
    """

    def __init__(self, task: str, encoder, index: Index, settings, k: int, n: int = 1):
        self.task, self.encoder, self.index, self.settings = task, encoder, index, settings
        self.k, self.n = k, n
        self.__name__ = f"{task}_reward"
        self.rows: list[dict] = []  # one a call: the mean of every component

    def __call__(self, completions: list[str], query: list[str], reference=None, **_) -> list[float]:
        fanouts = [parse(text, self.k) for text in completions]
        well_formed = np.array([not fanout.fault for fanout in fanouts])
        total, parts = self.score(
            query,
            [fanout.queries if not fanout.fault else [] for fanout in fanouts],
            reference,
            [fanout.stutters for fanout in fanouts],
        )
        self.rows.append(
            {
                "reward": total.mean(),
                "reward_std": _group_std(total, self.settings.group),
                **{name: values.mean() for name, values in parts.items()},
                "well_formed": well_formed.mean(),
            }
        )
        return total.tolist()

    def score(
        self, query: list[str], fanouts: list[list[str]], reference=None, stutters=None
    ) -> tuple[np.ndarray, dict]:
        """Reward (n,) of parsed fan-outs ([] = malformed), and its components; ``stutters`` as in ``Fanout``."""
        present = _flags([[True] * len(fanout) for fanout in fanouts], self.k)
        flat = [sub or "?" for fanout in fanouts for sub in (*fanout, *[""] * (self.k - len(fanout)))]
        Q = self.encoder.text(flat)
        ids, distance = self.index.search(Q, self.n)
        Q, ids = Q.reshape(*present.shape, -1), ids.reshape(*present.shape, self.n)
        s = self.settings
        if self.task == "wscr":
            counts = present & ~_flags(stutters, self.k) if stutters and s.repeats == "once" else present
            covered = rewards.coverage(reference, [np.where(c[:, None], i, -1) for c, i in zip(counts, ids)])
            return np.where(present.any(1), covered, [-1 / len(Y) for Y in reference]), {}
        repeated = (
            None
            if s.repeats == "printed"
            else _flags([[sub in fanout[:i] for i, sub in enumerate(fanout)] for fanout in fanouts], self.k)
        )
        reward = rewards.composite(
            distance[:, 0].reshape(present.shape),
            self.index.vectors[ids[..., 0]],
            Q,
            self.encoder.text(query),
            lambda_g=s.lambda_g,
            lambda_d=s.lambda_d,
            lambda_a=s.lambda_a,
            diversity=s.diversity,
            present=present,
            repeated=repeated,
        )
        formed = present.any(1)
        total = np.where(formed, reward.total, min(0.0, reward.total[formed].min(initial=0.0)))
        return total, {"ground": reward.ground, "div": reward.div, "align": reward.align}


def _flags(rows: list, k: int) -> np.ndarray:
    """Rows of up to k truth values as a bool (n, k), False where a row ends."""
    return np.array([[*row, *[False] * (k - len(row))] for row in rows], bool)


def _group_std(values: np.ndarray, group: int) -> float:
    return float(values.reshape(-1, group).std(1).mean()) if len(values) % group == 0 else float(values.std())
