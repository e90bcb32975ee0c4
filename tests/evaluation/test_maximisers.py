"""The search for the best set: against brute force, against the reward itself, and what an exchange may never do."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as checked
from hypothesis import strategies as st

from r4t_utils.evaluation import maximisers
from r4t_utils.evaluation.maximisers import (
    Choice,
    Pool,
    contents,
    equation_1,
    exact,
    exact_around,
    maximise,
    rewards_of,
)
from r4t_utils.policy.rewards import composite
from r4t_utils.run import profiles
from r4t_utils.space.encoder import unit

K = 3


def settings(diversity="vendi_over_k"):
    return profiles.load("smoke", f"rl.lambda_g=0.3 rl.lambda_d=0.4 rl.lambda_a=0.3 rl.diversity={diversity}").rl


def pool(seed, n=12, d=5):
    rng = np.random.default_rng(seed)
    found = unit(rng.normal(size=(n, d))).astype(np.float32)
    return Pool(found, rng.uniform(-1, 1, n), rng.uniform(-1, 1, n))


@pytest.mark.parametrize("diversity", ["vendi", "vendi_over_k"])
def test_a_set_is_worth_what_the_reward_says(diversity):
    p, s = pool(0), settings(diversity)
    sets = np.array(list(combinations(range(12), K)))
    z_q = unit(np.random.default_rng(1).normal(size=5))
    p = p._replace(align=p.found @ z_q)
    weights = {"lambda_g": s.lambda_g, "lambda_d": s.lambda_d, "lambda_a": s.lambda_a, "diversity": diversity}
    C, z = p.found[sets], np.tile(z_q, (len(sets), 1))
    want = composite(1 - p.ground[sets], C, C, z, **weights).total
    np.testing.assert_allclose(rewards_of(p, sets, equation_1(s)), want, atol=1e-6)


def test_contents_stand_at_distance_0_and_fit_by_their_cosine():
    vectors, z_q = pool(2).found, unit(np.ones(5))
    p = contents(vectors, z_q)
    assert (p.ground == 1).all()
    np.testing.assert_allclose(p.align, vectors @ z_q, atol=1e-6)


@checked(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), diversity=st.sampled_from(["vendi", "vendi_over_k"]))
def test_no_single_exchange_improves_the_set_found(seed, diversity):
    p, terms = pool(seed), equation_1(settings(diversity))
    found = maximise(p, K, terms, screened=12)
    assert len(set(found.chosen)) == K
    assert found.total == pytest.approx(float(rewards_of(p, np.array([found.chosen]), terms)[0]))
    for slot in range(K):
        rest = found.chosen[:slot] + found.chosen[slot + 1 :]
        others = [[*rest, c] for c in range(12) if c not in found.chosen]
        assert rewards_of(p, np.array(others), terms).max() <= found.total + 1e-9


def test_exact_is_brute_force_and_exchanges_come_near_it():
    terms, gaps = equation_1(settings()), []
    for seed in range(40):
        p = pool(seed)
        sets = np.array(list(combinations(range(12), K)))
        best = exact(p, K, terms)
        assert best.total == pytest.approx(rewards_of(p, sets, terms).max())
        gaps.append(best.total - maximise(p, K, terms, screened=12).total)
    assert min(gaps) >= -1e-9 and np.mean(np.array(gaps) < 1e-9) > 0.6 and max(gaps) < 0.1


def test_exact_around_the_whole_pool_is_exact_and_never_worse():
    terms = equation_1(settings())
    for seed in range(10):
        p = pool(seed)
        worst = Choice([0, 1, 2], float(rewards_of(p, np.array([[0, 1, 2]]), terms)[0]))
        assert exact_around(p, worst, terms, 9).total == pytest.approx(exact(p, K, terms).total)
        assert exact_around(p, worst, terms, 2).total >= worst.total


def test_the_best_set_is_chosen_where_it_is_plain_to_see():
    """Three orthogonal contents that fit the query, among copies of one of them."""
    found = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 2, 3]]
    p = Pool(found, np.ones(6), np.array([0.5, 0.5, 0.5, 0.5, 0.5, -1.0]))
    chosen = maximise(p, K, equation_1(settings())).chosen
    assert {int(found[c].argmax()) for c in chosen} == {0, 1, 2}


def test_screening_keeps_the_set_that_the_full_search_finds_or_nearly():
    terms = equation_1(settings())
    for seed in range(10):
        p = pool(seed, 200, 12)
        full, screened = (maximise(p, 5, terms, screened=n).total for n in (200, 24))
        assert screened >= full - 0.02


def test_too_few_candidates_and_too_many_sets_are_refused(monkeypatch):
    terms = equation_1(settings())
    with pytest.raises(ValueError, match="12 candidates make no set of k=13"):
        maximise(pool(0), 13, terms)
    monkeypatch.setattr(maximisers, "MOST_SETS", 219)
    with pytest.raises(ValueError, match="12 candidates make 220 sets of k=3"):
        exact(pool(0), K, terms)
    with pytest.raises(ValueError, match="make 0 sets"):
        exact(pool(0), 13, terms)
