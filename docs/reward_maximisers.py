"""Which reward would be worth maximising? `python docs/reward_maximisers.py RUN`, such as artifacts/cpu/sample/seed-0.

RUN holds what notebooks 1 and 2 of a run wrote. For every scaling of the reward's terms, the set of contents that earns
most of it is found for one validation query per group. The run's judge says what that set is worth, beside the results
of the plain query.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from held_out import HeldOut

from r4t_utils.evaluation import ladder
from r4t_utils.evaluation.intervals import paired_difference
from r4t_utils.evaluation.judges import quality
from r4t_utils.evaluation.maximisers import Terms, contents, maximise
from r4t_utils.machine.device import fix_threads
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.set_reward import SetReward
from r4t_utils.run import blocks
from r4t_utils.settings import Settings
from r4t_utils.space.database import Database
from r4t_utils.space.encoder import unit

CANDIDATES = 400  # nearest contents of a query


def weighed(g: float, d: float, a: float) -> Terms:
    """Eq. 1 on Vendi / k."""
    return lambda ground, div, align, k: g * ground + d * div / k + a * align


def gated(power: int) -> Terms:
    """Alignment, to a power, times Vendi / k."""
    return lambda ground, div, align, k: np.clip(align, 0, None) ** power * div / k


def spreads(run: Path, database: Database, settings: Settings) -> np.ndarray:
    """Standard deviations of ground, div / k and align among eight zero-shot fan-outs of a query, means over 32."""
    policy = Folm.load(run / "02_rl_fanout" / "zero_shot", settings.folm)
    some = database.corpus.queries("oar", "validation")["query"].tolist()[:32]
    asked = np.repeat(some, 8)
    fanouts = [fanout for group in policy.fan_out("oar", some, 8, seed=0) for fanout in group]
    reward = SetReward("oar", database.encoder, database.index("oar"), settings.rl, settings.folm.k, 1)
    _, parts = reward.score(asked.tolist(), [fanout.queries if not fanout.fault else [] for fanout in fanouts])
    formed = np.array([not fanout.fault for fanout in fanouts])
    terms = pd.DataFrame(parts | {"div": parts["div"] / settings.folm.k})[["ground", "div", "align"]]
    if not formed.any():
        raise ValueError(
            f"{run}: none of {len(fanouts)} zero-shot fan-outs is well formed; use a run of another profile"
        )
    return terms.loc[formed].groupby(asked[formed]).std().mean().to_numpy()


def main(run: Path) -> None:
    of_run = HeldOut(run, "02_rl_fanout")
    k, database, index, held, oracle = of_run.k, of_run.database, of_run.index, of_run.rows, of_run.judge
    held = held.iloc[ladder.one_per_group(held["group"], len(held))].reset_index(drop=True)
    z_q, groups = database.encoder.text(held["query"].tolist()), held["group"].to_numpy()
    sd = spreads(run, database, of_run.settings)
    near = index.search(z_q, min(CANDIDATES, len(index)))[0]

    def scored(ids: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        scores = oracle.score(held, ids, None, k, 0.5)
        return scores, quality(scores)

    def best(terms: Terms, vectors: np.ndarray) -> np.ndarray:
        chosen = []
        for z, ids in zip(z_q, near):
            pool = contents(index.vectors[ids], z)._replace(found=vectors[ids])
            chosen.append(ids[sorted(maximise(pool, k, terms).chosen)])
        return np.array(chosen)

    plain, base = scored(near[:, :k])
    rows: dict[str, Callable[[], np.ndarray]] = {"no fan-out": lambda: near[:, :k]}
    kinds = {"6:2:2, Vendi / k": weighed(0.6, 0.2, 0.2), "6:2:2, raw Vendi": weighed(0.6, 0.2 * k, 0.2)}
    kinds["6:2:2, standardised"] = weighed(*np.array([0.6, 0.2, 0.2]) / sd)
    for d, a in ((2.5, 5.5), (2, 6), (1.5, 6.5), (1, 7), (0.5, 7.5)):
        kinds[f"2:{d:g}:{a:g}, Vendi / k"] = weighed(0.2, d / 10, a / 10)
    kinds |= {f"alignment^{power} x Vendi / k": gated(power) for power in (1, 2, 4, 8)}
    centred = unit(index.vectors - index.vectors.mean(0))
    rows |= {name: lambda terms=terms: best(terms, index.vectors) for name, terms in kinds.items()}
    rows["2:2.5:5.5, centred Vendi / k"] = lambda: best(kinds["2:2.5:5.5, Vendi / k"], centred)
    print(f"{len(held)} validation queries, one per group; spreads of ground, Vendi / k, align: {sd.round(3)}")
    lines = []
    for name, ids in rows.items():
        scores, value = scored(ids())
        gain = paired_difference(value, base, 2000, 0, groups)
        means = [100 * float(x.mean()) for x in (scores["alignment"], scores["diversity"], value)]
        lines.append([name, *(f"{x:.1f}" for x in means), gain.hundredths])
    heads = "maximiser of", "alignment", "subtopic recall", "quality", "above no fan-out"
    print(*blocks.table(heads, lines), sep="\n")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1], "01_data_curation").is_dir():
        sys.exit("usage: python docs/reward_maximisers.py RUN, the folder of a run whose notebooks 1 and 2 are done")
    fix_threads()
    main(Path(sys.argv[1]))
