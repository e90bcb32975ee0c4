"""The tables of the ablations, from made-up looks at policies."""

import pandas as pd
import pytest

from r4t_utils.evaluation import variants, verdicts
from r4t_utils.evaluation.claims import ABLATED, ALL_THREE, GROUNDED, UNTUNED, WIDE
from r4t_utils.run import profiles

MEASURES = ("ground", "div", "align", "contents", "copies", "quality", "merged")
ENDS = {ALL_THREE: 0.6, WIDE: 0.5, GROUNDED: 0.2, variants.DEFAULT_REWARD: 0.4}


def seen(seeds=2, queries=6, steps=(0, 40, 80)):
    """What `trials.trial` saw: every policy starts at 0.55 and goes to its end."""
    return pd.DataFrame(
        [
            {"variant": name, "seed": seed, "step": step, "query": q, "group": q // 2, "asked": f"query {q}"}
            | {"fanout": f"{name} at {step}"}
            | dict.fromkeys(MEASURES, 0.55 + (end - 0.55) * step / steps[-1] + 0.001 * q)
            for name, end in ENDS.items()
            for seed in range(seeds)
            for step in steps
            for q in range(queries)
        ]
    )


def test_claims_compare_the_ends_of_training_and_the_policy_before_it():
    measured = variants.scores(seen())
    ends = measured.groupby(["method", "score"])["value"].mean()
    assert ends[ALL_THREE, "contents"] == pytest.approx(0.6025) and ends[UNTUNED, "contents"] == pytest.approx(0.5525)
    assert set(measured["method"]) == {UNTUNED, *ENDS} and set(measured["task"]) == {ABLATED}
    assert set(verdicts.COLUMNS) == set(measured.columns)


def test_curves_keep_seeds_and_steps_apart_and_name_their_questions():
    found = variants.curves(seen())
    assert len(found) == len(ENDS) * 2 * 3
    assert dict(zip(found["variant"], found["questions"]))[ALL_THREE] == "terms, weights, size"


def test_what_is_said_is_one_query_s_before_and_after():
    said = variants.said(seen())
    assert list(said["variant"]) == [UNTUNED, *ENDS] and set(said["asked"]) == {"query 0"}
    assert list(said["fanout"]) == [f"{ALL_THREE} at 0", *(f"{name} at 80" for name in ENDS)]


def test_every_policy_is_compared_with_that_of_the_default_reward():
    found = variants.gained(seen(), 200).set_index(["measure", "variant"])
    assert list(found.loc["merged"].index) == [UNTUNED, GROUNDED, ALL_THREE, WIDE]
    assert found.loc["quality", ALL_THREE]["mean"] == pytest.approx(20)
    assert found.loc["merged", UNTUNED]["mean"] == pytest.approx(15)
    assert found.loc["quality", GROUNDED]["mean"] == pytest.approx(-20) and set(found["n"]) == {6}
    assert ((found["low"] <= found["mean"] + 1e-9) & (found["mean"] <= found["high"] + 1e-9)).all()


def test_every_variant_is_a_setting_of_every_profile():
    for name, variant in variants.VARIANTS.items():
        for profile in ("smoke", "cpu"):
            assert profiles.load(profile, variant.overrides), name


def test_the_default_reward_is_the_cpu_profiles():
    given = variants.VARIANTS[variants.DEFAULT_REWARD].overrides
    assert profiles.load("cpu", given).rl == profiles.load("cpu", "").rl
