"""Verdicts from long tables of scores, over seeds and after Holm's correction."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from r4t_utils.evaluation import claims, verdicts
from r4t_utils.evaluation.claims import (
    BEST_OF_5,
    BEST_OF_5_FOLM,
    DIFFUSION,
    FOLM,
    MAXIMISER,
    MMR,
    NO_FANOUT,
    NOISE,
    PAPER,
    QUERY_ZERO_SHOT,
    RERANKERS,
    ZERO_SHOT,
)

reals = st.floats(-10, 10)
BASE = {  # means under which every claim holds
    "oar": dict.fromkeys((NO_FANOUT, NOISE, *RERANKERS), 0.3)
    | {ZERO_SHOT: 0.4, BEST_OF_5: 0.5, FOLM: 0.7, BEST_OF_5_FOLM: 0.75, DIFFUSION: 0.69, MAXIMISER: 0.8},
    "recall": {NO_FANOUT: 0.1, ZERO_SHOT: 0.1, FOLM: 0.3, DIFFUSION: 0.2, QUERY_ZERO_SHOT: 0.1},
    "vendi": {FOLM: 0.3, DIFFUSION: 0.4},
}
OAR = ("quality", "diversity", "alignment")


def scores(seeds=3, n=40, spread=0.05, repeat=1, **changes) -> pd.DataFrame:
    """scores.parquet of several seeds; `changes`: recall, vendi, or a score of OAR, as {method: mean}."""
    rng, frames = np.random.default_rng(0), []
    means = {("oar", score): {**BASE["oar"], **changes.get(score, {})} for score in OAR}
    means |= {("wscr", score): {**BASE[score], **changes.get(score, {})} for score in ("recall", "vendi")}
    for seed in range(seeds):
        for (task, score), of in means.items():
            for method, mean in of.items():
                value = np.repeat(np.maximum(mean + rng.uniform(-spread, spread, n), 0), repeat)
                facts = {"query": np.arange(n * repeat), "group": np.repeat(np.arange(n), repeat), "value": value}
                frames.append(pd.DataFrame({"seed": seed, "task": task, "method": method, "score": score, **facts}))
    return pd.concat(frames, ignore_index=True)


def rows(frame, n_boot=1000):
    return {row["id"]: row for row in verdicts.table(verdicts.measure(frame, n_boot, 0))}


def alone(**changes):
    return {name: row["alone"] for name, row in rows(scores(**changes)).items()}


@given(reals, reals, reals)
def test_verdict_needs_the_whole_interval_on_one_side(x, y, threshold):
    low, high = min(x, y), max(x, y)
    assume(threshold not in (low, high))
    inside = low < threshold < high
    assert (verdicts.verdict(low, high, threshold) == "undecided") == inside
    if not inside:
        mirrored = verdicts.verdict(-high, -low, -threshold)
        assert {verdicts.verdict(low, high, threshold), mirrored} == {"holds", "does not hold"}
    assert verdicts.verdict(threshold, threshold, threshold) == "undecided"


def test_each_claim_follows_its_own_scores():
    base = alone()
    assert base.pop("C7") == base.pop("C8") == verdicts.UNTESTED
    assert set(base) == {"C1", "C2", "C3", "C4", "C5", "C6", "N1", "N2", "N3", "N4"} and set(base.values()) == {"holds"}
    no = "does not hold"
    assert alone(quality={ZERO_SHOT: 0.2})["C1"] == no  # asked of both
    assert alone(quality={FOLM: 0.2})["C1"] == no
    assert alone(quality={BEST_OF_5: 0.4})["C2"] == "undecided"
    assert alone(quality={BEST_OF_5: 0.75})["C3"] == no
    assert alone(quality={BEST_OF_5_FOLM: 0.2})["C3"] == "holds"  # stands beside
    assert alone(alignment={DIFFUSION: 0.4})["C4"] == no  # diversity kept
    assert alone(recall={FOLM: 0.15, DIFFUSION: 0.1})["C5"] == no  # a rise, but no doubling
    assert alone(recall={QUERY_ZERO_SHOT: 0.9})["C5"] == "holds"
    assert alone(recall={DIFFUSION: 0.4})["C6"] == alone(vendi={DIFFUSION: 0.2})["C6"] == no
    assert alone(quality={DIFFUSION: 0.2})["N1"] == no and alone(quality={NOISE: 0.8})["N1"] == no
    assert alone(quality={MMR: 0.75})["N2"] == no
    assert alone(quality={MAXIMISER: 0.3})["N3"] == "undecided"
    assert alone(quality={ZERO_SHOT: 0.8})["N4"] == no


def test_claims_are_judged_again_without_the_querys_own_list():
    merged = scores(quality={FOLM: 0.3})
    twice = merged[[score in claims.SCORED_TWICE[task] for task, score in zip(merged.task, merged.score)]]
    alone = twice.assign(score=twice.score + claims.WITHOUT)
    alone.loc[(alone.method == FOLM) & (alone.task == "oar"), "value"] += 0.4
    found = {row["id"]: row for row in verdicts.judged(pd.concat([merged, alone]), 500, 0)}
    assert found["C1"]["verdict"] != "holds" and found["C1"]["without_query"]["verdict"] == "holds"
    assert found["C1"]["without_query"]["ours"].startswith(f"{ZERO_SHOT} - {NO_FANOUT} +")
    assert found["C1"]["without_query"]["paper"] == found["C1"]["paper"]
    assert found["C6"]["without_query"]["verdict"] == "holds"  # its Vendi is of directions, which are the same
    assert [name for name, row in found.items() if not row["without_query"]] == ["C7", "C8", "N3"]
    with pytest.raises(ValueError, match="quality_without_query"):
        verdicts.judged(merged, 500, 0)


def ablated(**ends):
    """What policies score at the end of training, by the measure; as all claims on them want it, but for `ends`."""
    means = {
        "contents": {claims.UNTUNED: 0.6, claims.GROUNDED: 0.4, claims.GROUNDED_ALIGNED: 0.3, claims.ALL_THREE: 0.58},
        "ground": {claims.ALL_THREE: 0.3, claims.WIDE: 0.2},
        "div": {claims.ALL_THREE: 0.3, claims.WIDE: 0.4},
    }
    rng, parts = np.random.default_rng(0), []
    for score, of in means.items():
        for method, mean in (of | ends.get(score, {})).items():
            for seed in range(3):
                facts = {"seed": seed, "task": claims.ABLATED, "method": method, "score": score}
                value = mean + rng.uniform(-0.05, 0.05, 40)
                parts.append(pd.DataFrame({"query": range(40), "group": range(40), "value": value}).assign(**facts))
    found = verdicts.measure(pd.concat(parts), 500, 0, (claims.ABLATED,))
    return {row["id"]: row["verdict"] for row in verdicts.table(found, untested=False)}


def test_claims_on_rewards_follow_the_policies_that_they_tuned():
    assert ablated() == {"C7": "holds", "C8": "holds"}
    assert ablated(contents={claims.GROUNDED: 0.7})["C7"] == "does not hold"  # not hacked
    assert ablated(contents={claims.GROUNDED_ALIGNED: 0.6})["C7"] == "undecided"
    assert ablated(contents={claims.ALL_THREE: 0.4})["C7"] == "does not hold"  # all three collapse as well
    assert ablated(div={claims.WIDE: 0.2})["C8"] == "does not hold"
    assert ablated(ground={claims.WIDE: 0.3})["C8"] == "undecided"


def test_fewer_than_three_seeds_leave_a_claim_undecided_and_say_so():
    for seeds in (1, 2, 3):
        row = rows(scores(seeds))["C2"]
        assert (row["alone"], row["seeds"]) == ("holds", seeds)
        assert row["verdict"] == ("holds" if seeds == 3 else "undecided")


def test_a_seed_that_disagrees_leaves_a_claim_undecided():
    frame = scores()
    other = (frame.seed == 2) & (frame.method == BEST_OF_5)
    frame.loc[other, "value"] = frame.value[other] - 0.2
    assert rows(frame)["C2"]["alone"] == "undecided"
    assert rows(frame[frame.seed < 2])["C2"]["alone"] == "holds"


def test_holm_over_the_claims_can_undo_what_one_interval_says():
    frame = scores(1, spread=0.3, n=90, quality={BEST_OF_5: 0.48, ZERO_SHOT: 0.4})
    row = rows(frame, 4000)["C2"]
    assert row["parts"][0]["verdict"] == "holds" and row["alone"] == "undecided" and row["p_holm"] > 0.05


def test_near_duplicate_queries_are_resampled_together():
    want, got = (verdicts.measure(scores(2, 40, repeat=r), 400, 0) for r in (1, 8))
    for claim, tests in want.items():
        for name, found in tests.items():
            np.testing.assert_allclose(got[claim][name].draws, found.draws)


def test_rows_show_the_paper_beside_ours_only_where_it_compares():
    found = rows(scores())
    assert found["C3"]["paper"] == f"{FOLM} - {BEST_OF_5} +11.4 and +13.2"
    assert found["C4"]["paper"] == "diversity 0.97x and 1.04x; alignment 0.94x and 0.98x"
    assert found["C5"]["paper"] == "recall 2.82x and 2.07x"
    assert found["N1"]["paper"] == found["N2"]["paper"] == found["C7"]["paper"] == ""
    assert found["C4"]["ours"].endswith("(the threshold is ours)") and "ours)" not in found["C3"]["ours"]
    assert "; at equal sampling cost +2" in found["C3"]["ours"]
    assert "; recall above the plain query +" in found["C5"]["ours"]
    parts = found["C1"]["parts"]
    assert sum(part["decides"] for part in parts) == 2 and len(parts) == 6  # no average, as nothing scored it
    json.dumps(list(found.values()), allow_nan=False)


def latency(ratio, rounds=9, seeds=3, parts=("fan-out", "from text", "with search")) -> dict[int, pd.DataFrame]:
    rng, frames = np.random.default_rng(1), {}
    for seed in range(seeds):
        busy = 1 + rng.random(rounds)  # the same for both paths of a round
        made = [
            {"path": path, "part": part, "batch": batch, "repeat": turn, "seconds": s * busy[turn], "nfe": 8}
            for part, slower in zip(parts, (1, 2, 3, 50))
            for path, s in ((FOLM, ratio), (DIFFUSION, slower))
            for batch in (1, 64)
            for turn in range(rounds)
        ]
        frames[seed] = pd.DataFrame(made)
    return frames


@pytest.mark.parametrize("ratio, want", [(13.0, "holds"), (11.0, "does not hold")])
def test_latency_is_a_ratio_of_medians_over_paired_rounds(ratio, want):
    got = verdicts.measure_latency(latency(ratio), 64, 500, 0)
    assert [b.value for b in got["C9"].values()] == pytest.approx([ratio, ratio / 2, ratio / 3])
    row = next(row for row in verdicts.table(got) if row["id"] == "C9")
    assert (row["verdict"], row["paper"], row["seeds"]) == (want, "12-20x", 3)
    assert row["ours"].startswith(f"fan-out {ratio:.2f}x [{ratio:.2f}, {ratio:.2f}]; from text {ratio / 2:.2f}x [")
    full = latency(ratio, parts=("fan-out", "from text", "with search", claims.FULL_SAMPLER))
    *_, last = verdicts.measure_latency(full, 64, 500, 0)["C9"].values()
    assert last.value == pytest.approx(ratio / 50)
    unpaired = {s: f[(f.part != claims.FULL_SAMPLER) | (f.path != FOLM)] for s, f in full.items()}
    assert len(verdicts.measure_latency(unpaired, 64, 500, 0)["C9"]) == 3  # one that was timed alone is left out
    with pytest.raises(ValueError, match="batch 32"):
        verdicts.measure_latency(latency(ratio), 32, 500, 0)


def test_means_by_method_are_in_hundredths_per_seed_and_over_seeds():
    each, over = verdicts.by_method(scores(2, 40), 200, 0)
    assert list(each) == ["seed", "task", "method", "score", "mean", "n"] and (each.n == 40).all()
    folm = each[(each.method == FOLM) & (each.score == "recall")]
    row = over[(over.method == FOLM) & (over.metric == "recall")].iloc[0]
    assert folm["mean"].mean() == pytest.approx(row["mean"]) == pytest.approx(30, abs=1)
    assert (
        row.low < row["mean"] < row.high
        and row.seeds == 2
        and row.paper == PAPER["wscr"]["Polyvore"]["Gemma3-4B"][FOLM][0]
    )


def test_claims_are_read_from_a_folder_in_order(tmp_path):
    assert verdicts.read(tmp_path) == []
    judged = verdicts.table(verdicts.measure(scores(), 200, 0) | verdicts.measure_latency(latency(13.0), 64, 200, 0))
    for name, ids in (("claims_latency", ["C9"]), ("claims", ["N1", "C2"])):
        rows = [next(row for row in judged if row["id"] == i) for i in ids]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    assert [row["id"] for row in verdicts.read(tmp_path)] == ["C2", "C9", "N1"]
    (tmp_path / "claims.json").write_text(json.dumps([judged[0] | {"seeds": None}]))
    with pytest.raises(ValueError, match=r"claims.json is not of this version \(0.seeds=None "):
        verdicts.read(tmp_path)


def without(**where):
    frame = scores(2, 10)
    return frame[~np.logical_and.reduce([frame[name] == value for name, value in where.items()])]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: verdicts.verdict(float("nan"), 1.0), "NaN"),
        (lambda: verdicts.verdict(2.0, 1.0), "low"),
        (lambda: verdicts.table({"C8": {}}), "C8"),
        (lambda: verdicts.table({"C6": {}}), "vendi"),
        (lambda: verdicts.measure(without(method=ZERO_SHOT), 400, 0), "oar/Zero-shot/quality"),
        (lambda: verdicts.measure(without(method=FOLM, seed=1, query=3), 400, 0), "lack queries"),
        (lambda: verdicts.measure(without(method=FOLM, seed=1), 400, 0), "lack queries for some seeds"),
        (lambda: verdicts.measure(pd.concat([scores(1, 5)] * 2), 400, 0), "twice"),
        (lambda: verdicts.measure(scores(1, 5).drop(columns="group"), 400, 0), "columns group"),
        (lambda: verdicts.measure(scores(2, 5).assign(group=lambda f: f.seed), 400, 0), "different groups"),
    ],
)
def test_bad_input_names_the_value_and_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()
