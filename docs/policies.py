"""Which pretrained policy? `python docs/policies.py RUN RUN`, such as artifacts/lm/perspectrum/seed-0 of two clones.

The runs are of the same data and differ in `folm.policy`; each RUN holds what notebooks 1 and 2 wrote. The policies of
both, before and after tuning, answer the same validation queries, and are scored by the reward and by the run's judge:
all answers, and the well-formed ones apart. Writes results/trials/policies_<data>.csv.
"""

from pathlib import Path

import held_out
import numpy as np
from formed import MEASURES, POLICIES, drawn, mean
from held_out import HeldOut

from r4t_utils.evaluation import intervals
from r4t_utils.machine.device import fix_threads


def rows_of(runs: list[Path]) -> list[dict]:
    """A row for each measure and policy: the mean of both runs, and by how much the second lies above the first, with
    its interval over groups of queries. Raises ValueError for runs of other queries or seeds, or of one policy."""
    if len(runs) != 2:
        raise ValueError(f"{len(runs)} runs cannot be put side by side; name two")
    helds = [HeldOut(run, "02_rl_fanout") for run in runs]
    names, groups = [held.settings.folm.policy for held in helds], helds[0].rows["group"].to_numpy()
    if helds[0].queries != helds[1].queries or helds[0].seed != helds[1].seed or len(set(names)) < 2:
        remedy = "name runs of two policies on the same data, of one seed"
        raise ValueError(f"{runs[0]} and {runs[1]} are of {' and '.join(names)}; {remedy}")
    rows = []
    for policy, folder in POLICIES.items():
        found = [drawn(held, folder) for held in helds]
        for measure, which in MEASURES:
            each = np.stack([mean(one, measure, which) for one in found])
            both = np.isfinite(each).all(0)
            above = intervals.paired_difference(each[1, both], each[0, both], 2000, 0, groups[both])
            row = {"policy": policy, "measure": measure, "of": which, "queries": int(both.sum())}
            row |= dict(zip(names, each[:, both].mean(1)))
            rows.append(row | {"above": above.mean, "low": above.low, "high": above.high})
    return rows


if __name__ == "__main__":
    fix_threads()
    runs = held_out.asked("02_rl_fanout")
    held_out.keep(f"policies_{runs[0].parent.name}", rows_of(runs))
