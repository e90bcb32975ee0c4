"""What limits the method: a ladder of answers from the plain query up to the labels' own choice.

Each rung mends one part and leaves the rest as it is, so the difference between two rungs is what that part costs:

    labels' choice of all  the labels choose among all contents: the best that any answer can be
    labels' choice of 100  the labels choose among the 100 contents nearest to the query
    named sub-queries      sub-queries that name what the judge wants; what they miss, the space does not find
    reward's maximiser     the contents that the reward likes best; what it misses, the reward does not ask for
    search in text         the best sub-queries for the reward, in the policy's words
    best of 64             the best of 64 samples of the policy, by reward
    policy                 one sample of the policy
    retriever              the diffusion retriever
    no fan-out             the plain query
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from r4t_utils.data.corpus import Corpus
from r4t_utils.data.sample import ATTRIBUTES, world
from r4t_utils.evaluation.intervals import bootstrap_interval, paired_difference
from r4t_utils.evaluation.judges import quality
from r4t_utils.evaluation.maximisers import Terms, contents, exact_around, maximise, rewards_of
from r4t_utils.evaluation.metrics import greedy_order
from r4t_utils.space.index import Index

NO_FANOUT, RETRIEVER, POLICY, BEST, TEXT, MAXIMISER, NAMED, TOP_100, DATABASE = RUNGS = (
    "no fan-out",
    "retriever",
    "policy",
    "best of 64",
    "search in text",
    "reward's maximiser",
    "named sub-queries",
    "labels' choice of 100",
    "labels' choice of all",
)
# What a step down the ladder costs: what is lost, the better rung, the worse one, and what the loss means.
STEPS = (
    ("index", DATABASE, TOP_100, "the 100 contents nearest to the query do not hold all of the best answer"),
    ("space", DATABASE, NAMED, "sub-queries that name what is wanted do not find all of it"),
    ("reward", NAMED, MAXIMISER, "the sets that the reward likes best are not the ones that are wanted"),
    ("reward among 100", TOP_100, MAXIMISER, "the reward chooses worse among contents than the labels do"),
    ("language", MAXIMISER, TEXT, "no sub-queries in the policy's words that the search found reach the maximiser"),
    ("search", TEXT, BEST, "64 samples of the policy hold nothing as good as what a search in its words finds"),
    ("policy", BEST, POLICY, "one sample of the policy is worse than the best of 64 by reward"),
    ("distillation", POLICY, RETRIEVER, "the diffusion retriever does not keep all that the policy learnt"),
)
Wanted = tuple[np.ndarray, np.ndarray]  # of a query: relevant contents, bool (m,), and their subtopics, bool (m, s)


def wanted(judge: object, queries: pd.DataFrame) -> list[Wanted] | None:
    """What a judge with labels wants for each query; None for a judge without (the embedding judge)."""
    if not hasattr(judge, "wanted"):
        return None
    return [judge.wanted(key) for key in queries["intent" if "intent" in queries else "id"]]  # pyright: ignore


def one_per_group(groups: ArrayLike, n: int) -> np.ndarray:
    """Rows of the queries that the slow rungs answer: the first of every group, and of these n (all, at most), evenly
    spaced. Raises ValueError for n below 2."""
    if n < 2:
        raise ValueError(f"n={n} queries give no interval; ask for 2 or more.")
    first = np.sort(np.unique(np.asarray(groups), return_index=True)[1])
    return first[np.unique(np.linspace(0, len(first) - 1, min(n, len(first))).round().astype(int))]


def maximiser(
    index: Index, z_q: np.ndarray, k: int, terms: Terms, extra: int = 2, candidates: int = 400
) -> tuple[np.ndarray, int]:
    """The reward's best contents for queries z_q (n, d) among the `candidates` nearest to each: ids (n, k), nearest
    first, and for how many queries the exact search among the set and its `extra` best alternatives improved on greedy
    with exchanges. Raises ValueError for fewer candidates than k."""
    near = index.search(z_q, min(candidates, len(index)))[0]
    ids, improved = np.empty((len(z_q), k), np.int64), 0
    for i, z in enumerate(z_q):
        pool = contents(index.vectors[near[i]], z)
        choice = maximise(pool, k, terms)
        best = exact_around(pool, choice, terms, extra)
        improved += best is not choice
        ids[i] = near[i, sorted(best.chosen)]  # positions of the nearest first
    return ids, improved


def reward_of_results(index: Index, ids: np.ndarray, z_q: np.ndarray, terms: Terms) -> np.ndarray:
    """Eq. 1 (n,) of results ids (n, k), each standing as its own sub-query: one footing for every rung."""
    first = np.arange(ids.shape[1])[None]
    return np.array([rewards_of(contents(index.vectors[row], z), first, terms)[0] for row, z in zip(ids, z_q)])


def labels_choice(index: Index, z_q: np.ndarray, labels: list[Wanted], k: int, alpha: float, depth: int) -> np.ndarray:
    """What the labels choose among the `depth` contents nearest to each query: ids (n, k).

    Greedy by the gain of alpha-nDCG, each repeat of a subtopic worth (1 - alpha) of the one before; of equals the one
    nearer to the query, and when no relevant one is left, the nearest of the rest. Raises ValueError for depth, or a
    database, below k.
    """
    depth = min(depth, len(index))
    if depth < k:
        raise ValueError(f"depth={depth} candidates hold no {k} results; search at least as deep.")
    near, ids = index.search(z_q, depth)[0], np.empty((len(z_q), k), np.int64)
    for i, (relevant, subtopics) in enumerate(labels):
        has = (subtopics & relevant[:, None])[near[i]].astype(float)
        ids[i] = near[i, greedy_order(has, k, alpha)]
    return ids


def namer(corpus: Corpus) -> Callable[[int, int], str]:
    """How a content is named the first, second, ... time that its subtopic is asked for: a look by its mood, season,
    style and occasion, in the corpus's next words for them; a content of a corpus with labels by its own title."""
    if "look" not in corpus.collections:
        return lambda content, nth: str(corpus.collections.title[content])
    values, order = corpus.collections[[*ATTRIBUTES]], ("mood", "season", "style", "occasion")

    def name(content: int, nth: int) -> str:
        forms = [world()[a][values.at[content, a]]["forms"] for a in order]
        return " ".join(f[nth % len(f)] for f in forms)

    return name


def named_fanout(labels: Wanted, k: int, name: Callable[[int, int], str]) -> list[str]:
    """Up to k different sub-queries that name what is wanted: the subtopics in turn, those with most relevant contents
    first, and in the next round again by another content or other words."""
    relevant, subtopics = labels
    has = subtopics & relevant[:, None]
    members = [np.flatnonzero(has[:, j]) for j in np.argsort(-has.sum(0), kind="stable")]
    rounds = ((own, nth) for nth in range(k) for own in members if nth < len(own))
    return list(dict.fromkeys(name(int(own[nth]), nth) for own, nth in rounds))[:k]


def scored(
    rung: str,
    rows: np.ndarray,
    answers: Sequence[np.ndarray],
    judge: object,
    queries: pd.DataFrame,
    alpha: float,
    index: Index,
    z_q: np.ndarray,
    terms: Terms,
    said: np.ndarray | None = None,
) -> pd.DataFrame:
    """A rung's scores, one row per query: rung, query, said, reward, alignment, diversity, quality and, where the judge
    has it, alpha_ndcg; means over its answers.

    rows: (n,) the queries answered, rows of `queries`, z_q (all, d); answers: one array of ids (n, k) per run of the
    rung. `reward` is that of the results, each as its own sub-query (`reward_of_results`); `said` (n,), where the rung
    writes sub-queries, is the reward of these, as training pays it. The two are not comparable: Eq. 4 as printed aligns
    what is said, so paraphrases of the query can earn more than any set of contents.
    """
    each = []
    for ids in answers:
        s = dict(judge.score(queries.iloc[rows], ids, None, ids.shape[1], alpha))  # pyright: ignore
        s |= {"quality": quality(s)}
        each.append({"reward": reward_of_results(index, ids, z_q[rows], terms)} | s)
    means = {key: np.mean([s[key] for s in each], axis=0) for key in each[0]}
    return pd.DataFrame({"rung": rung, "query": rows, "said": np.nan if said is None else said, **means})


def table(scores: pd.DataFrame, groups: ArrayLike, n_boot: int, seed: int) -> pd.DataFrame:
    """One row per rung, lowest first: rung, n, and the mean of each score with low and high of quality, all times 100.
    `scores`: the rows of `scored` one under the other; groups: (all queries,)."""
    rows, groups = [], np.asarray(groups)
    for rung in (r for r in RUNGS if r in set(scores.rung)):
        own = scores[scores.rung == rung]
        i = bootstrap_interval(own.quality, n_boot, seed, groups[own["query"]])
        means = 100 * own.drop(columns=["rung", "query"]).mean()
        rows.append({"rung": rung, "n": len(own), **means, "low": 100 * i.low, "high": 100 * i.high})
    return pd.DataFrame(rows)


def losses(scores: pd.DataFrame, groups: ArrayLike, n_boot: int, seed: int, score: str = "quality") -> pd.DataFrame:
    """What each step down costs: lost_by, better, worse, meaning, mean, low, high (hundredths of `score`) and
    n. A step is paired over the queries that both rungs answered; a step whose rung is missing is left out."""
    wide, rows = scores.pivot(index="query", columns="rung", values=score), []
    for part, better, worse, meaning in STEPS:
        if better in wide and worse in wide:
            both = wide[[better, worse]].dropna()
            own = np.asarray(groups)[both.index]
            i = paired_difference(both[better], both[worse], n_boot, seed, own)
            ends = {"mean": 100 * i.mean, "low": 100 * i.low, "high": 100 * i.high, "n": i.n}
            rows.append({"lost_by": part, "better": better, "worse": worse, "meaning": meaning, **ends})
    return pd.DataFrame(rows)


def explained(lost: pd.DataFrame, score: str = "the judge's quality") -> list[str]:
    """The answer in words: a sentence for each step of `losses`, and one that says what to mend first."""
    sentences, rows = [], lost.to_dict("records")
    for row in rows:
        gained = row["high"] < 0  # the rung that was to be the worse one is the better one
        ends = (-row["high"], -row["low"]) if gained else (row["low"], row["high"])
        mean = -row["mean"] if gained else row["mean"]
        size = f"{mean:.1f} of 100 points of {score} [{ends[0]:+.1f}, {ends[1]:+.1f}], {row['n']} queries"
        if gained:
            names = f"“{row['worse']}” is better than “{row['better']}”"
            sentences.append(f"No loss by the {row['lost_by']}: {names} by {size}.")
        elif row["low"] == row["high"] == 0:
            sentences.append(f"The {row['lost_by']} loses nothing, {row['n']} queries.")
        elif row["low"] > 0:
            sentences.append(f"The {row['lost_by']} loses {size}: {row['meaning']}.")
        else:
            sentences.append(f"Whether the {row['lost_by']} loses anything is undecided: a difference of {size}.")
    clear = [row for row in rows if row["low"] > 0]
    if clear:
        worst = max(clear, key=lambda row: row["mean"])
        sentences.append(f"The largest clear loss is by the {worst['lost_by']}: {worst['meaning']}. Mend that first.")
    else:
        sentences.append("No step of the ladder has a clear loss; ask more queries.")
    return sentences
