"""The claims as data, and the paper's numbers."""

import math

import numpy as np
import pytest

from r4t_utils.evaluation import claims
from r4t_utils.evaluation.claims import BEST_OF_5, DIFFUSION, FOLM, METHODS, NO_FANOUT, RERANKERS
from r4t_utils.evaluation.variants import VARIANTS


def test_every_claim_is_there_with_its_tests():
    found = {claim.id: claim for claim in claims.CLAIMS}
    assert list(found) == [*(f"C{i}" for i in range(1, 10)), *(f"N{i}" for i in range(1, 5))]
    for name, claim in found.items():
        assert claim.tests and (name in ("C7", "C8")) == bool(claim.untested)
        assert len({test.name for test in claim.tests}) == len(claim.tests)
        assert any(test.decides for test in claim.tests)
        for test in claim.tests:
            known = {*VARIANTS, claims.UNTUNED} if test.task == claims.ABLATED else set(METHODS)
            assert test.task == "latency" or {test.a, test.b} <= known
            assert not test.decides or test.score not in claims.BESIDE or name == "C4"
            assert test.ours == (name in ("C4", "C5") and test.kind == "ratio" or test.threshold == -claims.KEEPS)
    asked = [(test.a, test.b) for test in found["C1"].tests if test.decides]
    assert asked == [(claims.ZERO_SHOT, NO_FANOUT), (FOLM, NO_FANOUT)]
    asked = [(test.a, test.b) for test in found["N2"].tests if test.decides]
    assert asked == [(ours, reranker) for ours in (FOLM, claims.DIFFUSION) for reranker in RERANKERS]


def test_claims_on_answers_have_a_counterpart_without_the_querys_own_list():
    first = {claim.id: claim for claim in claims.CLAIMS}
    assert [claim.id for claim in claims.WITHOUT_QUERY] == ["C1", "C2", "C3", "C4", "C5", "C6", "N1", "N2", "N4"]
    for claim in claims.WITHOUT_QUERY:
        same = [test for test in first[claim.id].tests if test.decides]
        other = [test for test in claim.tests if test.decides]
        assert [(t.a, t.b, t.kind, t.threshold) for t in same] == [(t.a, t.b, t.kind, t.threshold) for t in other]
        changed = {was.score: now.score for was, now in zip(same, other) if was.score != now.score}
        assert changed and all(now == was + claims.WITHOUT for was, now in changed.items())
        assert all(test.label for test in other)


def test_the_papers_numbers_agree_with_one_another():
    def rows(table, data):
        policies = claims.PAPER[table][data]
        assert set().union(*policies.values()) <= set(claims.METHODS) and set(policies.get("none", ())) <= {NO_FANOUT}
        found = [row for methods in policies.values() for row in methods.values()]
        assert {len(row) for row in found} == {len(claims.PAPER[table]["scores"])}
        return found

    for data in ("Polyvore", "Music"):
        assert len(rows("oar", data)) == 11
        for row in rows("oar", data):
            if row[3] is not None:  # its average column is the mean of the other three, rounded
                assert np.mean(row[:3]) == pytest.approx(row[3], abs=0.11)
    assert len(rows("wscr", "Polyvore")) == 7


def test_paper_value_finds_the_comparable_cell():
    assert claims.paper_value("oar", NO_FANOUT, "diversity") == 34.4
    assert claims.paper_value("oar", FOLM, "average") == 49.1
    assert claims.paper_value("oar", FOLM, "quality") == pytest.approx((76.8 + 39.8) / 2)
    assert claims.paper_value("oar", FOLM, "subquery_groundedness") == 30.8
    assert claims.paper_value("wscr", DIFFUSION, "vendi", policy="Qwen3-4B") == 34.7
    absent = (
        ("oar", DIFFUSION, "average"),
        ("oar", FOLM, "groundedness"),
        ("oar", claims.NOISE, "quality"),
        ("wscr", BEST_OF_5, "recall"),
        ("oar", FOLM, "alpha_ndcg"),
    )
    assert all(math.isnan(claims.paper_value(*cell)) for cell in absent)
    with pytest.raises(ValueError, match="R4T-FOLM"):
        claims.paper_value("oar", "folm", "average")


def test_metric_row_is_in_the_papers_units():
    row = claims.metric_row("wscr", FOLM, "recall", np.full(20, 0.25), 200, seed=0)
    assert row == {
        "task": "wscr",
        "method": FOLM,
        "metric": "recall",
        "mean": 25.0,
        "low": 25.0,
        "high": 25.0,
        "n": 20,
        "paper": 16.9,
    }
