"""The rows of Tables 1 and 2: every way to turn a query into k retrieval directions."""

from dataclasses import dataclass

import numpy as np

from r4t_utils.policy.prompts import Fanout
from r4t_utils.policy.set_reward import SetReward


@dataclass(frozen=True)
class Answer:
    """What a method gives for n queries: directions (n, k, d) and, where it writes any, sub-queries (n lists of k)."""

    directions: np.ndarray
    texts: list[list[str]] | None


def written(encoder, queries: list[str], fanouts: list[Fanout], k: int) -> Answer:
    """Directions of parsed fan-outs. A search engine answers even if the policy fails: a sub-query that is missing is
    replaced by the query itself."""
    texts = [(fanout.queries + [query] * k)[:k] for query, fanout in zip(queries, fanouts)]
    flat = encoder.text([text for row in texts for text in row])
    return Answer(flat.reshape(len(texts), k, -1), texts)


def no_fanout(encoder, queries: list[str], k: int) -> Answer:
    """The query alone, k times: its k best results stand in for k directions (see ``top_ids``)."""
    return Answer(np.repeat(encoder.text(queries)[:, None], k, axis=1), [[query] * k for query in queries])


def top_ids(answer: Answer, index, alone: bool = False) -> np.ndarray:
    """Top-1 content of each direction (n, k); for no fan-out (``alone``) the k best of the one direction."""
    n, k, d = answer.directions.shape
    if alone:
        return index.search(answer.directions[:, 0], k)[0]
    return index.search(answer.directions.reshape(-1, d), 1)[0].reshape(n, k)


def pool_ids(answer: Answer, index, per_direction: int, alone: bool = False) -> np.ndarray:
    """Candidates pooled over the directions (n, k * per_direction), as many for no fan-out's single direction."""
    n, k, d = answer.directions.shape
    if alone:
        return index.search(answer.directions[:, 0], k * per_direction)[0]
    return index.search(answer.directions.reshape(-1, d), per_direction)[0].reshape(n, k * per_direction)


def best_of_n(reward: SetReward, queries: list[str], samples: list[list[Fanout]], references=None) -> list[Fanout]:
    """Of each query's samples the one with the highest training reward; the first among equals."""
    n = len(samples[0])
    scores, _ = reward.score(
        [query for query in queries for _ in range(n)],
        [fanout.queries if not fanout.fault else [] for group in samples for fanout in group],
        None if references is None else [y for y in references for _ in range(n)],
    )
    return [group[i] for group, i in zip(samples, scores.reshape(-1, n).argmax(1))]
