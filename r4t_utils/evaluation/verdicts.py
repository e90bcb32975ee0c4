"""From scores to verdicts: every claim measured over seeds and judged after Holm's correction, beside the paper."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel

from r4t_utils.evaluation.claims import (
    ABLATED,
    CLAIMS,
    DIFFUSION,
    FOLM,
    LATENCY,
    PAPER,
    WITHOUT_QUERY,
    Claim,
    Test,
    metric_row,
    paper_value,
)
from r4t_utils.evaluation.intervals import LEVEL, Bootstrap, difference, holm, ratio, ratio_of_medians
from r4t_utils.machine.checks import read_fields

Measured = dict[str, dict[str, Bootstrap]]  # claim's id -> test's name -> statistic
COLUMNS = ["seed", "task", "query", "group", "method", "score", "value"]  # of scores.parquet
SEEDS = 3  # fewer leave a claim undecided
UNTESTED = "not yet tested"
OURS = " (the threshold is ours)"


def values(
    scores: pd.DataFrame, task: str, method: str, score: str, seeds: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """One score of one method per seed and query, (S, n), and the query's group, (n,).

    scores: COLUMNS, a value in 0..1 per seed, query, method and score; seeds: those there must be, else all in
    `scores`. Raises ValueError where there is none, where seeds answered other queries, or where a value is repeated.
    """
    if missing := [name for name in COLUMNS if name not in scores]:
        raise ValueError(f"scores lack the columns {', '.join(missing)}; they need {', '.join(COLUMNS)}.")
    rows = scores[(scores["task"] == task) & (scores["method"] == method) & (scores["score"] == score)]
    where = f"{task}/{method}/{score}"
    if rows.empty:
        raise ValueError(f"scores lack {where}; score every method on every query first.")
    if rows.groupby(["seed", "query"]).ngroups < len(rows):
        raise ValueError(f"scores of {where} hold a query twice for one seed; keep one value, the mean over runs.")
    table = rows.pivot(index="seed", columns="query", values="value").reindex(sorted(seeds or scores["seed"].unique()))
    if table.isna().to_numpy().any():
        raise ValueError(f"scores of {where} lack queries for some seeds; every seed answers the same test queries.")
    groups = dict(zip(rows["query"], rows["group"]))
    if any(groups[query] != group for query, group in zip(rows["query"], rows["group"])):
        raise ValueError(f"scores of {where} put a query into different groups; every seed has the same splits.")
    return table.to_numpy(), np.array([groups[query] for query in table.columns])


def measure(
    scores: pd.DataFrame,
    n_boot: int,
    seed: int,
    tasks: Sequence[str] = ("oar", "wscr"),
    claims: Sequence[Claim] = CLAIMS,
) -> Measured:
    """Every one of `claims` that scores of these tasks decide, over all seeds of `scores` (see `values`).

    A test that only stands beside is left out where its scores are. n_boot, seed: of the bootstrap. Raises ValueError
    for a missing score that decides.
    """
    keys = ["task", "method", "score"]
    cut = dict(list(scores.groupby(keys))) if set(keys) <= set(scores) else {}
    seeds = scores["seed"].unique().tolist() if "seed" in scores else []

    def tested(test: Test) -> Bootstrap:
        found = []
        for method in (test.a, test.b):
            key = test.task, method, test.score
            found.append(values(cut[key] if key in cut else scores.iloc[:0], *key, seeds))
        (a, groups), (b, others) = found
        if a.shape != b.shape or not np.array_equal(groups, others):
            raise ValueError(
                f"{test.name}: the two answered {a.shape} and {b.shape} queries per seed, or not the same."
            )
        return (ratio if test.kind == "ratio" else difference)(a, b, n_boot, seed, groups)

    def there(test: Test) -> bool:
        return test.decides or all((test.task, method, test.score) in cut for method in (test.a, test.b))

    scored = [claim for claim in claims if claim.tests[0].task in tasks]
    return {claim.id: {test.name: tested(test) for test in claim.tests if there(test)} for claim in scored}


def measure_latency(latencies: Mapping[int, pd.DataFrame], batch: int, n_boot: int, seed: int) -> Measured:
    """C9 from latency.csv of each seed: ratios of medians at one batch size, its rounds resampled in pairs.

    latencies: {seed: columns path, part, batch, repeat, seconds, nfe}. Raises ValueError where a path of a part that
    decides was not timed, or not in the same rounds as the other.
    """
    found = {}
    for part, test in LATENCY.items():
        policy = [_times(frame, FOLM, part, batch) for frame in latencies.values()]
        retriever = [_times(frame, DIFFUSION, part, batch) for frame in latencies.values()]
        if not test.decides and not all([*policy, *retriever]):
            continue
        if any(not a or a.keys() != b.keys() for a, b in zip(policy, retriever)):
            raise ValueError(f"batch {batch}, {part!r}: time {FOLM} and {DIFFUSION} in the same rounds of every seed.")
        pairs = [[[times[turn] for turn in sorted(times)] for times in side] for side in (policy, retriever)]
        found[test.name] = ratio_of_medians(pairs[0], pairs[1], n_boot, seed)
    return {"C9": found}


def _times(frame: pd.DataFrame, path: str, part: str, batch: int) -> dict[int, float]:
    """Seconds of one path's part by round."""
    rows = frame[(frame["batch"] == batch) & (frame["part"] == part) & (frame["path"] == path)]
    return dict(zip(rows["repeat"], rows["seconds"]))


class _Part(BaseModel):
    """A test's row in claims.json; an infinite ratio is null there."""

    test: str
    mean: float | None
    low: float | None
    high: float | None
    threshold: float
    decides: bool


class _Row(BaseModel):
    """A claim's row in claims.json."""

    id: str
    claim: str
    paper: str
    ours: str
    alone: str
    verdict: str
    seeds: int
    parts: list[_Part]
    without_query: "_Row | None" = None  # records of one seed may be older than this judgement


def verdict(low: float, high: float, threshold: float = 0.0) -> str:
    """ "holds" if the whole interval lies above the threshold, "does not hold" if below, else "undecided".

    Raises ValueError for NaN or low > high.
    """
    if not low <= high or math.isnan(threshold):
        raise ValueError(f"interval [{low}, {high}] against {threshold}; it needs low <= high and no NaN.")
    return "holds" if low > threshold else "does not hold" if high < threshold else "undecided"


def _sides(claim: Claim, found: Mapping[str, Bootstrap]) -> tuple[float, float]:
    """One-sided p-values of "it holds" (all deciding tests above) and "it does not" (any below, Bonferroni)."""
    deciding = [(found[test.name], test.threshold) for test in claim.tests if test.decides]
    above, below = ([getattr(b, side)(t) for b, t in deciding] for side in ("p_above", "p_below"))
    return max(above), min(1.0, len(below) * min(below))


def paper_differences(test: Test) -> list[float]:
    """What the paper's Polyvore numbers give for a test: a - b in points, or a / b, for each of its two open policies;
    for latency the two ends of its range. Empty where none compares."""
    if test.task == "latency":
        return list(PAPER["latency"]["ratio"])
    if test.task == ABLATED:
        return []  # the paper shows curves
    a, b = ([paper_value(test.task, m, test.score, p) for p in ("Gemma3-4B", "Qwen3-4B")] for m in (test.a, test.b))
    return [] if np.isnan(a + b).any() else [x / y if test.kind == "ratio" else x - y for x, y in zip(a, b)]


def _paper_text(test: Test) -> str:
    """`paper_differences` in words; "" where none compares."""
    each = paper_differences(test)
    if not each:
        return ""
    if test.task == "latency":
        return "{}-{}x".format(*each)
    texts = [f"{x:.2f}x" if test.kind == "ratio" else f"{x:+.1f}" for x in each]
    return f"{test.label or test.score} {' and '.join(texts)}"


def _part(test: Test, found: Bootstrap) -> dict:
    """A test beside the paper: its texts, its interval, and what that interval alone says."""
    i = found.interval
    if test.kind == "ratio":
        ours = f"{i.mean:.2f}x [{i.low:.2f}, {i.high:.2f}]"
    else:
        ours = i.hundredths
    texts = {"test": test.name, "paper": _paper_text(test), "ours": f"{test.label or test.score} {ours}"}
    rule = {"threshold": test.threshold, "threshold_is_ours": test.ours, "decides": test.decides}
    return {**texts, **i._asdict(), **rule, "verdict": verdict(i.low, i.high, test.threshold)}


def _row(claim: Claim, found: Mapping[str, Bootstrap], sides: tuple[float, float], p_holm: float) -> dict:
    parts = [_part(test, found[test.name]) for test in claim.tests if test.name in found]
    shown = [
        part for part, test in zip(parts, (t for t in claim.tests if t.name in found)) if test.label or test.decides
    ]
    seeds = min(one.seeds for one in found.values())
    alone = "undecided" if p_holm > 1 - LEVEL else "holds" if sides[0] < sides[1] else "does not hold"
    paper = "; ".join(p["paper"] for p in parts if p["decides"] and p["paper"])
    ours = "; ".join(p["ours"] for p in shown)
    if any(test.ours for test in claim.tests):
        ours += OURS
    says = {"verdict": alone if seeds >= SEEDS else "undecided", "alone": alone, "seeds": seeds, "p_holm": p_holm}
    return {"id": claim.id, "claim": claim.text, "paper": paper, "ours": ours, **says, "parts": parts}


def table(measured: Measured, untested: bool = True, claims: Sequence[Claim] = CLAIMS) -> list[dict]:
    """One row for each of `claims`: {id, claim, paper, ours, verdict, alone, seeds, p_holm, parts}.

    Differences in 0..1 are printed in hundredths, as the paper's. A claim holds when all of its deciding tests lie
    above their thresholds, and does not hold when one of them lies below; its two-sided p-value, corrected by Holm over
    the claims in this table, must be at most 0.05, else it is undecided. `alone` is what the seeds at hand say by
    this rule; `verdict` is the same with SEEDS seeds or more, and "undecided" with fewer. `parts` has a row per test,
    whose `verdict` is that of its own interval, uncorrected. With `untested`, claims without a test have a row that
    says so. Raises ValueError for an unknown claim or a missing test.
    """
    known = {claim.id: claim for claim in claims}
    if unknown := set(measured) - set(known):
        raise ValueError(f"unknown claims {sorted(unknown)}; those with a test are {', '.join(known)}.")
    for name, found in measured.items():
        if missing := [t.name for t in known[name].tests if t.decides and t.name not in found]:
            raise ValueError(f"{name} lacks {missing}; measure every test that decides a claim.")
    sides = {name: _sides(known[name], found) for name, found in measured.items()}
    corrected = dict(zip(sides, holm([min(1.0, 2 * min(pair)) for pair in sides.values()])))
    rows = []
    for claim in claims:
        if claim.id in measured:
            rows.append(_row(claim, measured[claim.id], sides[claim.id], corrected[claim.id]))
        elif claim.untested and untested:
            says = {"verdict": UNTESTED, "alone": UNTESTED, "seeds": 0, "p_holm": None}
            rows.append({"id": claim.id, "claim": claim.text, "paper": "", "ours": claim.untested, **says, "parts": []})
    return rows


def judged(scores: pd.DataFrame, n_boot: int, seed: int, timed: Measured | None = None) -> list[dict]:
    """The rows of `table` for `scores`, and for what `measure_latency` found. Each has under `without_query` the row of
    the same claim where the query's own list takes no part in an answer (corrected by Holm over those), or None where
    that changes nothing. Raises as `measure` and `table` do."""
    rows = table(measure(scores, n_boot, seed) | (timed or {}))
    others = table(measure(scores, n_boot, seed, claims=WITHOUT_QUERY), untested=False, claims=WITHOUT_QUERY)
    by_id = {row["id"]: row for row in others}
    return [row | {"without_query": by_id.get(row["id"])} for row in rows]


def by_method(scores: pd.DataFrame, n_boot: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores in hundredths: per seed, method and score the mean; and the rows of metrics.csv over all seeds."""
    keys = ["seed", "task", "method", "score"]
    each = scores.groupby(keys, sort=False)["value"].agg(["mean", "size"]).reset_index()
    each = each.assign(mean=100 * each["mean"]).rename(columns={"size": "n"})
    rows = []
    for task, method, score in each[keys[1:]].drop_duplicates().itertuples(index=False):
        found, groups = values(scores, task, method, score)
        rows.append(metric_row(task, method, score, found, n_boot, seed, groups) | {"seeds": len(found)})
    return each, pd.DataFrame(rows)


def read(folder: Path) -> list[dict]:
    """The claims of a folder of results, in order: those of ablations/, then claims.json, and for what is in neither
    claims_latency.json.

    Empty where there are none. Raises ValueError, which names file and field, for rows that are not of this version.
    """
    rows: dict[str, dict] = {}
    for name in ("claims_latency", "claims", "ablations/claims"):
        path = folder / f"{name}.json"
        for row in read_fields(path, list[_Row]) if path.is_file() else []:
            rows[row["id"]] = row
    return [rows[claim.id] for claim in CLAIMS if claim.id in rows]
