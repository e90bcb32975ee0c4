"""How many evaluations does a set need? `python docs/few_evaluations.py RUN [RUN ...]`, one run per seed.

RUN, such as artifacts/cpu/sample/seed-0, holds what notebooks 1 to 4 of a run wrote. Its denoiser is sampled by several
solvers and numbers of steps, and row by row instead of set by set. For validation queries the table says what the sets
find (merged with the query's own list, and alone), how near rows come to the database, how much they repeat each other,
and how far generated sets lie from the policy's: the energy distance, with the mean distance of matched rows between
two sets as the metric.
"""

import sys
import time
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from r4t_utils.diffusion.directions import directions
from r4t_utils.diffusion.samplers import Sampling, nfe
from r4t_utils.evaluation import intervals, ladder, methods
from r4t_utils.evaluation.judges import judge, quality
from r4t_utils.evaluation.methods import Search
from r4t_utils.machine.device import fix_threads
from r4t_utils.policy.folm import Folm
from r4t_utils.retriever import FanoutRetriever
from r4t_utils.run import profiles
from r4t_utils.settings import Merging
from r4t_utils.space.database import Database
from r4t_utils.space.encoder import SentenceEncoder

PAPER = Sampling(**profiles.load("paper").diffusion.model_dump(include={*Sampling.model_fields}))
WAYS = {"sde, 256 steps, guidance 0.1 (the paper)": PAPER, "sde, 256 steps": PAPER.model_copy(update={"guidance": 0.0})}
WAYS |= {
    f"{sampler}, {steps} step{'s' if steps > 1 else ''}": Sampling(sampler=sampler, sampling_steps=steps, guidance=0.0)
    for sampler, each in {"ode": (8,), "dpm": (1, 2, 3, 4, 6, 8, 16)}.items()
    for steps in each
}
ROWS_ALONE = "dpm, 4 steps, each row by itself"
SETS, QUERIES = 4, 48  # generated, and of the policy, per query, behind an energy distance; of so many queries


def energy(X: np.ndarray, Y: np.ndarray) -> float:
    """2 E d(X, Y) - E d(X, X') - E d(Y, Y') of sets X, Y (n, k, d), with d the mean distance of matched rows; X' and Y'
    are other sets than X and Y."""

    def apart(A: np.ndarray, B: np.ndarray) -> float:
        distance = np.sqrt(np.clip(2 - 2 * A @ B.T, 0, None))
        return float(distance[linear_sum_assignment(distance)].mean())

    def within(Z: np.ndarray) -> float:
        return float(np.mean([apart(a, b) for i, a in enumerate(Z) for b in Z[:i]]))

    return 2 * float(np.mean([apart(x, y) for x in X for y in Y])) - within(X) - within(Y)


def compared(run: Path) -> dict[str, dict[str, np.ndarray]]:
    """{way: {measure: a value per validation query}} of one run, with its group of near-duplicates."""
    settings = profiles.load("cpu")
    database = Database.load(run / "01_data_curation" / "database")
    retriever = FanoutRetriever.from_pretrained(run / "04_diffusion_training" / "oar")
    policy = Folm.load(run / "02_rl_fanout" / "oar", settings.folm)
    index, k, d = database.index("oar"), settings.folm.k, database.encoder.d
    held = database.corpus.queries("oar", "validation")
    queries, oracle = held["query"].tolist(), judge(database.corpus, SentenceEncoder())
    z_q = database.encoder.text(queries)
    merged = Search(database.encoder, index, k, k, settings.merging)
    alone = Search(database.encoder, index, k, k, Merging(rule="fill", query_weight=0.0))
    few = ladder.one_per_group(held["group"], QUERIES)
    drawn = policy.fan_out("oar", [queries[i] for i in few], SETS, seed=1)
    written = [methods.written(alone, [queries[i] for i in few], list(run)).directions for run in zip(*drawn)]
    theirs = np.stack([np.asarray(rows) for rows in written], axis=1)

    def sampled(how: Sampling, seed: int) -> np.ndarray:
        return directions(retriever.denoiser, z_q, index, k, k, how, seed)

    def row_by_row(how: Sampling, seed: int) -> np.ndarray:
        each = [directions(retriever.denoiser, z_q, index, 1, 1, how, 1000 * seed + row) for row in range(k)]
        return np.concatenate(each, axis=1)

    found = {}
    for name, how in {**WAYS, ROWS_ALONE: WAYS["dpm, 4 steps"]}.items():
        draw = row_by_row if name == ROWS_ALONE else sampled
        start = time.perf_counter()
        rows = draw(how, 0)
        seconds = time.perf_counter() - start
        scores = {
            way: oracle.score(held, s.along(queries, rows).ids, None, k, 0.5)
            for way, s in (("merged", merged), ("alone", alone))
        }
        top, distance = index.search(rows.reshape(-1, d), 1)
        ours = np.stack([rows[few], *(draw(how, seed)[few] for seed in range(1, SETS))], axis=1)
        cosines = np.einsum("nid,njd->nij", rows, rows)
        found[name] = {
            f"{way} {key}": value
            for way, x in scores.items()
            for key, value in (("alignment", x["alignment"]), ("recall", x["diversity"]), ("quality", quality(x)))
        }
        found[name] |= {
            "distance": distance.reshape(len(rows), k).mean(1),
            "different": np.array([len(set(row)) for row in top.reshape(len(rows), k).tolist()], float),
            "cosine of rows": (cosines.sum((1, 2)) - k) / (k * (k - 1)),
            "energy": np.array([energy(x, y) for x, y in zip(ours, theirs)]),
            "seconds": np.full(2, seconds),
            "group": held["group"].to_numpy(),
        }
        print(name, f"{seconds:.1f} s", file=sys.stderr, flush=True)
    return found


def main(runs: list[Path]) -> None:
    each = [compared(run) for run in runs]
    first = list(WAYS)[0]
    groups = each[0][first]["group"]
    heads = ("sampler", "evaluations", "merged", "alone", "above the paper's, alone", "distance", "different")
    heads += ("cosine of rows", "energy distance", "time")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name in each[0]:
        all_of = {key: np.stack([found[name][key] for found in each]) for key in each[0][name]}
        paper = np.stack([found[first]["alone quality"] for found in each])
        gain = intervals.difference(all_of["alone quality"], paper, 2000, 0, groups).interval
        cells = [name, str(nfe(WAYS.get(name, WAYS["dpm, 4 steps"])))]
        for way in ("merged", "alone"):
            means = [100 * all_of[f"{way} {key}"].mean() for key in ("alignment", "recall", "quality")]
            cells.append("{:.1f} / {:.1f} = {:.1f}".format(*means))
        cells.append(gain.hundredths)
        cells += [f"{all_of[key].mean():.2f}" for key in ("distance", "different", "cosine of rows", "energy")]
        slowest = np.mean([found[first]["seconds"][0] for found in each])
        cells.append(f"{all_of['seconds'].mean() / slowest:.3f}")
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    folders = [Path(given) for given in sys.argv[1:]]
    if not folders or not all((folder / "04_diffusion_training").is_dir() for folder in folders):
        sys.exit("usage: python docs/few_evaluations.py RUN [RUN ...], folders of runs whose notebooks 1 to 4 are done")
    fix_threads()
    main(folders)
