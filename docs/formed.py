"""Is it form alone? `python docs/formed.py RUN [RUN ...]`, such as artifacts/lm/perspectrum/seed-0, one run per seed.

RUN holds what notebooks 1 and 2 of a run wrote. A policy that answers in form more often than before earns more, and
its answers find more, whatever they say. So fan-outs of the policy before and after tuning, for validation queries, are
scored by the reward and by the run's judge twice: all of them, and the well-formed ones of each query apart. Beside
that stands what share of the sub-queries repeats the worked examples that a pretrained policy was shown. Writes
results/trials/formed_<policy>_<data>.csv.
"""

from pathlib import Path

import held_out
import numpy as np
from held_out import WAYS, HeldOut

from r4t_utils.evaluation import intervals, methods
from r4t_utils.machine.device import fix_threads
from r4t_utils.policy import form
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.set_reward import SetReward

RUNS = 4  # fan-outs of a query and policy
POLICIES = {"zero-shot": "zero_shot", "R4T-FOLM": "oar"}
MEASURES = [
    ("formed", "all"),
    ("echoes", "all"),
    *((m, of) for m in ("reward", *(f"quality, {w}" for w in WAYS)) for of in ("all", "well formed")),
]
Values = dict[str, np.ndarray]  # a measure: (queries, RUNS); and "formed"


def drawn(held: HeldOut, folder: str) -> Values:
    """What RUNS fan-outs for each validation query earn and find, and whether they are well formed."""
    policy = Folm.load(held.run / "02_rl_fanout" / folder, held.settings.folm)
    groups = policy.fan_out("oar", held.queries, RUNS, seed=held.seed + 7, label=f"{folder}, seed {held.seed}")
    reward = SetReward("oar", held.encoder, held.index, held.settings.rl, held.k)
    found: dict[str, list] = {"formed": [], "echoes": [], "reward": [], **{f"quality, {way}": [] for way in WAYS}}
    for fanouts in map(list, zip(*groups)):
        found["formed"].append(np.array([not fanout.fault for fanout in fanouts]))
        echoes = ([form.echoes(q, "oar", asked) for q in f.queries] for asked, f in zip(held.queries, fanouts))
        found["echoes"].append(np.array([np.mean(each or 0) for each in echoes]))
        texts = [[] if fanout.fault else fanout.queries for fanout in fanouts]
        found["reward"].append(reward.score(held.queries, texts)[0])
        rows = methods.written(held.search["alone"], held.queries, fanouts).directions
        scores = held.scores(np.asarray(rows))
        for way in WAYS:
            found[f"quality, {way}"].append(100 * scores[f"{way} quality"])
    return {name: np.stack(values, axis=1) for name, values in found.items()}


def rows_of(helds: list[HeldOut]) -> list[dict]:
    """A row for each measure, of all fan-outs and of the well-formed ones: both policies, and their paired difference
    with its interval over seeds and groups of queries."""
    each = {name: [drawn(held, folder) for held in helds] for name, folder in POLICIES.items()}
    groups, rows = helds[0].rows["group"].to_numpy(), []
    for measure, which in MEASURES:
        means = {name: np.stack([mean(seed, measure, which) for seed in seeds]) for name, seeds in each.items()}
        answered = np.isfinite(np.concatenate(list(means.values()))).all(0)
        before, after = (means[name][:, answered] for name in POLICIES)
        gained = intervals.difference(after, before, 2000, 0, groups[answered]).interval
        row = {"measure": measure, "of": which, "queries": int(answered.sum()), "zero-shot": before.mean()}
        rows.append(row | {"R4T-FOLM": after.mean(), "gained": gained.mean, "low": gained.low, "high": gained.high})
    return rows


def mean(found: Values, measure: str, which: str) -> np.ndarray:
    """A query's mean over its fan-outs, or over the well-formed ones (nan without any)."""
    counted = np.ones_like(found["formed"]) if which == "all" else found["formed"]
    with np.errstate(invalid="ignore"):
        return (found[measure] * counted).sum(1) / counted.sum(1)


if __name__ == "__main__":
    fix_threads()
    runs = held_out.asked("02_rl_fanout")
    helds = [HeldOut(run, "02_rl_fanout") for run in runs]
    policy = Path(helds[0].settings.folm.policy).name
    held_out.keep(f"formed_{policy}_{runs[0].parent.name}", rows_of(helds))
