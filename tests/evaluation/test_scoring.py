"""Scores over runs: best-of-n against its definition by enumeration, and the long table."""

from itertools import combinations

import numpy as np
import pytest
from searches import QUERIES, search

from r4t_utils.evaluation import methods, rerankers, scoring


@pytest.mark.parametrize("n", range(1, 7))
def test_best_of_n_is_the_mean_over_all_draws(n):
    rng = np.random.default_rng(n)
    rewards, scores = rng.integers(0, 4, (6, 5)).astype(float), rng.random((6, 5))  # with equal rewards
    draws = [list(rows) for rows in combinations(range(6), n)]
    expected = [np.mean([scores[rows, q][rewards[rows, q].argmax()] for rows in draws]) for q in range(scores.shape[1])]
    weights = scoring.best_of_weights(rewards, n)
    found = scoring.mean_of_runs([{"quality": row} for row in scores], weights)["quality"]
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(weights.sum(0), 1)


@pytest.mark.parametrize("n", (0, 7))
def test_more_than_there_are_cannot_be_drawn(n):
    with pytest.raises(ValueError, match=rf"n={n} needs n in 1\.\.6"):
        scoring.best_of_weights(np.zeros((6, 2)), n)


def test_runs_weigh_the_same():
    runs = [{"recall": np.array([0.0, 1.0])}, {"recall": np.array([1.0, 1.0])}]
    np.testing.assert_allclose(scoring.mean_of_runs(runs)["recall"], [0.5, 1])


def test_the_querys_own_list_can_be_left_out_of_an_answer():
    merged, alone = search(5, "fusion", 0.5), search(5, "fusion", 0.0)
    answer = methods.noise(merged, QUERIES, 2.0, 0)
    found = scoring.without_query(merged, QUERIES, answer)
    assert (found.ids == methods.noise(alone, QUERIES, 2.0, 0).ids).all() and (found.ids != answer.ids).any()
    plain = methods.no_fanout(merged, QUERIES)  # has no other list
    assert (scoring.without_query(merged, QUERIES, plain).ids == plain.ids).all()
    reranked = rerankers.reranked(merged, QUERIES, "mmr", 0.3)  # has no lists
    assert scoring.without_query(merged, QUERIES, reranked) is reranked


def test_every_rule_is_tried_on_the_same_directions():
    s = search(5, "fusion", 0.5)
    rows = {"noise": methods.noise(s, QUERIES, 2.0, 0).directions}
    table = scoring.by_rule(s, QUERIES, rows, lambda answer: float(answer.ids[0, 0]), (0.0, 0.5))
    asked = [(rule, weight) for rule in ("fill", "round_robin", "fusion") for weight in (0.0, 0.5)] + [("top1", 0.0)]
    assert list(zip(table["rule"], table["query_weight"])) == asked
    for row in table.to_dict("records"):
        ids = methods.noise(search(5, row["rule"], row["query_weight"]), QUERIES, 2.0, 0).ids
        assert row["noise"] == 100 * ids[0, 0] and row["noise, different"] == np.mean([len(set(r)) for r in ids])


def test_the_long_table_names_every_value():
    scores = {"oar": {"A": {"quality": np.array([0.1, 0.2])}, "B": {"quality": np.array([0.3, 0.4])}}}
    table = scoring.long_table(scores, {"oar": np.array([7, 8])}, 3)
    assert table.columns.tolist() == ["seed", "task", "query", "group", "method", "score", "value"]
    assert table.value.tolist() == [0.1, 0.2, 0.3, 0.4] and table.group.tolist() == [7, 8, 7, 8]
    assert set(table.seed) == {3} and table["query"].tolist() == [0, 1, 0, 1]
