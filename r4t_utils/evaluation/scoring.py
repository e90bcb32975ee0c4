"""From answers to scores: one value per query and score, as a mean over a method's runs, in one long table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import comb

import numpy as np
import pandas as pd

from r4t_utils.evaluation.claims import SCORED_TWICE, WITHOUT
from r4t_utils.evaluation.judges import AttributeJudge, EmbeddingJudge, JudgeSpace, Scores, quality
from r4t_utils.evaluation.label_judge import LabelJudge
from r4t_utils.evaluation.methods import Answer, Search, groundedness, own_top
from r4t_utils.policy.set_reward import SetReward
from r4t_utils.settings import EvaluationSettings, Merging
from r4t_utils.space.merging import RULES


class OarScorer:
    """Every OAR score of a row. `judge` scores results, `space` (the judge's own) and `reward` the sub-queries."""

    def __init__(
        self,
        search: Search,
        judge: AttributeJudge | LabelJudge | EmbeddingJudge,
        space: JudgeSpace,
        reward: SetReward,
        settings: EvaluationSettings,
    ):
        self.search, self.judge, self.space, self.reward, self.alpha = search, judge, space, reward, settings.alpha

    def results(self, queries: pd.DataFrame, answer: Answer) -> Scores:
        """What the judge says of the results alone: alignment, diversity, quality, and its ranking measures; (n,)."""
        scores = self.judge.score(queries, answer.ids, None, self.search.k, self.alpha)
        return scores | {"quality": quality(scores)}

    def without_query(self, queries: pd.DataFrame, answer: Answer) -> Scores:
        """SCORED_TWICE of what the directions find without the query's own list, (n,) each; of the answer itself where
        it has no directions."""
        scores = self.results(queries, without_query(self.search, queries["query"].tolist(), answer))
        return {name + WITHOUT: scores[name] for name in SCORED_TWICE["oar"]}

    def __call__(self, queries: pd.DataFrame, answer: Answer) -> Scores:
        """`results`, and what directions and sub-queries allow, (n,) each: groundedness; subquery_groundedness,
        subquery_relative and average (the paper's); the reward of k sub-queries."""
        scores = self.results(queries, answer)
        if answer.directions is None:
            return scores
        scores["groundedness"] = groundedness(self.search, answer)
        if answer.texts is None:
            return scores
        grounding = self.judge if isinstance(self.judge, AttributeJudge) else self.space
        scores |= grounding.grounding(answer.texts, own_top(self.search, answer))
        scores["average"] = (scores["subquery_groundedness"] + 2 * scores["quality"]) / 3
        if len(answer.texts[0]) == self.search.m:
            scores["reward"] = self.reward.score(queries["query"].tolist(), answer.texts)[0]
        return scores


def without_query(search: Search, queries: list[str], answer: Answer) -> Answer:
    """What the answer's directions find where the query's own list takes no part; the answer itself where it has no
    directions, as that of a re-ranker."""
    if answer.directions is None:
        return answer
    return search.alone().along(queries, answer.directions, answer.texts)


def by_rule(
    search: Search,
    queries: list[str],
    directions: Mapping[str, np.ndarray],
    score: Callable[[Answer], float],
    weights: Sequence[float],
) -> pd.DataFrame:
    """What other rules would make of the same directions, {method: (n, m, d)}: a row for each rule and share of the
    query's own list (0 for top1, where it has no part), with a method's score, times 100, and how many of its results
    differ."""
    rows = []
    for rule in RULES:
        for weight in weights if rule != "top1" else (0.0,):
            other = replace(search, how=Merging(rule=rule, query_weight=weight))  # pyright: ignore[reportArgumentType]
            row: dict[str, str | float] = {"rule": rule, "query_weight": weight}
            for name, given in directions.items():
                answer = other.along(queries, given)
                row[name] = 100 * score(answer)
                row[f"{name}, different"] = np.mean([len(set(ids)) for ids in answer.ids.tolist()])  # pyright: ignore[reportArgumentType]
            rows.append(row)
    return pd.DataFrame(rows)


def mean_of_runs(runs: Sequence[Scores], weights: np.ndarray | None = None) -> Scores:
    """Each score averaged over runs, (n,). weights: (runs, n), of each query's runs, with sum 1; equal if None."""
    each = {name: np.array([scores[name] for scores in runs]) for name in runs[0]}
    return {name: (values.mean(0) if weights is None else (values * weights).sum(0)) for name, values in each.items()}


def best_of_weights(rewards: np.ndarray, n: int) -> np.ndarray:
    """How likely each of S samples is the best of n drawn from them without return: (S, queries), columns of sum 1.

    rewards: (S, queries). The weighted mean of a score over all S samples is the mean of best-of-n over all
    C(S, n) draws, so that best-of-n rests on as many samples as the other rows. The earlier of equals is the better.
    Raises ValueError for n outside 1..S.
    """
    S = len(rewards)
    if not 1 <= n <= S:
        raise ValueError(f"best of n={n} needs n in 1..{S}, the samples per query; draw more or lower n")
    rank = np.argsort(np.argsort(-rewards, axis=0, kind="stable"), axis=0)
    chance = np.array([comb(S - 1 - r, n - 1) for r in range(S)]) / comb(S, n)
    return chance[rank]


def long_table(scores: Mapping[str, Mapping[str, Scores]], groups: Mapping[str, np.ndarray], seed: int) -> pd.DataFrame:
    """{task: {method: scores}} as rows: seed, task, query (row of the test split), group, method, score, value."""
    parts = [
        pd.DataFrame({"query": np.arange(len(values)), "group": groups[task], "value": values}).assign(
            seed=seed, task=task, method=method, score=score
        )
        for task, methods in scores.items()
        for method, row in methods.items()
        for score, values in row.items()
    ]
    columns = ["seed", "task", "query", "group", "method", "score", "value"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)
