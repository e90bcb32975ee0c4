"""What the trials of retrievers share: the validation queries of a run, and what its judge says of directions for them.

RUN is a folder that notebooks wrote into, such as artifacts/cpu/sample/seed-0. Scores are of two answers: *merged*, by
the profile's rule and with the query's own list, and *alone*, the fan-out filled up to as many different results.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from r4t_utils.evaluation import intervals, methods, rerankers
from r4t_utils.evaluation.judges import judge, quality
from r4t_utils.evaluation.methods import Search
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.synthesis import Pairs, synthesise
from r4t_utils.run import blocks, manifest, paths, profiles
from r4t_utils.settings import Settings
from r4t_utils.space.database import Database
from r4t_utils.space.encoder import SentenceEncoder

WAYS = "merged", "alone"
KEYS = "alignment", "recall", "quality"
SPREAD, STRENGTH = 0.5, 0.3  # of the noise, and of MMR's care for variety
Scores = dict[str, np.ndarray]  # "merged alignment", "alone quality", ... and "group": a value per query


class HeldOut:
    """A run's database, settings, seed and validation queries; ValueError for a folder without a finished stage."""

    def __init__(self, run: Path, stage: str):
        facts = manifest.read(run / stage)
        if facts is None:
            raise ValueError(f"{run}: notebook {stage} left no manifest there; run it first")
        self.run, self.seed = run, facts["seed"]
        now = profiles.load(facts["profile"], facts["overrides"]).model_dump()
        for section, had in facts["settings"].items():  # a profile may have changed since
            now[section] |= {name: value for name, value in had.items() if name in now[section]}
        self.settings = Settings.model_validate(now)
        self.k, self.database = self.settings.folm.k, Database.load(run / "01_data_curation" / "database")
        self.index, self.encoder = self.database.index("oar"), self.database.encoder
        self.rows = self.database.corpus.queries("oar", "validation")
        self.queries = self.rows["query"].tolist()
        self.training_queries = self.database.corpus.queries("oar", "train")["query"].tolist()
        self.judge = judge(self.database.corpus, SentenceEncoder())
        merged = Search(self.encoder, self.index, self.k, self.k, self.settings.merging)
        self.search = dict(zip(WAYS, (merged, merged.alone("fill")), strict=True))

    def pairs(self, policy: str, n: int, seed: int, targets: str = "sub_queries") -> Pairs:
        """Pairs of n fan-outs per training query by one of the run's policies, as notebook 3 makes them."""
        model = Folm.load(self.run / "02_rl_fanout" / policy, self.settings.folm)
        how = self.settings.synthesis.model_copy(update={"fanouts_per_query": n, "targets": targets, "slots": self.k})
        return synthesise(model, "oar", self.training_queries, self.encoder, self.index, how, seed)[0]

    def drawn(self, policy: str, queries: list[str], n: int, seed: int) -> np.ndarray:
        """Directions (queries, n, k, d) of n fan-outs by one of the run's policies: "oar" or "zero_shot"."""
        model = Folm.load(self.run / "02_rl_fanout" / policy, self.settings.folm)
        runs = zip(*model.fan_out("oar", queries, n, seed=seed))
        each = [methods.written(self.search["alone"], queries, list(fanouts)).directions for fanouts in runs]
        return np.stack([np.asarray(rows) for rows in each], axis=1)

    def scores(self, directions: np.ndarray) -> Scores:
        """What directions (n, k, d) for the validation queries find."""
        return self.of_results({way: s.along(self.queries, directions).ids for way, s in self.search.items()})

    def geometry(self, directions: np.ndarray) -> Scores:
        """Of each set: the mean distance of a row to its nearest content, how many different contents its rows are
        nearest to, and the mean cosine between two rows."""
        n, k, d = directions.shape
        top, distance = self.index.search(directions.reshape(-1, d), 1)
        cosines = np.einsum("nid,njd->nij", directions, directions)
        return {
            "distance": distance.reshape(n, k).mean(1),
            "different": np.array([len(set(row)) for row in top.reshape(n, k).tolist()], float),
            "cosine of rows": (cosines.sum((1, 2)) - k) / (k * (k - 1)),
        }

    def noise(self) -> Scores:
        """Noise around the query."""
        return self.scores(np.asarray(methods.noise(self.search["alone"], self.queries, SPREAD, self.seed).directions))

    def mmr(self) -> Scores:
        """MMR over the query's top 100."""
        ids = rerankers.reranked(self.search["alone"], self.queries, "mmr", STRENGTH).ids
        return self.of_results(dict.fromkeys(WAYS, ids))

    def of_results(self, ids: Mapping[str, np.ndarray]) -> Scores:
        """The judge's scores of ids (n, k) for each way of answering."""
        found: Scores = {"group": self.rows["group"].to_numpy()}
        for way, results in ids.items():
            of_way = self.judge.score(self.rows, results, None, self.k, self.settings.evaluation.alpha)
            values = of_way["alignment"], of_way["diversity"], quality(of_way)
            found |= {f"{way} {key}": value for key, value in zip(KEYS, values, strict=True)}
        return found


def over_seeds(of_runs: Sequence[Scores]) -> Scores:
    """The scores of several runs, stacked: (runs, n)."""
    return {key: np.stack([scores[key] for scores in of_runs]) for key in of_runs[0]}


def record(name: str, each: Mapping[str, Scores]) -> None:
    """results/trials/<name>.csv, in hundredths: of each row, way and measure the mean with its interval over seeds and
    groups of queries, and how far it lies above noise."""
    rows = []
    for row, scores in each.items():
        groups = scores["group"][0]
        for way, measure in product(WAYS, KEYS):
            key = f"{way} {measure}"
            mean, low, high, n = intervals.bootstrap_interval(100 * scores[key], 2000, 0, groups)
            above = intervals.difference(100 * scores[key], 100 * each["noise"][key], 2000, 0, groups).interval
            said = {"row": row, "way": way, "measure": measure, "mean": mean, "low": low, "high": high}
            rows.append(said | {"above_noise": above.mean, "above_low": above.low, "above_high": above.high, "n": n})
    write_table(name, rows)


def keep(name: str, rows: list[dict]) -> None:
    """Writes the rows, and prints them as the log has tables."""
    write_table(name, rows)
    cells = ([f"{x:.3f}" if isinstance(x, float) else str(x) for x in row.values()] for row in rows)
    print("\n".join(blocks.table([*rows[0]], cells)))


def write_table(name: str, rows: list[dict]) -> None:
    """results/trials/<name>.csv."""
    file = paths.results() / "trials" / f"{name}.csv"
    pd.DataFrame(rows).to_csv(file, index=False, float_format="%.4f", lineterminator="\n")


def cell(scores: Scores, way: str) -> str:
    """Alignment / subtopic recall = quality, times 100."""
    return "{:.1f} / {:.1f} = {:.1f}".format(*(100 * scores[f"{way} {key}"].mean() for key in KEYS))


def difference(scores: Scores, other: Scores, way: str) -> intervals.Interval:
    """How much more quality, with its interval over seeds and groups of queries."""
    a, b = (each[f"{way} quality"] for each in (scores, other))
    return intervals.difference(a, b, 2000, 0, scores["group"][0]).interval


def gain(scores: Scores, other: Scores, way: str) -> str:
    """The same, times 100, as tables tell it."""
    return difference(scores, other, way).hundredths


def asked(stage: str) -> list[Path]:
    """The folders that the command names; exits with the usage where there is none or one lacks the stage."""
    folders = [Path(given) for given in sys.argv[1:]]
    if not folders or not all((folder / stage).is_dir() for folder in folders):
        sys.exit(f"usage: python {sys.argv[0]} RUN [RUN ...], folders of runs that are done up to notebook {stage}")
    return folders
