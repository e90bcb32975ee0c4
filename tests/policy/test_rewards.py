"""Eq. 1-5 against vendi-score and direct loops, and the rule for fan-outs with missing sub-queries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vendi_score import vendi as vendi_oracle

from r4t_utils.policy import rewards


def unit(rng, *shape):
    X = rng.normal(size=shape)
    return X / np.linalg.norm(X, axis=-1, keepdims=True)


def fanouts(seed, n=6, k=10, d=16):
    """Arguments of `composite`; rows share a direction, as real embeddings do."""
    rng = np.random.default_rng(seed)
    C, Q = (unit(rng, n, k, d) + 1.5 * unit(rng, n, 1, d) for _ in "CQ")
    C, Q = (X / np.linalg.norm(X, axis=-1, keepdims=True) for X in (C, Q))
    return np.linalg.norm(Q - C, axis=-1), C, Q, unit(rng, n, d)


seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("k, d", [(2, 16), (10, 16), (10, 4), (1, 3)])
def test_vendi_equals_the_vendi_score_package(k, d):
    E = unit(np.random.default_rng(k * d), 5, 3, k, d)
    want = [[vendi_oracle.score_dual(e, normalize=False) for e in row] for row in E]
    np.testing.assert_allclose(rewards.vendi(E), want, rtol=1e-6)


def test_vendi_counts_distinct_directions():
    E = np.eye(8)[[0, 0, 1, 1, 2, 2, 3, 3]]
    assert rewards.vendi(E) == pytest.approx(4)
    assert rewards.vendi(np.eye(8)) == pytest.approx(8)
    assert rewards.vendi(np.eye(8)[[5] * 8]) == pytest.approx(1)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_terms_do_not_depend_on_order_and_stay_in_range(seed):
    distance, C, Q, z_q = fanouts(seed)
    r = rewards.composite(distance, C, Q, z_q)
    order = np.random.default_rng(seed).permutation(10)
    again = rewards.composite(distance[:, order], C[:, order], Q[:, order], z_q)
    for a, b in zip(r, again):
        np.testing.assert_allclose(a, b, atol=1e-9)
    assert (abs(r.ground) <= 1).all() and (abs(r.align) <= 1).all()
    assert (r.div >= 1).all() and (r.div <= 10).all()


def test_ground_and_align_by_hand():
    assert rewards.ground(np.array([[0.2, 0.6], [0.0, 0.0]])) == pytest.approx([0.6, 1.0])
    Q = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert rewards.align(Q, np.array([1.0, 0.0])) == pytest.approx(0.0)
    assert rewards.align(Q[:2], np.array([0.6, 0.8])) == pytest.approx(0.7)


def test_a_repeat_fills_a_slot_and_adds_nothing():
    repeated = np.array([False, True, False])
    assert rewards.ground(np.array([0.2, 0.2, 0.6]), repeated=repeated) == pytest.approx((0.8 + 0.4) / 3)
    Q, z_q = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0.6, 0.8])
    assert rewards.align(Q, z_q, repeated=repeated) == pytest.approx((0.6 + 0.8) / 3)
    # ... and takes nothing away, so that repeating what is far off topic does not pay either.
    assert rewards.ground(np.array([1.5, 1.5, 0.6]), repeated=repeated) == pytest.approx((-0.5 - 0.5 + 0.4) / 3)
    assert rewards.align(Q, -z_q, repeated=repeated) == pytest.approx(-(0.6 + 0.6 + 0.8) / 3)


@given(seeds, st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_leaving_sub_queries_out_never_pays(seed, kept):
    """Against the same sub-queries with arbitrary ones in the empty slots: opposite, repeated, anything."""
    distance, C, Q, z_q = fanouts(seed)
    rng = np.random.default_rng(seed)
    fill = rng.integers(3)
    if fill == 0:  # repeats of the first
        C[:, kept:], Q[:, kept:], distance[:, kept:] = C[:, :1], Q[:, :1], distance[:, :1]
    elif fill == 1:  # nonsense, opposite to the query
        Q[:, kept:], distance[:, kept:] = -z_q[:, None], 2.0
    full = rewards.composite(distance, C, Q, z_q)
    present = np.zeros(distance.shape, bool)
    present[:, :kept] = True
    for X in (distance, C, Q):
        X[:, kept:] = np.nan  # what an empty slot holds must not matter
    short = rewards.composite(distance, C, Q, z_q, present=present)
    for a, b in zip(short, full):
        assert (a <= b + 1e-9).all()


def test_a_malformed_fanout_has_the_lowest_reward():
    distance, C, Q, z_q = fanouts(0)
    r = rewards.composite(distance, C, Q, z_q, present=np.zeros(distance.shape, bool))
    np.testing.assert_array_equal([r.ground[0], r.div[0], r.align[0]], [-1, 1, -1])
    np.testing.assert_allclose(r.total, -0.6)


def test_each_setting_of_diversity():
    args = fanouts(1, n=40)
    raw = rewards.composite(*args)
    np.testing.assert_allclose(raw.total, 0.6 * raw.ground + 0.2 * raw.div + 0.2 * raw.align)
    over_k = rewards.composite(*args, diversity="vendi_over_k")
    np.testing.assert_allclose(over_k.total, 0.6 * raw.ground + 0.02 * raw.div + 0.2 * raw.align)
    np.testing.assert_array_equal(over_k.div, raw.div)  # logged terms keep their own units
    ground_only = rewards.composite(*args, lambda_g=2, lambda_d=0, lambda_a=0)
    np.testing.assert_allclose(ground_only.total, 2 * raw.ground)


def test_alignment_of_texts_or_of_what_they_find():
    distance, C, Q, z_q = fanouts(2)
    text, found = (rewards.composite(distance, C, Q, z_q, alignment=of) for of in ("text", "found"))
    np.testing.assert_allclose(text.align, rewards.align(Q, z_q))
    np.testing.assert_allclose(found.align, rewards.align(C, z_q))
    np.testing.assert_allclose(found.total - text.total, 0.2 * (found.align - text.align))


@given(seeds, st.floats(0.01, 100), st.floats(-5, 5))
@settings(max_examples=50, deadline=None)
def test_standardised_terms_forget_their_scale(seed, scale, shift):
    rng = np.random.default_rng(seed)
    x, y, counted = rng.normal(size=12), rng.normal(size=12), rng.random(12) < 0.8
    counted[[0, 1, 4, 5, 8, 9]] = True
    total = rewards.standardised([x, y], (0.6, 0.4), 4, counted)
    np.testing.assert_allclose(total, rewards.standardised([scale * x + shift, y], (0.6, 0.4), 4, counted), atol=1e-6)
    for group in range(3):
        rows = np.arange(4 * group, 4 * group + 4)[counted[4 * group : 4 * group + 4]]
        want = sum(w * (t[rows] - t[rows].mean()) / t[rows].std() for t, w in ((x, 0.6), (y, 0.4)))
        np.testing.assert_allclose(total[rows], want, atol=1e-6)
    assert (total[~counted] == 0).all()


def test_a_term_that_does_not_vary_in_a_group_adds_nothing():
    x, flat = np.array([1.0, 2.0, 3.0, 3.0]), np.array([5.0, 5.0, 1.0, 2.0])
    total = rewards.standardised([x, flat], (1.0, 1.0), 2, np.ones(4, bool))
    np.testing.assert_allclose(total, [-1, 1, -1, 1])
    none = rewards.standardised([x, flat], (1.0, 1.0), 2, np.zeros(4, bool))
    np.testing.assert_array_equal(none, 0)


def test_coverage_equals_set_arithmetic():
    rng = np.random.default_rng(3)
    Y = [rng.choice(60, size, replace=False) for size in (1, 4, 7, 10)]
    retrieved = rng.integers(-1, 60, (4, 10, 5))
    want = [len(set(y) & set(r.ravel())) / len(y) for y, r in zip(Y, retrieved)]
    np.testing.assert_allclose(rewards.coverage(Y, retrieved), want)
    assert 0 < np.mean(want) < 1
    np.testing.assert_array_equal(rewards.coverage([[3, 5]] * 2, [[-1, -1], [5, 5]]), [0, 0.5])


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: rewards.vendi(np.ones((3, 4))), "norm 2"),
        (lambda: rewards.vendi(np.full((3, 4), np.nan)), "norm"),
        (lambda: rewards.vendi(np.ones(4)), r"\(\.\.\., k, d\)"),
        (lambda: rewards.vendi(np.eye(3), np.ones(3)), "bool"),
        (lambda: rewards.ground([0.5, 2.5]), "2.5"),
        (lambda: rewards.ground([0.5, 0.5], repeated=[0, 1]), "repeated is int"),
        (lambda: rewards.ground([0.5, -0.1]), "-0.1"),
        (lambda: rewards.align(np.eye(3), 2 * np.eye(3)[0]), "z_q"),
        (lambda: rewards.composite(*fanouts(0), diversity="vendi/k"), "vendi_over_k"),
        (lambda: rewards.composite(*fanouts(0), alignment="query"), "'query': must be text or found"),
        (lambda: rewards.composite(*fanouts(0), lambda_d=-0.1), "-0.1.*0 or more"),
        (lambda: rewards.composite(*fanouts(0), lambda_g=np.inf), "inf.*0 or more"),
        (lambda: rewards.composite(*fanouts(0), lambda_a=np.nan), "nan.*0 or more"),
        (
            lambda: rewards.composite(*fanouts(0), lambda_g=0, lambda_d=0, lambda_a=0),
            r"\(0, 0, 0\).*one of them above 0",
        ),
        (lambda: rewards.coverage([[]], [[1]]), "at least one"),
        (lambda: rewards.coverage([[1], [2]], [[1]]), "one for each"),
    ],
)
def test_bad_input_names_the_value_and_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()
