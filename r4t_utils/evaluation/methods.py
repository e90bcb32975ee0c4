"""The rows of the tables: every way to answer a query with k different results.

All rows of a table answer the same queries from the same index, with the same number of results, and make them one set
by the same rule (`Search`). For OAR k is the number of sub-queries, for WSCR the size of the pool. Re-rankers, which
choose among the candidates of the query itself, are in `rerankers`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from r4t_utils.data.corpus import Corpus
from r4t_utils.data.text import clean
from r4t_utils.diffusion.directions import directions as denoised
from r4t_utils.machine.checks import whole
from r4t_utils.policy.prompts import Fanout
from r4t_utils.policy.set_reward import SetReward
from r4t_utils.policy.synthesis import Pairs
from r4t_utils.retriever import FanoutRetriever
from r4t_utils.settings import Merging
from r4t_utils.space.encoder import DualEncoder, unit
from r4t_utils.space.index import Index
from r4t_utils.space.merging import find

T = TypeVar("T")
Texts = list[list[str]]  # m sub-queries for each of n queries


@dataclass(frozen=True)
class Answer:
    """What a method gives for n queries: ids (n, k), best first, all different (but for the rule top1); directions
    (n, m, d) where it asks in any; and, where it writes any, sub-queries (n lists of m)."""

    ids: np.ndarray
    directions: np.ndarray | None
    texts: Texts | None


@dataclass(frozen=True)
class Search:
    """What the rows of a table share: encoder, index, the number m of sub-queries, the number k of results, and the
    rule that merges what the directions find."""

    encoder: DualEncoder
    index: Index
    m: int
    k: int
    how: Merging

    def along(self, queries: list[str], directions: np.ndarray, texts: Texts | None = None) -> Answer:
        """What directions (n, m, d), of any m, find for n queries."""
        ids = find(self.index, directions, self.encoder.text(queries), self.k, self.how)
        return Answer(ids, directions, texts)

    def alone(self, rule: str | None = None) -> "Search":
        """The same search without the query's own list, by the same rule of merging or by another. Raises ValueError
        for a rule that there is not."""
        how = Merging(rule=rule or self.how.rule, query_weight=0.0)  # pyright: ignore[reportArgumentType]
        return replace(self, how=how)

    def asking(self, queries: list[str], texts: Texts) -> Answer:
        """What sub-queries (n lists of m, of any m) find for n queries. ValueError for lists of unlike length."""
        if len(lengths := {len(row) for row in texts}) > 1:
            raise ValueError(f"the lists hold {min(lengths)} to {max(lengths)} sub-queries; give every query as many")
        flat = self.encoder.text([text for row in texts for text in row])
        return self.along(queries, flat.reshape(len(texts), -1, self.encoder.d), texts)

    def complete(self, queries: list[str], fanouts: Sequence[Fanout]) -> Texts:
        """The m sub-queries of parsed fan-outs. A search engine answers even if the policy fails: a sub-query that is
        missing is replaced by the query itself."""
        return [(fanout.queries + [query] * self.m)[: self.m] for query, fanout in zip(queries, fanouts)]


def no_fanout(search: Search, queries: list[str]) -> Answer:
    """The k best results of the query's own direction."""
    z_q = search.encoder.text(queries)
    return Answer(search.index.search(z_q, search.k)[0], z_q[:, None], [[query] for query in queries])


def written(search: Search, queries: list[str], fanouts: Sequence[Fanout]) -> Answer:
    """A policy's fan-outs, one per query: zero-shot, best-of-N and R4T-FOLM differ in who wrote them."""
    return search.asking(queries, search.complete(queries, fanouts))


def fused(search: Search, queries: list[str], samples: Sequence[Sequence[Fanout]]) -> Answer:
    """All fan-outs of a query (n lists of s) as one of s * m sub-queries."""
    each = [search.complete(queries, run) for run in zip(*samples)]
    return search.asking(queries, [sum(parts, []) for parts in zip(*each)])


def prefixed(search: Search, queries: list[str], fanouts: Sequence[Fanout]) -> Answer:
    """The query put before each of its sub-queries: a rule that costs nothing and keeps to the topic."""
    texts = search.complete(queries, fanouts)
    return search.asking(queries, [[f"{query} {text}" for text in row] for query, row in zip(queries, texts)])


def random_words(search: Search, queries: list[str], corpus: Corpus, seed: int) -> Answer:
    """The query before m words of the corpus: sub-queries that know nothing but the query. The words of a query differ,
    and each is drawn as often as the contents' titles say it."""
    words, counts = np.unique(clean(" ".join(corpus.items.title)).split(), return_counts=True)
    words, counts = words[counts > 1], counts[counts > 1]
    whole("m", search.m, 1, len(words), "there are no more words that the corpus says twice")
    rng, share = np.random.default_rng(seed), counts / counts.sum()
    drawn = [words[rng.choice(len(words), search.m, replace=False, p=share)] for _ in queries]
    return search.asking(queries, [[f"{query} {word}" for word in row] for query, row in zip(queries, drawn)])


def noise(search: Search, queries: list[str], spread: float, seed: int) -> Answer:
    """The generator that knows nothing: m directions unit(z_q + spread * g / sqrt(d)), g standard normal, so that the
    noise has about the length `spread` (0 or more). Raises ValueError for a negative spread."""
    if not 0 <= spread < np.inf:
        raise ValueError(f"spread={spread!r} must be a number of 0 or more; choose one on validation queries")
    z_q = search.encoder.text(queries)
    n, d = z_q.shape
    g = np.random.default_rng(seed).standard_normal((n, search.m, d), np.float32)
    return search.along(queries, unit(z_q[:, None] + spread / np.sqrt(d) * g).astype(np.float32))


def nearest_training(search: Search, queries: list[str], pairs: Pairs, run: int = 0) -> Answer:
    """The stored set of the nearest training query: what its synthesised target says, m of the L rows. A query has
    several targets; `run` picks one of them. Raises ValueError for targets of fewer than m rows."""
    whole("m", search.m, 1, pairs.targets.shape[2], "a target has no more rows")
    nearest = (search.encoder.text(queries) @ pairs.z_q.T).argmax(1)
    return search.along(queries, pairs.targets[nearest, run % pairs.counts[nearest], : search.m])


def diffused(search: Search, queries: list[str], retriever: FanoutRetriever, seed: int) -> Answer:
    """R4T-Diffusion: the retriever's directions, merged by the table's rule."""
    z_q, r = search.encoder.text(queries), retriever
    return search.along(queries, denoised(r.denoiser, z_q, search.index, search.m, r.slots, r.sampling, seed))


def paid(
    reward: SetReward, queries: list[str], fanouts: Sequence[Fanout], references: Iterable | None = None
) -> np.ndarray:
    """What training pays for fan-outs, one per query: (n,). `references`: the reference set of each query, where the
    reward asks for them (WSCR)."""
    texts = [fanout.queries if not fanout.fault else [] for fanout in fanouts]
    stutters = [fanout.stutters if not fanout.fault else () for fanout in fanouts]
    return reward.score(queries, texts, None if references is None else list(references), stutters)[0]


def best_of_n(
    reward: SetReward, queries: list[str], samples: Sequence[Sequence[Fanout]], references: Iterable | None = None
) -> list[Fanout]:
    """Of each query's samples the one with the highest training reward; the first among equals. `references` as in
    `paid`."""
    return best_of_runs(reward, queries, samples, 1, references)[0]


def best_of_runs(
    reward: SetReward,
    queries: list[str],
    samples: Sequence[Sequence[Fanout]],
    runs: int,
    references: Iterable | None = None,
) -> list[list[Fanout]]:
    """Best-of-N drawn `runs` times: each query has runs * N samples, and run r keeps the best of its own N.

    Returns `runs` lists of n fan-outs. Raises ValueError for a number of samples that `runs` does not divide.
    """
    each = len(samples[0])
    if each % runs or not each:
        raise ValueError(f"{each} samples per query cannot be shared by runs={runs}; draw runs * N of them")
    asked = [query for query in queries for _ in range(each)]
    wanted = None if references is None else [y for y in references for _ in range(each)]
    scores = paid(reward, asked, [fanout for group in samples for fanout in group], wanted)
    best = scores.reshape(len(samples), runs, -1).argmax(2) + np.arange(runs) * (each // runs)
    return [[group[i] for group, i in zip(samples, column)] for column in best.T]


def groundedness(search: Search, answer: Answer) -> np.ndarray:
    """How near the directions come to the database, in the reward's space: 1 - half the mean distance of a direction to
    its nearest content, (n,). Half of it, unlike in Eq. 3, keeps it in 0..1. It is defined alike for every row that has
    directions, written or not. Raises ValueError for an answer without."""
    if answer.directions is None:
        raise ValueError("the answer has no directions, so no groundedness; leave its score empty")
    n, m, d = answer.directions.shape
    distance = search.index.search(answer.directions.reshape(-1, d), 1)[1]
    return 1 - distance.reshape(n, m).mean(1) / 2


def own_top(search: Search, answer: Answer) -> np.ndarray:
    """The nearest content of each direction, (n, m): what a sub-query itself finds, whatever the merged set holds."""
    if answer.directions is None:
        raise ValueError("the answer has no directions, so nothing is found by each; leave its score empty")
    n, m, d = answer.directions.shape
    return search.index.search(answer.directions.reshape(-1, d), 1)[0].reshape(n, m)


def choose(grid: Sequence[T], score: Callable[[T], float]) -> tuple[T, dict[T, float]]:
    """The value of the grid with the highest score (the first among equals), and all scores. The score is to be taken
    on validation queries. Raises ValueError for an empty grid or a score that is not finite."""
    scores = {value: float(score(value)) for value in grid}
    if not scores or not all(map(np.isfinite, scores.values())):
        raise ValueError(f"the scores are {scores}; a choice needs a grid of values with finite scores")
    return max(scores, key=scores.__getitem__), scores
