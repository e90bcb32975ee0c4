"""What each part of the reward does (Figure 4): which policies are compared, and what is told of them. `trials` tunes
them."""

from typing import NamedTuple

import pandas as pd

from r4t_utils.evaluation import verdicts
from r4t_utils.evaluation.claims import ABLATED, ALL_THREE, EVEN, GROUNDED, GROUNDED_ALIGNED, UNTUNED, WIDE
from r4t_utils.evaluation.intervals import difference

STEPS = 60  # updates of every policy here, at most: half of the cpu profile's


class Variant(NamedTuple):
    """A policy: the settings that make it, as SET gives them, and the questions that it answers, a row of panels each
    in the figure."""

    overrides: str
    questions: str


def _weights(g: float, d: float, a: float) -> str:
    return f"rl.lambda_g={g} rl.lambda_d={d} rl.lambda_a={a} rl.diversity=vendi_over_k"


def _reused(times: int, soft: bool) -> str:
    """The default weights, each sampled batch used for so many updates, with or without the terms of Eq. 7."""
    terms = "" if soft else " rl.beta1=0 rl.beta2=0"
    return f"{_OURS} rl.steps_per_generation=1 rl.num_iterations={times}{terms}"


DEFAULT_REWARD = "2:2.5:5.5, guarded"  # the reward of the cpu profile
_PRINTED = "rl.repeats=printed rl.reference_kl=0"  # without our two guards against collapse
_GUARDED = "rl.repeats=once rl.reference_kl=0.05"
_622, _OURS = _weights(0.6, 0.2, 0.2), f"{_weights(0.2, 0.25, 0.55)} {_GUARDED}"
VARIANTS = {
    GROUNDED: Variant(f"{_weights(1, 0, 0)} {_PRINTED}", "terms"),
    GROUNDED_ALIGNED: Variant(f"{_weights(0.75, 0, 0.25)} {_PRINTED}", "terms"),
    ALL_THREE: Variant(f"{_622} {_PRINTED}", "terms, weights, size"),
    EVEN: Variant(f"{_weights(0.4, 0.3, 0.3)} {_PRINTED}", "weights"),
    WIDE: Variant(f"{_weights(0.2, 0.4, 0.4)} {_PRINTED}", "weights"),
    "6:2:2, smaller policy": Variant(f"{_622} {_PRINTED} folm.hidden=64 folm.layers=2", "size"),
    "6:2:2, guarded": Variant(f"{_622} {_GUARDED}", "raw Vendi, scale"),
    "6:2:2, raw Vendi": Variant(f"{_622} {_PRINTED}".replace("_over_k", ""), "raw Vendi"),
    "6:2:2, raw Vendi, guarded": Variant(f"{_622} {_GUARDED}".replace("_over_k", ""), "raw Vendi"),
    "6:2:2, standardised, guarded": Variant(f"{_622} {_GUARDED} rl.terms=standardised", "scale"),
    "alignment x diversity, guarded": Variant(f"{_622} {_GUARDED} rl.terms=product", "scale"),
    DEFAULT_REWARD: Variant(_OURS, "scale, samples"),
    "2:2.5:5.5, guarded, three times the samples": Variant(f"{_OURS} rl.steps=90 rl.num_iterations=1", "samples"),
    "2:2.5:5.5, credit per sub-query, guarded": Variant(f"{_OURS} rl.credit=sub_query", "scale"),
    "2:2.5:5.5, found, guarded": Variant(f"{_OURS} rl.alignment=found", "scale"),
    "batches used once": Variant(_reused(1, soft=True), "reuse"),
    "batches used twice": Variant(_reused(2, soft=True), "reuse"),
    "batches used twice, no soft terms": Variant(_reused(2, soft=False), "reuse"),
    "batches used four times": Variant(_reused(4, soft=True), "reuse"),
    "batches used four times, no soft terms": Variant(_reused(4, soft=False), "reuse"),
}


def curves(seen: pd.DataFrame) -> pd.DataFrame:
    """The mean of every measure, a row per variant, seed and step, with the questions that a variant answers."""
    keys = ["questions", "variant", "seed", "step"]
    seen = seen.assign(questions=[VARIANTS[name].questions for name in seen["variant"]])
    means = seen.drop(columns=["query", "asked", "group", "fanout"]).groupby(keys, sort=False, as_index=False)
    return means.mean()  # pyright: ignore[reportReturnType]


def best_of(chosen: pd.DataFrame) -> pd.DataFrame:
    """Means over queries: policy, seed, n, tokens, reward, quality, merged."""
    means = chosen.groupby(["policy", "seed", "n"], sort=False, as_index=False)
    return means[["tokens", "reward", "quality", "merged"]].mean()  # pyright: ignore[reportReturnType]


def _ends(seen: pd.DataFrame) -> pd.DataFrame:
    """The first look at the zero-shot policy, as a variant of its own, and the last at every other."""
    last = seen.loc[seen["step"] == seen.groupby("variant")["step"].transform("max")]
    start = seen.loc[(seen["step"] == 0) & (seen["variant"] == ALL_THREE)].assign(variant=UNTUNED)
    return pd.concat([start, last], ignore_index=True)


def said(seen: pd.DataFrame) -> pd.DataFrame:
    """What the policies of the first seed say to the first query: variant, asked, fanout; the untuned one first."""
    ends = _ends(seen)
    first = (ends["seed"] == ends["seed"].min()) & (ends["query"] == 0)
    return ends.loc[first, ["variant", "asked", "fanout"]].reset_index(drop=True)


def scores(seen: pd.DataFrame) -> pd.DataFrame:
    """The ends of training as rows of `verdicts.COLUMNS`, the variants as methods."""
    wide = _ends(seen).drop(columns=["asked", "fanout", "step"])
    long = wide.melt(["variant", "seed", "query", "group"], var_name="score")
    return long.rename(columns={"variant": "method"}).assign(task=ABLATED)


def gained(seen: pd.DataFrame, n_boot: int) -> pd.DataFrame:
    """How far every policy's quality lies above that of `DEFAULT_REWARD`, alone and merged, over seeds and groups of
    queries: variant, measure, mean, low, high, n, in hundredths."""
    rows, long = [], scores(seen)
    there = set(long["method"])
    for measure in ("quality", "merged"):
        base, groups = verdicts.values(long, ABLATED, DEFAULT_REWARD, measure)
        for name in (UNTUNED, *VARIANTS):
            if name in there and name != DEFAULT_REWARD:
                found = difference(verdicts.values(long, ABLATED, name, measure)[0], base, n_boot, 0, groups).interval
                shown = {"mean": 100 * found.mean, "low": 100 * found.low, "high": 100 * found.high, "n": found.n}
                rows.append({"variant": name, "measure": measure, **shown})
    return pd.DataFrame(rows)
