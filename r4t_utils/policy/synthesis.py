"""Pair synthesis (Section 2.4): fan-outs of the frozen, tuned policy become targets Z of L retrieval directions."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from r4t_utils.machine.checks import damaged, read
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.rewards import vendi
from r4t_utils.settings import SynthesisSettings
from r4t_utils.space.encoder import DualEncoder, unit
from r4t_utils.space.index import Index

BLOCK = 4096  # queries whose sub-queries are encoded, and remembered, at once


@dataclass(frozen=True)
class Pairs:
    """The data set {(z_q, Z)}: z_q (q, d); targets (q, F, L, d), of which the first counts[i] of query i hold a set."""

    z_q: np.ndarray
    targets: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return int(self.counts.sum())

    def described(self) -> dict[str, float]:
        """How many sets there are; of the first set of a query, its Vendi score (1 to L) and the share of rows that
        repeat another; and how alike two sets are, of one query and of different ones: the cosine of their means, NaN
        where fewer than two queries have two sets."""
        both, one = self.counts >= 2, self.targets[:, 0]
        alike, unlike = np.array([np.nan]), np.array([np.nan])
        if both.sum() >= 2:
            first, second = (unit(self.targets[both, j].mean(1)) for j in (0, 1))
            alike, unlike = (first * second).sum(-1), (first * np.roll(second, 1, axis=0)).sum(-1)
        return {
            "sets": len(self),
            "Vendi of a set": float(vendi(one).mean()),
            "rows that repeat another": float(np.mean([1 - len(np.unique(Z.round(4), axis=0)) / len(Z) for Z in one])),
            "cosine of two sets": float(alike.mean()),
            "of two queries' sets": float(unlike.mean()),
        }

    def save(self, folder: Path) -> None:
        """One file, ``pairs.safetensors``, with the three arrays under their names."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"z_q": self.z_q, "targets": self.targets, "counts": self.counts}, folder / "pairs.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "Pairs":
        """What `save` wrote. Raises ValueError for another file, arrays that do not fit, or a row of a set or a query
        that is not of length 1."""
        path = folder / "pairs.safetensors"
        arrays = read(path, load_file)
        if arrays.keys() != {"z_q", "targets", "counts"}:
            raise damaged(path, f"holds {', '.join(sorted(arrays))} in place of z_q, targets and counts")
        pairs = cls(**arrays)
        shape, n = pairs.targets.shape, len(pairs.z_q)
        if len(shape) != 4 or shape[0] != n or pairs.z_q.shape != (n, shape[3]) or pairs.counts.shape != (n,):
            rule = "must be (q, d), (q, F, L, d) and (q,)"
            shapes = f"z_q {pairs.z_q.shape}, targets {shape} and counts {pairs.counts.shape}"
            raise damaged(path, f"holds {shapes}, which {rule}")
        if not ((pairs.counts >= 1) & (pairs.counts <= shape[1])).all():
            raise damaged(
                path, f"holds counts {pairs.counts.min()} to {pairs.counts.max()}, which must be 1..{shape[1]}"
            )
        if not (np.abs(np.linalg.norm(pairs.z_q, axis=-1) - 1) < 1e-3).all():
            raise damaged(path, "holds queries z_q that are not of length 1")
        lengths = np.linalg.norm(pairs.targets, axis=-1)  # (q, F, L)
        unfit = ~(np.abs(lengths - 1) < 1e-3) & (np.arange(lengths.shape[1]) < pairs.counts[:, None])[..., None]
        if unfit.any():
            query, fanout, row = np.argwhere(unfit)[0].tolist()
            where, length = f"row {row} of fan-out {fanout} of query {query}", lengths[query, fanout, row]
            raise damaged(path, f"holds targets that are no directions: {where} has length {length:.3g}, not 1")
        return pairs


def synthesise(
    policy: Folm,
    task: str,
    queries: list[str],
    encoder: DualEncoder,
    index: Index,
    settings: SynthesisSettings,
    seed: int,
) -> tuple[Pairs, Counter[str]]:
    """Draw fan-outs for every query and build its targets.

    Rows are the embeddings of the sub-queries; in OAR, where ``targets`` is "contents" as in the paper, those of the
    collections that they retrieve (top-1). Malformed fan-outs are dropped. Where L exceeds k, the missing rows come
    from the query's next fan-outs.

    Returns the pairs, and how many fan-outs were "kept" or dropped, by reason. Raises ValueError where none was kept.
    """
    s, label = settings, f"fan-outs, {task}"
    F, L, k = s.fanouts_per_query, s.slots, policy.settings.k
    drawn = policy.fan_out(task, queries, F, temperature=s.temperature, seed=seed, label=label, batch_size=s.batch_size)
    outcome = Counter(fanout.fault or "kept" for group in drawn for fanout in group)
    if not outcome["kept"]:
        failed = f"none of {F * len(queries)} fan-outs is well formed: {dict(outcome)}"
        raise ValueError(f"{failed}; tune the policy longer or raise folm.max_new_tokens")
    good = [[fanout.queries for fanout in group if not fanout.fault] for group in drawn]
    targets = np.zeros((len(queries), F, L, encoder.d), np.float32)
    counts = np.array([len(group) for group in good], np.int32)
    for start in range(0, len(queries), BLOCK):
        block = good[start : start + BLOCK]
        texts = [sub for group in block for fanout in group for sub in fanout]
        if start:
            encoder.forget()
        directions = encoder.text(texts, label=f"directions, {task}")
        if task == "oar" and s.targets == "contents":
            directions = index.vectors[index.search(directions, 1)[0][:, 0]]
        ends = counts[start : start + BLOCK].cumsum()[:-1]
        for i, group in enumerate(np.split(directions.reshape(-1, k, encoder.d), ends), start):
            for j in range(len(group)):
                targets[i, j] = np.resize(np.roll(group, -j, axis=0), (L, encoder.d))
    some = counts > 0
    return Pairs(encoder.text(queries)[some], targets[some], counts[some]), outcome
