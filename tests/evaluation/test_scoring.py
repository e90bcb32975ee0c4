"""Scores over runs: best-of-n against its definition by enumeration, and the long table."""

from itertools import combinations

import numpy as np
import pytest

from r4t_utils.evaluation import scoring


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


def test_the_long_table_names_every_value():
    scores = {"oar": {"A": {"quality": np.array([0.1, 0.2])}, "B": {"quality": np.array([0.3, 0.4])}}}
    table = scoring.long_table(scores, {"oar": np.array([7, 8])}, 3)
    assert table.columns.tolist() == ["seed", "task", "query", "group", "method", "score", "value"]
    assert table.value.tolist() == [0.1, 0.2, 0.3, 0.4] and table.group.tolist() == [7, 8, 7, 8]
    assert set(table.seed) == {3} and table["query"].tolist() == [0, 1, 0, 1]
