"""Verdicts, the claims table, and the paper's numbers held as data."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from r4t_utils.evaluation import claims
from r4t_utils.evaluation.claims import BEST_OF_5, DIFFUSION, FOLM, METHODS, NO_FANOUT, ZERO_SHOT

RECORDED = Path(__file__).parents[2] / "results" / "cpu" / "sample"  # the default run
reals = st.floats(-10, 10)


@given(reals, reals, reals)
def test_verdict_needs_the_whole_interval_on_one_side(x, y, threshold):
    low, high = min(x, y), max(x, y)
    assume(threshold not in (low, high))
    inside = low < threshold < high
    assert (claims.verdict(low, high, threshold) == "undecided") == inside
    if not inside:
        mirrored = claims.verdict(-high, -low, -threshold)
        assert {claims.verdict(low, high, threshold), mirrored} == {"holds", "does not hold"}
    assert claims.verdict(threshold, threshold, threshold) == "undecided"


def scores(n=200, seed=0, **means):
    """Per-query scores around a mean for every row of the tables; `means` is task_score=5 means."""
    rng = np.random.default_rng(seed)
    base = {
        "oar_groundedness": [0.5, 0.5, 0.5, 0.5, 0.5],
        "oar_diversity": [0.2, 0.3, 0.4, 0.6, 0.58],
        "oar_alignment": [0.4, 0.4, 0.4, 0.4, 0.38],
        "oar_average": [0.37, 0.4, 0.43, 0.5, 0.49],
        "wscr_recall": [0.1, 0.1, 0.1, 0.3, 0.2],
        "wscr_hit": [0.2, 0.3, 0.3, 0.5, 0.4],
        "wscr_vendi": [0.3, 0.3, 0.3, 0.3, 0.4],
    }
    out = {"oar": {m: {} for m in METHODS}, "wscr": {m: {} for m in METHODS}}
    for key, values in {**base, **means}.items():
        task, score = key.split("_")
        for method, mean in zip(METHODS, values):
            out[task][method][score] = mean + rng.uniform(-0.05, 0.05, n)
    return out


def verdicts(**means):
    return {r["id"]: r["verdict"] for r in claims.table(claims.measure(scores(**means), 400, seed=0))}


def test_each_claim_follows_its_own_scores():
    assert verdicts() == {f"C{i}": "holds" for i in range(1, 7)}
    assert verdicts(oar_average=[0.5, 0.4, 0.43, 0.5, 0.49])["C1"] == "does not hold"
    assert verdicts(oar_average=[0.37, 0.4, 0.4, 0.5, 0.49])["C2"] == "undecided"
    assert verdicts(oar_average=[0.37, 0.4, 0.6, 0.5, 0.49])["C3"] == "does not hold"
    assert verdicts(oar_alignment=[0.4, 0.4, 0.4, 0.4, 0.2])["C4"] == "does not hold"  # diversity kept
    assert verdicts(oar_alignment=[0.4, 0.4, 0.4, 0.4, 0.36])["C4"] == "undecided"
    assert verdicts(wscr_recall=[0.1, 0.1, 0.1, 0.15, 0.12])["C5"] == "does not hold"  # a rise, but no doubling
    assert verdicts(wscr_recall=[0.1, 0.1, 0.1, 0.3, 0.4])["C6"] == "does not hold"
    assert verdicts(wscr_vendi=[0.3, 0.3, 0.3, 0.4, 0.3])["C6"] == "does not hold"


def test_verdicts_that_other_machines_are_held_to_are_clear_in_the_recorded_run():
    rows = {row["id"]: row for row in json.loads((RECORDED / "claims.json").read_text())}
    assert claims.REPRODUCED
    for name in claims.REPRODUCED:
        deciding = [part for part in rows[name]["parts"] if part["decides"]]
        clear = [
            min(abs(part[end] - part["threshold"]) for end in ("low", "high")) > (part["high"] - part["low"]) / 2
            for part in deciding
            if part["verdict"] == rows[name]["verdict"]
        ]
        # One clear failure settles a claim; to hold, all of its tests must be clear.
        assert any(clear) if rows[name]["verdict"] == "does not hold" else len(clear) == len(deciding) and all(clear)


def test_rows_show_the_paper_beside_ours():
    rows = {r["id"]: r for r in claims.table(claims.measure(scores(), 400, seed=0))}
    assert rows["C3"]["paper"] == "average +8.2 and +12.2"
    assert rows["C4"]["paper"] == "diversity 0.97x and 1.04x; alignment 0.94x and 0.98x"
    assert rows["C5"]["paper"] == "recall 2.82x and 2.07x"
    assert rows["C6"]["paper"] == "recall given up +1.9 and +4.4; Vendi gained +5.7 and +7.2"
    assert rows["C6"]["ours"].startswith("recall given up +")
    assert rows["C1"]["ours"].startswith("average +3.")
    parts = {p["test"]: p for p in rows["C1"]["parts"]}
    assert [p["decides"] for p in parts.values()] == [True, False, False, False]
    assert parts[f"diversity, {ZERO_SHOT} - {NO_FANOUT}"]["verdict"] == "holds"
    assert parts[f"groundedness, {ZERO_SHOT} - {NO_FANOUT}"]["verdict"] == "undecided"


@pytest.mark.parametrize("folm, want", [(13.0, "holds"), (12.2, "undecided"), (10.0, "does not hold")])
def test_latency_claim_uses_the_widest_ratio_of_quartiles(folm, want):
    frame = pd.DataFrame(
        [
            {"path": path, "part": part, "batch": b, "n": 7, "median": m, "q25": 0.98 * m, "q75": 1.02 * m}
            for part, slower in (("fan-out", 1), ("from text", 2), ("with search", 3))
            for path, m in ((FOLM, folm), (DIFFUSION, slower))
            for b in (1, 64)
        ]
    )
    got = claims.latency_ratio(frame, 64)
    (ratio, low, high, n), *others = got.values()
    assert [other.mean for other in others] == pytest.approx([folm / 2, folm / 3])  # reported, and decide nothing
    assert ratio == pytest.approx(folm) and n == 7
    assert (low, high) == pytest.approx((folm * 0.98 / 1.02, folm * 1.02 / 0.98))
    (row,) = claims.table({"C9": got})
    assert row["verdict"] == want and row["paper"] == "12-20x"
    assert row["ours"].startswith(f"fan-out {folm:.2f}x [")  # and the spans that decide nothing
    assert f"; from text {folm / 2:.2f}x [" in row["ours"] and f"; with search {folm / 3:.2f}x [" in row["ours"]
    with pytest.raises(ValueError, match="batch 32"):
        claims.latency_ratio(frame, 32)


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
    assert claims.paper_value("wscr", DIFFUSION, "vendi", policy="Qwen3-4B") == 34.7
    absent = ("oar", DIFFUSION, "groundedness"), ("wscr", BEST_OF_5, "recall"), ("oar", FOLM, "alpha_ndcg")
    assert all(math.isnan(claims.paper_value(*cell)) for cell in absent)
    with pytest.raises(ValueError, match="R4T-FOLM"):
        claims.paper_value("oar", "folm", "average")


def test_near_duplicate_queries_are_resampled_together():
    once = scores(n=40)
    eight_times = {
        task: {m: {key: np.repeat(v, 8) for key, v in s.items()} for m, s in methods.items()}
        for task, methods in once.items()
    }
    groups = {task: np.repeat(np.arange(40), 8) for task in once}
    want, got = claims.measure(once, 400, 0), claims.measure(eight_times, 400, 0, groups)
    for claim, tests in want.items():
        for name, interval in tests.items():
            np.testing.assert_allclose(got[claim][name][:3], interval[:3])


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


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: claims.verdict(float("nan"), 1.0), "NaN"),
        (lambda: claims.verdict(2.0, 1.0), "low"),
        (lambda: claims.table({"C8": {}}), "C8"),
        (lambda: claims.table({"C6": {"recall, R4T-FOLM - R4T-Diffusion": (0, 0, 0, 9)}}), "vendi"),
        (lambda: claims.measure({"oar": {}}, 400, 0), "oar/Zero-shot/average"),
    ],
)
def test_bad_input_names_the_value_and_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()
