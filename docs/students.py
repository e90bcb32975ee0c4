"""What does the work? `python docs/students.py RUN [RUN ...]`, such as artifacts/cpu/sample/seed-0, one run per seed.

RUN holds what notebooks 1 and 2 of a run wrote. The same denoiser is trained on other targets, and sees the contents
nearest to a query or does not; the run's judge says on validation queries what its directions find, beside the plain
query, noise, a re-ranker and the policies themselves.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import held_out
import numpy as np
from held_out import STRENGTH, HeldOut, Scores

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.diffusion.directions import directions, with_neighbours
from r4t_utils.diffusion.training import train
from r4t_utils.evaluation import drawing, ladder, methods, rerankers
from r4t_utils.evaluation.maximisers import equation_1
from r4t_utils.machine.device import device, fix_threads, side_by_side
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.prompts import Fanout
from r4t_utils.policy.set_reward import SetReward
from r4t_utils.policy.synthesis import Pairs
from r4t_utils.run import blocks, paths

DRAWS = 2  # fan-outs of a training query that are targets
OWN, PAPERS = "taught R4T's sub-queries", "taught the contents that those find (the paper)"
ZERO, BEST = "taught zero-shot sub-queries", "taught the best of 5 zero-shot fan-outs by reward"
SAMPLED = {  # sub-queries as targets: whose, best of how many by reward, and whether they are moved onto contents
    OWN: ("oar", 1, False),
    PAPERS: ("oar", 1, True),
    ZERO: ("zero_shot", 1, False),
    BEST: ("zero_shot", 5, False),
}
CHOSEN = "taught the reward's maximiser", "taught MMR's results", "taught what labels want of the query's 100 nearest"
SINGLE = f"{OWN}, each a set of its own"
PLAIN = "no fan-out", "noise", "MMR", "zero-shot", "R4T-FOLM"
STUDENTS = {name: (name, 32) for name in (*SAMPLED, SINGLE, *CHOSEN)}  # targets, and how many contents are seen
STUDENTS |= {f"{name}, seeing no contents": (name, 0) for name in (OWN, PAPERS)}
WORK = {  # what may do the work: the row that has it, less the one that has not
    "RL, in the policy itself": ("R4T-FOLM", "zero-shot"),
    "RL, in what the retriever is taught": (OWN, ZERO),
    "best of 5 by reward, in what it is taught": (BEST, ZERO),
    "distillation: the retriever in place of its policy": (OWN, "R4T-FOLM"),
    "distillation of zero-shot fan-outs": (ZERO, "zero-shot"),
    "targets moved onto contents, as in the paper": (PAPERS, OWN),
    "a look at the nearest contents": (OWN, f"{OWN}, seeing no contents"),
    "rows drawn together, not one by one": (OWN, SINGLE),
    "targets chosen by the labels": (CHOSEN[2], OWN),
    "the trained retriever in place of noise": (OWN, "noise"),
}


class Lesson(HeldOut):
    """What a run's policies and database make of its training queries."""

    def chosen(self, policy: str, queries: list[str], of: int, seed: int) -> list[Fanout]:
        """Of `of` fan-outs of each query by a policy the best by reward."""
        loaded = Folm.load(self.run / "02_rl_fanout" / policy, self.settings.folm)
        drawn = loaded.fan_out("oar", queries, of, seed=seed)
        reward = SetReward("oar", self.encoder, self.index, self.settings.rl, self.k)
        return methods.best_of_n(reward, queries, drawn)

    def taught(self, name: str) -> Pairs:
        """Pairs of the training queries; a malformed fan-out is no target."""
        if name in SAMPLED:
            policy, best_of, moved = SAMPLED[name]
            if best_of == 1:
                return self.pairs(policy, DRAWS, 100, "contents" if moved else "sub_queries")
            return self.best(policy, best_of)
        z_q, k = self.encoder.text(self.training_queries), self.k
        if name == CHOSEN[0]:
            ids, _ = ladder.maximiser(self.index, z_q, k, equation_1(self.settings.rl))
        elif name == CHOSEN[1]:
            ids = rerankers.reranked(self.search["alone"], self.training_queries, "mmr", STRENGTH).ids
        else:
            train_queries = self.database.corpus.queries("oar", "train")
            wanted = ladder.wanted(self.judge, train_queries)
            if not wanted:
                raise ValueError("the corpus has no labels to choose by")
            ids = ladder.labels_choice(self.index, z_q, wanted, k, self.settings.evaluation.alpha, 100)
        return Pairs(z_q, self.index.take(ids)[:, None], np.ones(len(z_q), int))

    def best(self, policy: str, of: int) -> Pairs:
        """Of `of` fan-outs the best by reward, DRAWS times."""
        asked, k, d = self.training_queries, self.k, self.encoder.d
        targets, counts = np.zeros((len(asked), DRAWS, k, d), np.float32), np.zeros(len(asked), int)
        for i in range(DRAWS):
            chosen = self.chosen(policy, asked, of, 100 + i)
            good = [j for j, fanout in enumerate(chosen) if not fanout.fault]
            texts = [text for j in good for text in chosen[j].queries]
            targets[good, counts[good]] = self.encoder.text(texts).reshape(len(good), k, d)
            counts[good] += 1
        return Pairs(self.encoder.text(asked)[counts > 0], targets[counts > 0], counts[counts > 0])

    def student(self, name: str, neighbours: int) -> np.ndarray:
        """Directions (n, k, d) for the validation queries, of a denoiser that was trained on these targets."""
        seed, pairs, L = self.seed, self.taught(OWN if name == SINGLE else name), self.k
        if name == SINGLE:
            rows = pairs.targets.reshape(len(pairs.targets), -1, 1, pairs.targets.shape[-1])
            pairs, L = Pairs(pairs.z_q, rows, pairs.counts * L), 1
        how = self.settings.diffusion.model_copy(update={"neighbours": neighbours})
        denoiser = Denoiser.from_settings(self.encoder.d, how, seed).to(device())
        tokens = with_neighbours(pairs.z_q, self.index, neighbours)
        label = f"{name}, {neighbours}, seed {seed}"
        train(denoiser, pairs.targets, tokens, how, counts=pairs.counts, seed=seed, label=label)
        z_q = self.encoder.text(self.queries)
        each = [directions(denoiser, z_q, self.index, L, L, how, seed + 3 + 1000 * i) for i in range(self.k // L)]
        return np.concatenate(each, axis=1)


def measured(run: Path, row: str) -> Scores:
    """What the judge says of a row on validation queries."""
    lesson = Lesson(run, "02_rl_fanout")
    queries, seed = lesson.queries, lesson.seed
    if row == "noise":
        return lesson.noise()
    if row == "MMR":
        return lesson.mmr()
    plain: dict[str, Callable[[], np.ndarray]] = {
        "no fan-out": lambda: np.repeat(lesson.encoder.text(queries)[:, None], lesson.k, axis=1),
        "zero-shot": lambda: lesson.drawn("zero_shot", queries, 1, seed + 1)[:, 0],
        "R4T-FOLM": lambda: lesson.drawn("oar", queries, 1, seed + 2)[:, 0],
    }
    return lesson.scores(plain[row]() if row in plain else lesson.student(*STUDENTS[row]))


def difference(each: Mapping[str, Scores], what: str, way: str) -> dict:
    """By how much something raises the judge's quality, in hundredths."""
    row, less = WORK[what]
    gained = held_out.difference(each[row], each[less], way)
    said = {"what": what, "row": row, "less": less, "way": way}
    return said | {"mean": 100 * gained.mean, "low": 100 * gained.low, "high": 100 * gained.high, "n": gained.n}


def main(runs: list[Path]) -> None:
    tasks = {f"{row} @ {run}": (run, row) for run in runs for row in (*PLAIN, *STUDENTS)}
    found = side_by_side(lambda task: measured(*tasks[task]), tasks, 2)
    each = {row: held_out.over_seeds([found[f"{row} @ {run}"] for run in runs]) for row in (*PLAIN, *STUDENTS)}
    held_out.record("students", each)
    gained = [difference(each, what, way) for what in WORK for way in held_out.WAYS]
    held_out.write_table("students_differences", gained)
    drawing.draw("students", paths.results() / "trials")
    heads = "row", "merged: alignment / recall = quality", "above noise", "alone", "above noise"
    rows = []
    for row, scores in each.items():
        cells = [row]
        for way in held_out.WAYS:
            cells += [held_out.cell(scores, way), held_out.gain(scores, each["noise"], way)]
        rows.append(cells)
    print(*blocks.table(heads, rows), sep="\n")


if __name__ == "__main__":
    fix_threads()
    main(held_out.asked("02_rl_fanout"))
