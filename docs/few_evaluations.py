"""How many evaluations does a set need? `python docs/few_evaluations.py RUN [RUN ...]`, one run per seed.

RUN, such as artifacts/cpu/sample/seed-0, holds what notebooks 1 to 4 of a run wrote. Its denoiser is sampled by several
solvers and numbers of steps, and row by row instead of set by set. For validation queries the table says what the sets
find (merged with the query's own list, and alone), how near rows come to the database, how much they repeat each other,
and how far generated sets lie from the policy's: the energy distance, with the mean distance of matched rows between
two sets as the metric. Noise, MMR and the policy stand beside them. Writes results/trials/few_evaluations.csv and its
figure.
"""

import sys
import time
from pathlib import Path

import numpy as np
from held_out import HeldOut, Scores, asked, cell, gain, over_seeds, write_table
from scipy.optimize import linear_sum_assignment

from r4t_utils.diffusion.directions import directions
from r4t_utils.diffusion.samplers import Sampler, Sampling, nfe
from r4t_utils.evaluation import drawing, intervals, ladder
from r4t_utils.evaluation.claims import FOLM, MMR, NOISE
from r4t_utils.machine.device import fix_threads
from r4t_utils.retriever import FanoutRetriever
from r4t_utils.run import blocks, paths, profiles

PAPER = Sampling(**profiles.load("paper").diffusion.model_dump(include={*Sampling.model_fields}))
STEPS: dict[Sampler, tuple[int, ...]] = {"ode": (4, 8, 16), "dpm": (1, 2, 3, 4, 6, 8, 16)}
WAYS = {"sde, 256 steps, guidance 0.1 (the paper)": PAPER, "sde, 256 steps": PAPER.model_copy(update={"guidance": 0.0})}
WAYS |= {
    f"{sampler}, {steps} step{'s' if steps > 1 else ''}": Sampling(sampler=sampler, sampling_steps=steps, guidance=0.0)
    for sampler, each in STEPS.items()
    for steps in each
}
ROWS_ALONE = "dpm, 4 steps, each row by itself"
MEASURES = {"quality": "alone quality", "alignment": "alone alignment", "subtopic recall": "alone recall"}
MEASURES |= {"different contents of ten": "different", "distance to the database": "distance"}
MEASURES |= {"energy distance to the policy's sets": "energy"}
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


def compared(run: Path) -> dict[str, Scores]:
    """{way: {measure: a value per validation query}} of one run, with its group of near-duplicates."""
    held = HeldOut(run, "04_diffusion_training")
    retriever = FanoutRetriever.from_pretrained(run / "04_diffusion_training" / "oar")
    index, k, z_q = held.index, held.k, held.encoder.text(held.queries)
    few = ladder.one_per_group(held.rows["group"], QUERIES)
    theirs = held.drawn("oar", [held.queries[i] for i in few], SETS, 1)

    def sampled(how: Sampling, seed: int) -> np.ndarray:
        return directions(retriever.denoiser, z_q, index, k, k, how, seed)

    def row_by_row(how: Sampling, seed: int) -> np.ndarray:
        each = [directions(retriever.denoiser, z_q, index, 1, 1, how, 1000 * seed + row) for row in range(k)]
        return np.concatenate(each, axis=1)

    first = held.drawn("oar", held.queries, 1, held.seed + 2)[:, 0]
    found = {NOISE: held.noise(), MMR: held.mmr(), FOLM: held.scores(first) | held.geometry(first)}
    for name, how in {**WAYS, ROWS_ALONE: WAYS["dpm, 4 steps"]}.items():
        draw = row_by_row if name == ROWS_ALONE else sampled
        start = time.perf_counter()
        rows = draw(how, 0)
        seconds = time.perf_counter() - start
        ours = np.stack([rows[few], *(draw(how, seed)[few] for seed in range(1, SETS))], axis=1)
        found[name] = held.scores(rows) | held.geometry(rows)
        found[name] |= {
            "energy": np.array([energy(x, y) for x, y in zip(ours, theirs)]),
            "seconds": np.full(2, seconds),
        }
        print(name, f"{seconds:.1f} s", file=sys.stderr, flush=True)
    return found


def table(each: dict[str, Scores]) -> list[dict]:
    """What the figure shows: a row for each way and measure, with its interval over seeds and groups of queries."""
    rows = []
    for name, scores in each.items():
        how = WAYS.get(name)
        said = {"row": name, "sampler": how.sampler if how else "", "evaluations": nfe(how) if how else 0}
        if how and how.guidance:
            said["sampler"] = "sde, guided (the paper)"
        for measure, key in MEASURES.items():
            if key in scores and name != ROWS_ALONE:
                by = scores["group"][0] if scores[key].shape[1] == scores["group"].shape[1] else None
                mean, low, high, n = intervals.bootstrap_interval(scores[key], 2000, 0, by)
                rows.append({**said, "measure": measure, "mean": mean, "low": low, "high": high, "n": n})
    return rows


def main(runs: list[Path]) -> None:
    of_runs = [compared(run) for run in runs]
    each = {name: over_seeds([found[name] for found in of_runs]) for name in of_runs[0]}
    write_table("few_evaluations", table(each))
    drawing.draw("few_evaluations", paths.results() / "trials")
    paper = each[list(WAYS)[0]]
    heads = ("sampler", "evaluations", "merged", "alone", "above the paper's, alone", "distance", "different")
    heads += ("cosine of rows", "energy distance", "time")
    rows = []
    for name, all_of in each.items():
        if "energy" not in all_of:  # nothing was generated
            continue
        cells = [name, str(nfe(WAYS.get(name, WAYS["dpm, 4 steps"])))]
        cells += [cell(all_of, "merged"), cell(all_of, "alone"), gain(all_of, paper, "alone")]
        cells += [f"{all_of[key].mean():.2f}" for key in ("distance", "different", "cosine of rows", "energy")]
        cells.append(f"{all_of['seconds'].mean() / paper['seconds'].mean():.3f}")
        rows.append(cells)
    print(*blocks.table(heads, rows), sep="\n")


if __name__ == "__main__":
    fix_threads()
    main(asked("04_diffusion_training"))
