"""Tuning a policy by one reward, and looking at it on the same validation queries while it trains."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from r4t_utils.data.text import clean
from r4t_utils.evaluation import ladder
from r4t_utils.evaluation.judges import judge, quality
from r4t_utils.evaluation.methods import Search, paid
from r4t_utils.evaluation.scoring import best_of_weights, mean_of_runs
from r4t_utils.policy import rewards, soft_grpo
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.prompts import Fanout, frame, matching_key
from r4t_utils.policy.set_reward import SetReward
from r4t_utils.policy.trainer import Look
from r4t_utils.policy.zero_shot import zero_shot_policy
from r4t_utils.settings import Settings
from r4t_utils.space.database import Database
from r4t_utils.space.encoder import SentenceEncoder

SAMPLES = 64  # the most that best-of-N chooses among
QUERIES = 64  # validation queries that every policy answers, one of a group of near-duplicates
LOOKS = 4  # at a policy during its training, beside the one before it
NEAR = 0.95  # a sub-query with a higher cosine to the query is a copy of it


@dataclass
class Watched:
    """The queries that every policy answers, and what is measured of the answers."""

    database: Database
    settings: Settings
    queries: pd.DataFrame = field(init=False)

    def __post_init__(self):
        held = self.database.corpus.queries("oar", "validation")
        self.queries = held.iloc[ladder.one_per_group(held["group"], QUERIES)].reset_index(drop=True)

    @cached_property
    def judge(self):
        return judge(self.database.corpus, SentenceEncoder())

    @cached_property
    def z_q(self) -> np.ndarray:
        return self.database.encoder.text(self.queries["query"].tolist())

    @cached_property
    def lexicon(self) -> set[str]:
        """The words of items and collections, of training queries and these, and of the corpus's language."""
        corpus = self.database.corpus
        said = [*corpus.items.title, *corpus.collections.title]
        said += [*corpus.queries("oar", "train")["query"], *self.queries["query"]]
        spelled = [word for _, word in corpus.language.vocabulary.values()]
        return set(clean(" ".join([*said, *spelled])).split())

    def measured(self, fanouts: list[Fanout]) -> pd.DataFrame:
        """One row per query: it and its group, the fan-out in words, and in 0..1 (terms of Eq. 1 in -1..1):

        formed; ground, div (Vendi / k) and align, the terms of the reward, of the sub-queries as a search engine
        completes them (`Search.complete`); found, the alignment of what they find; alignment, diversity and quality,
        the judge's, of the results by the run's rule without the plain query's own list; merged, the quality with it;
        and for collapse: distinct, the share of sub-queries that differ; contents, that of nearest contents that
        differ; copies, sub-queries that are the query but for a word or so (`NEAR`); elsewhere, how many of the other
        queries find the same content; outside, words that are not in the lexicon.
        """
        queries, k, s = self.queries["query"].tolist(), self.settings.folm.k, self.settings
        index = self.database.index("oar")
        search = Search(self.database.encoder, index, k, k, s.merging)
        alone = search.alone()
        answer = alone.asking(queries, alone.complete(queries, fanouts))
        texts, Q = answer.texts or [], np.asarray(answer.directions)
        top, distance = (x[:, 0].reshape(len(queries), k) for x in index.search(Q.reshape(-1, Q.shape[-1]), 1))
        terms = rewards.composite(distance, index.vectors[top], Q, self.z_q, diversity="vendi_over_k")
        scores = self.judge.score(self.queries, answer.ids, None, k, s.evaluation.alpha)
        merged = search.along(queries, Q)
        words = [clean(" ".join(row)).split() for row in texts]
        finders = pd.Series([c for row in top for c in set(row)]).value_counts()
        return pd.DataFrame(
            {
                "asked": queries,
                "group": self.queries["group"],
                "fanout": [" | ".join(f.queries) if not f.fault else f.fault for f in fanouts],
                "formed": [float(not f.fault) for f in fanouts],
                "ground": terms.ground,
                "div": terms.div / k,
                "align": terms.align,
                "found": rewards.align(index.vectors[top], self.z_q),
                "alignment": scores["alignment"],
                "diversity": scores["diversity"],
                "quality": quality(scores),
                "merged": quality(self.judge.score(self.queries, merged.ids, None, k, s.evaluation.alpha)),
                "distinct": [len({matching_key(text) for text in row}) / k for row in texts],
                "contents": [len(set(row)) / k for row in top],
                "copies": (np.einsum("nkd,nd->nk", Q, self.z_q) > NEAR).mean(1),
                "elsewhere": [np.mean([finders[c] - 1 for c in row]) / (len(top) - 1) for row in top],
                "outside": [np.mean([word not in self.lexicon for word in row]) for row in words],
            }
        )


def trial(database: Database, zero_shot: Path | None, settings: Settings, seed: int, folder: Path) -> pd.DataFrame:
    """Tunes a policy from the one in `zero_shot`, or from one that it warms up itself, and returns `Watched.measured`
    of every look, with step and query. The policy that it warms up is written to `folder`."""
    queries = {task: database.corpus.queries(task, "train")["query"].tolist() for task in ("oar", "wscr")}
    source = zero_shot or zero_shot_policy(queries, settings.folm, seed, folder / "zero_shot", database.corpus.language)
    policy, watched, seen = Folm.load(source, settings.folm).trainable(), Watched(database, settings), []

    def look(step: int) -> None:
        fanouts = [fanout for (fanout,) in policy.fan_out("oar", watched.queries["query"].tolist(), seed=seed + 1)]
        seen.append(watched.measured(fanouts).assign(step=step).rename_axis("query").reset_index())

    look(0)
    reward = SetReward("oar", database.encoder, database.index("oar"), settings.rl, settings.folm.k)
    looks = Look(look, max(1, settings.rl.steps // LOOKS))
    soft_grpo.train(policy, "oar", queries["oar"], reward, settings.rl, seed, look=looks)
    return pd.concat(seen, ignore_index=True)


def best_of(database: Database, policies: dict[str, Path], settings: Settings, seed: int) -> pd.DataFrame:
    """What the best of n = 1, 2, 4, ..., SAMPLES fan-outs by reward is worth, for each policy: policy, n, tokens (that
    n well-formed fan-outs take, mean), query and group, reward, and the judge's quality and merged as in
    `Watched.measured`. Each is the mean over all draws of n of the samples."""
    watched = Watched(database, settings)
    queries, found = watched.queries["query"].tolist(), []
    reward = SetReward("oar", database.encoder, database.index("oar"), settings.rl, settings.folm.k)
    for name, folder in policies.items():
        policy = Folm.load(folder, settings.folm)
        drawn = policy.fan_out("oar", queries, SAMPLES, seed=seed + 2)
        runs = [list(run) for run in zip(*drawn)]
        pays = np.array([paid(reward, queries, run) for run in runs])
        each = [watched.measured(run)[["quality", "merged"]].assign(reward=pay) for run, pay in zip(runs, pays)]
        scores = [{key: run[key].to_numpy() for key in run} for run in each]
        written = [frame(f.queries) for group in drawn for f in group if not f.fault]
        tokens = np.mean([len(ids) for ids in policy.tokenizer(written)["input_ids"]]) if written else np.nan
        for n in 2 ** np.arange(int(np.log2(SAMPLES)) + 1):
            means = mean_of_runs(scores, best_of_weights(pays, int(n)))
            facts = {"policy": name, "n": n, "tokens": n * tokens, "group": watched.queries["group"]}
            found.append(pd.DataFrame(facts | means).rename_axis("query").reset_index())
    return pd.concat(found, ignore_index=True)
