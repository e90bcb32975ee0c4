"""Bootstrap intervals over seeds and queries against theory and plain loops; p-values and Holm's correction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r4t_utils.evaluation import intervals


def test_bootstrap_interval_has_the_width_that_theory_gives():
    values = np.random.default_rng(0).normal(3, 2, 400)
    mean, low, high, n = intervals.bootstrap_interval(values, 4000, seed=1)
    assert mean == pytest.approx(values.mean()) and n == 400
    assert (high - low) == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)
    assert intervals.bootstrap_interval(values, 4000, seed=1) == (mean, low, high, n)
    assert intervals.bootstrap_interval(values, 4000, seed=2) != (mean, low, high, n)


def test_bootstrap_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    found = [intervals.bootstrap_interval(rng.normal(size=60), 300, seed=s) for s in range(300)]
    covered = np.mean([i.low <= 0 <= i.high for i in found])
    assert 0.90 <= covered <= 0.98


def test_queries_of_a_group_count_as_one_where_they_say_the_same():
    topics = np.random.default_rng(3).normal(size=50)
    lone = intervals.bootstrap_interval(topics, 4000, seed=1)
    repeated, groups = np.repeat(topics, 8), np.repeat(np.arange(50), 8)
    grouped = intervals.bootstrap_interval(repeated, 4000, 1, groups)
    np.testing.assert_allclose(grouped[:3], lone[:3])
    assert grouped.n == 400
    naive = intervals.bootstrap_interval(repeated, 4000, 1)
    assert naive.high - naive.low < (lone.high - lone.low) / 2
    alone = intervals.ratio(repeated + 9, repeated + 8, 500, 1, np.arange(400)).interval
    assert alone == intervals.ratio(repeated + 9, repeated + 8, 500, 1).interval


def test_groups_of_unlike_sizes_are_resampled_whole():
    rng = np.random.default_rng(4)
    values, groups = rng.normal(size=40), rng.integers(0, 9, 40)
    got = intervals.bootstrap_interval(values, 5000, 2, groups)
    members = [values[groups == g] for g in np.unique(groups)]
    draws = [
        np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))]).mean() for _ in range(5000)
    ]
    np.testing.assert_allclose(got[1:3], np.quantile(draws, [0.025, 0.975]), atol=0.03)


def test_pairing_removes_what_queries_share():
    rng = np.random.default_rng(0)
    b = rng.gamma(4, 1, 200)
    a = b * 1.1
    ratio = intervals.ratio(a, b, 1000, seed=0).interval
    assert ratio.low == pytest.approx(1.1) and ratio.high == pytest.approx(1.1)
    difference = intervals.paired_difference(a, b, 1000, seed=0)
    assert difference.mean == pytest.approx(0.1 * b.mean())
    assert difference == intervals.bootstrap_interval(a - b, 1000, seed=0)
    assert difference.high - difference.low < 0.15 * np.ptp(intervals.bootstrap_interval(b, 1000, 0)[1:3])


def test_a_ratio_against_a_plain_loop():
    rng = np.random.default_rng(8)
    a, b = rng.random(50), rng.random(50) + 0.2
    got = intervals.ratio(a, b, 5000, seed=3).interval
    draws = [rng.integers(0, 50, 50) for _ in range(5000)]
    want = np.quantile([a[i].mean() / b[i].mean() for i in draws], [0.025, 0.975])
    assert got.mean == pytest.approx(a.mean() / b.mean())
    np.testing.assert_allclose(got[1:3], want, rtol=0.02)
    rare = intervals.ratio([1.0, 1.0], [1.0, 0.0], 200, seed=0).interval
    assert rare.high == np.inf and rare.mean == 2


def test_a_ratio_to_nothing_is_infinite_and_of_nothing_to_nothing_is_1():
    never = intervals.ratio([1.0, 2.0], [0.0, 0.0], 200, seed=0).interval
    assert (never.mean, never.low, never.high) == (np.inf, np.inf, np.inf)
    assert intervals.ratio([0.0, 0.0], [0.0, 0.0], 200, seed=0).interval[:3] == (1, 1, 1)
    once = intervals.ratio([0.0, 0.0, 0.0, 3.0], [0.0] * 4, 200, seed=0).interval
    assert (once.mean, once.low, once.high) == (np.inf, 1, np.inf)


def crossed(seeds, groups, of_seed, of_group, rest, rng):
    """Values with known variance components and a true mean of 0, (seeds, groups)."""
    shapes = (seeds, 1), (1, groups), (seeds, groups)
    return sum(sd * rng.normal(size=shape) for sd, shape in zip((of_seed, of_group, rest), shapes))


@pytest.mark.parametrize(
    "seeds, components, low, high",
    [
        (3, (0, 1, 0), 0.9, 0.99),  # queries make the difference
        (3, (0.13, 1, 0), 0.9, 0.99),  # both do
        (3, (0, 0, 1), 0.97, 1),  # the rest is counted twice and more
        (3, (1, 1, 0), 0.72, 0.87),  # seeds alone, and three are few
        (10, (1, 1, 0), 0.86, 0.96),
        (1, (1, 1, 0), 0.05, 0.3),  # one seed says nothing of others
    ],
)
def test_coverage_with_known_variance_components(seeds, components, low, high):
    rng = np.random.default_rng(0)
    found = [intervals.bootstrap_interval(crossed(seeds, 60, *components, rng), 400, i) for i in range(300)]
    assert low <= np.mean([i.low <= 0 <= i.high for i in found]) <= high


def test_the_variance_over_seeds_is_unbiased():
    values = crossed(4, 50, 1, 0, 0, np.random.default_rng(1))
    draws = intervals.mean(values, 20_000, 0).draws
    assert draws.var() == pytest.approx(values.mean(1).var(ddof=1) / 4, rel=0.05)


def test_seeds_share_the_queries_that_are_drawn():
    """Three seeds that say the same narrow nothing: nested resampling would divide the width by the root of three."""
    values = np.random.default_rng(2).normal(size=60)
    one, three = (intervals.bootstrap_interval(np.tile(values, (s, 1)), 4000, 0) for s in (1, 3))
    np.testing.assert_allclose(three, one)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_seeds_in_another_order_or_queries_in_another_order(seed, n_seeds):
    rng = np.random.default_rng(seed)
    values, groups = rng.normal(size=(n_seeds, 30)), rng.integers(0, 10, 30)
    found, order = intervals.mean(values, 200, 5, groups), rng.permutation(30)
    np.testing.assert_allclose(intervals.mean(values[:, order], 200, 5, groups[order]).draws, found.draws)
    assert found.value == pytest.approx(values.mean()) and found.seeds == n_seeds
    ends = values.mean(1).min() - 3, values.mean(1).max() + 3
    assert ends[0] < found.interval.low <= found.interval.high < ends[1]


def test_one_seed_is_the_bootstrap_over_groups():
    rng = np.random.default_rng(3)
    a, b, groups = rng.random(40), rng.random(40) + 0.5, rng.integers(0, 12, 40)
    for statistic in (intervals.difference, intervals.ratio):
        assert statistic(a, b, 500, 1, groups).interval == statistic(a[None], b[None], 500, 1, groups).interval


def test_p_values_agree_with_the_interval_and_are_never_0():
    found = intervals.mean(np.random.default_rng(4).normal(0.3, 1, 100), 2000, 0)
    low, high = found.interval[1:3]
    assert 2 * found.p_above(low) == pytest.approx(0.05, abs=0.004)
    assert 2 * found.p_below(high) == pytest.approx(0.05, abs=0.004)
    assert found.p_above(-9) == 1 / 2001 and found.p_below(-9) == 1


def test_holm_against_the_worked_definition():
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.9, 0.8]) == [1, 1] and intervals.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_lies_between_the_plain_value_and_bonferroni_and_keeps_the_order(p):
    corrected = intervals.holm(p)
    for plain, found in zip(p, corrected):
        assert plain <= found <= min(1, len(p) * plain)
    assert np.all(np.diff(np.array(corrected)[np.argsort(p, kind="stable")]) >= 0)


def test_holm_keeps_false_claims_below_the_level():
    p = np.random.default_rng(6).random((4000, 8))
    assert np.mean([min(intervals.holm(row)) <= 0.05 for row in p]) == pytest.approx(0.05, abs=0.012)


def test_ratio_of_medians_pairs_the_rounds():
    b = np.random.default_rng(7).gamma(3, 1, 9) + 1
    exact = intervals.ratio_of_medians([3 * b], [b], 500, 0)
    assert exact.interval[:3] == pytest.approx((3, 3, 3)) and (exact.n, exact.seeds) == (9, 1)
    two = intervals.ratio_of_medians([3 * b, 5 * b], [b, b], 500, 0)
    assert two.value == pytest.approx(4) and two.interval[1:3] == pytest.approx((3, 5)) and two.n == 18


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: intervals.bootstrap_interval([1.0], 1000, 0), "2 queries"),
        (lambda: intervals.bootstrap_interval([1.0, np.nan], 1000, 0), "not finite"),
        (lambda: intervals.bootstrap_interval([1.0, 2.0], 10, 0), "n_boot=10"),
        (lambda: intervals.bootstrap_interval([1.0, 2.0], 1000, 0, [7, 7]), "1 values"),
        (lambda: intervals.bootstrap_interval([1.0, 2.0], 1000, 0, [7, 8, 9]), r"\(3,\)"),
        (lambda: intervals.paired_difference([1.0, 2.0], [1.0, 2.0, 3.0], 1000, 0), r"\(3,\)"),
        (lambda: intervals.ratio([1.0, -2.0], [1.0, 1.0], 1000, 0), "0 or more, and -2"),
        (lambda: intervals.mean(np.zeros((3, 1)), 1000, 0), "2 queries"),
        (lambda: intervals.holm([0.5, 2.0]), "0..1"),
        (lambda: intervals.ratio_of_medians([[1.0, 0.0]], [[1.0, 1.0]], 500, 0), "above 0"),
        (lambda: intervals.ratio_of_medians([[1.0]], [[1.0]], 500, 0), "2 queries"),
    ],
)
def test_bad_input_names_the_value_and_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()
