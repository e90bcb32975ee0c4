"""The rows of Tables 1 and 2: every way to turn a query into retrieval directions, and what these find."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from r4t_utils.policy.prompts import Fanout
from r4t_utils.policy.set_reward import SetReward
from r4t_utils.space.encoder import DualEncoder
from r4t_utils.space.index import Index


@dataclass(frozen=True)
class Answer:
    """What a method gives for n queries: directions (n, m, d), where m is k, or 1 without a fan-out, and, where it
    writes any, sub-queries (n lists of k)."""

    directions: np.ndarray
    texts: list[list[str]] | None


def written(encoder: DualEncoder, queries: list[str], fanouts: Sequence[Fanout], k: int) -> Answer:
    """Directions of parsed fan-outs. A search engine answers even if the policy fails: a sub-query that is missing is
    replaced by the query itself."""
    texts = [(fanout.queries + [query] * k)[:k] for query, fanout in zip(queries, fanouts)]
    flat = encoder.text([text for row in texts for text in row])
    return Answer(flat.reshape(len(texts), k, -1), texts)


def no_fanout(encoder: DualEncoder, queries: list[str], k: int) -> Answer:
    """One direction, the query's own. Each of its k best results counts as found for the query, said k times."""
    return Answer(encoder.text(queries)[:, None], [[query] * k for query in queries])


def top_ids(answer: Answer, index: Index, total: int) -> np.ndarray:
    """The ids (n, total) of the contents found: the nearest ones of each direction, as many for each. So `total` is a
    multiple of the directions: k for the top-1 content of k directions, and for the k best of a single one."""
    n, m, d = answer.directions.shape
    return index.search(answer.directions.reshape(-1, d), total // m)[0].reshape(n, total)


def best_of_n(
    reward: SetReward, queries: list[str], samples: list[list[Fanout]], references: Iterable | None = None
) -> list[Fanout]:
    """Of each query's samples the one with the highest training reward; the first among equals. ``references``: the
    reference set of each query, where the reward asks for them (WSCR)."""
    n = len(samples[0])
    asked = [query for query in queries for _ in range(n)]
    texts = [fanout.queries if not fanout.fault else [] for group in samples for fanout in group]
    wanted = None if references is None else [y for y in references for _ in range(n)]
    scores, _ = reward.score(asked, texts, wanted)
    return [group[i] for group, i in zip(samples, scores.reshape(-1, n).argmax(1))]
