"""What does the work? `python docs/students.py RUN [RUN ...]`, such as artifacts/cpu/sample/seed-0, one run per seed.

RUN holds what notebooks 1 and 2 of a run wrote. The same denoiser is trained on other targets, and sees the contents
nearest to a query or does not; the run's judge says on validation queries what its directions find, beside the plain
query, noise, a re-ranker and the policies themselves.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.diffusion.directions import directions, with_neighbours
from r4t_utils.diffusion.training import train
from r4t_utils.evaluation import intervals, ladder, methods, rerankers
from r4t_utils.evaluation.judges import judge, quality
from r4t_utils.evaluation.maximisers import equation_1
from r4t_utils.evaluation.methods import Search
from r4t_utils.machine.device import device, fix_threads, side_by_side
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.set_reward import SetReward
from r4t_utils.run import manifest, profiles
from r4t_utils.settings import Merging, Settings
from r4t_utils.space.database import Database
from r4t_utils.space.encoder import SentenceEncoder

DRAWS = 2  # fan-outs of a training query that are targets
SPREAD, STRENGTH = 0.5, 0.3  # of the noise, and of MMR's care for variety
SAMPLED = {  # sub-queries as targets: whose, best of how many by reward, and whether they are moved onto contents
    "R4T's sub-queries": ("oar", 1, False),
    "the contents that those find (the paper)": ("oar", 1, True),
    "zero-shot sub-queries": ("zero_shot", 1, False),
    "zero-shot sub-queries, best of 5 by reward": ("zero_shot", 5, False),
}
CHOSEN = "the reward's maximiser", "MMR's results", "what labels want of the query's 100 nearest"
STUDENTS = [(name, 32) for name in (*SAMPLED, *CHOSEN)] + [("R4T's sub-queries", 0), (list(SAMPLED)[1], 0)]


class Lesson:
    """A run's database and policies, and what they make of its training queries."""

    def __init__(self, run: Path, settings: Settings):
        self.run, self.settings, self.k = run, settings, settings.folm.k
        self.database = Database.load(run / "01_data_curation" / "database")
        self.index, self.encoder = self.database.index("oar"), self.database.encoder
        self.asked = self.database.corpus.queries("oar", "train")["query"].tolist()
        self.alone = Search(self.encoder, self.index, self.k, self.k, Merging(rule="fill", query_weight=0.0))

    def fanouts(self, policy: str, queries: list[str], best_of: int, seed: int) -> np.ndarray:
        """Directions (n, k, d) of a policy's sub-queries, of the best of several fan-outs by reward."""
        loaded = Folm.load(self.run / "02_rl_fanout" / policy, self.settings.folm)
        drawn = loaded.fan_out("oar", queries, best_of, seed=seed)
        reward = SetReward("oar", self.encoder, self.index, self.settings.rl, self.k)
        chosen = methods.best_of_n(reward, queries, drawn) if best_of > 1 else [fanout for (fanout,) in drawn]
        return methods.written(self.alone, queries, chosen).directions

    def targets(self, name: str) -> np.ndarray:
        """(n, F, k, d) for the training queries."""
        if name in SAMPLED:
            policy, best_of, moved = SAMPLED[name]
            rows = np.stack([self.fanouts(policy, self.asked, best_of, 100 + i) for i in range(DRAWS)], axis=1)
            flat = rows.reshape(-1, rows.shape[-1])
            return self.index.take(self.index.search(flat, 1)[0]).reshape(rows.shape) if moved else rows
        z_q, k = self.encoder.text(self.asked), self.k
        if name == CHOSEN[0]:
            ids, _ = ladder.maximiser(self.index, z_q, k, equation_1(self.settings.rl))
        elif name == CHOSEN[1]:
            ids = rerankers.reranked(self.alone, self.asked, "mmr", STRENGTH).ids
        else:
            train_queries = self.database.corpus.queries("oar", "train")
            wanted = ladder.wanted(judge(self.database.corpus, SentenceEncoder()), train_queries)
            if not wanted:
                raise ValueError("the corpus has no labels to choose by")
            ids = ladder.labels_choice(self.index, z_q, wanted, k, self.settings.evaluation.alpha, 100)
        return self.index.take(ids)[:, None]

    def student(self, name: str, neighbours: int, queries: list[str], seed: int) -> np.ndarray:
        """Directions (n, k, d) of a denoiser that was trained on these targets."""
        how = self.settings.diffusion.model_copy(update={"neighbours": neighbours})
        denoiser = Denoiser.from_settings(self.encoder.d, how, seed).to(device())
        tokens = with_neighbours(self.encoder.text(self.asked), self.index, neighbours)
        train(denoiser, self.targets(name), tokens, how, seed=seed, label=f"{name}, {neighbours}, seed {seed}")
        return directions(denoiser, self.encoder.text(queries), self.index, self.k, self.k, how, seed + 3)


def measured(run: Path, which: str) -> dict[str, np.ndarray]:
    """Alignment, subtopic recall and quality per validation query, of a row's sets merged with the query's own list and
    of the fan-out alone; the keys are "merged alignment", "alone quality" and so on."""
    facts = manifest.read(run / "02_rl_fanout")
    if facts is None:
        raise ValueError(f"{run}: notebook 2 left no manifest there; run it first")
    settings, seed = profiles.load(facts["profile"], facts["overrides"]), facts["seed"]
    lesson = Lesson(run, settings)
    held = lesson.database.corpus.queries("oar", "validation")
    queries, oracle = held["query"].tolist(), judge(lesson.database.corpus, SentenceEncoder())
    plain: dict[str, Callable[[], np.ndarray]] = {
        "no fan-out": lambda: np.repeat(lesson.encoder.text(queries)[:, None], lesson.k, axis=1),
        "noise": lambda: np.asarray(methods.noise(lesson.alone, queries, SPREAD, seed).directions),
        "zero-shot": lambda: lesson.fanouts("zero_shot", queries, 1, seed + 1),
        "R4T-FOLM": lambda: lesson.fanouts("oar", queries, 1, seed + 2),
    }
    found = {}
    if which == "MMR":
        ids = {way: rerankers.reranked(lesson.alone, queries, "mmr", STRENGTH).ids for way in ("merged", "alone")}
    else:
        name, _, neighbours = which.rpartition(" | ")
        rows = plain[which]() if which in plain else lesson.student(name, int(neighbours), queries, seed)
        ways = {"merged": settings.merging, "alone": lesson.alone.how}
        ids = {
            way: Search(lesson.encoder, lesson.index, lesson.k, lesson.k, how).along(queries, rows).ids
            for way, how in ways.items()
        }
    for way, results in ids.items():
        scores = oracle.score(held, results, None, lesson.k, settings.evaluation.alpha)
        values = {"alignment": scores["alignment"], "recall": scores["diversity"], "quality": quality(scores)}
        found |= {f"{way} {key}": value for key, value in values.items()}
    return found | {"group": held["group"].to_numpy()}


def main(runs: list[Path]) -> None:
    rows = ["no fan-out", "noise", "MMR", "zero-shot", "R4T-FOLM", *(f"{name} | {n}" for name, n in STUDENTS)]
    tasks = {f"{row} @ {run}": (run, row) for run in runs for row in rows}
    found = side_by_side(lambda task: measured(*tasks[task]), tasks, 2)
    each = {
        row: {key: np.stack([found[f"{row} @ {run}"][key] for run in runs]) for key in found[f"{row} @ {runs[0]}"]}
        for row in rows
    }
    groups, noise = each["noise"]["group"][0], each["noise"]
    print("| row | contents seen | merged: alignment / recall = quality | above noise | alone | above noise |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        name, _, neighbours = row.rpartition(" | ") if " | " in row else (row, "", "")
        cells = [name, neighbours]
        for way in ("merged", "alone"):
            means = [100 * each[row][f"{way} {key}"].mean() for key in ("alignment", "recall", "quality")]
            gain = intervals.difference(each[row][f"{way} quality"], noise[f"{way} quality"], 2000, 0, groups).interval
            cells.append("{:.1f} / {:.1f} = {:.1f}".format(*means))
            cells.append(gain.hundredths)
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    folders = [Path(given) for given in sys.argv[1:]]
    if not folders or not all((folder / "02_rl_fanout").is_dir() for folder in folders):
        sys.exit("usage: python docs/students.py RUN [RUN ...], folders of runs whose notebooks 1 and 2 are done")
    fix_threads()
    main(folders)
