"""Intervals in README, documents and notebooks' prose are among those that are recorded, or stand in the series of the
log that their paragraph names; what documents reckon follows from what they start from."""

import json
import re
import runpy

import pandas as pd
import pytest

from r4t_utils.run import needs, notebooks, paths, plan, profiles

LATENCY = "06_latency_study.ipynb"
NUMBER = r"[+-]?\d+\.\d+"
INTERVAL = re.compile(rf"(?:(?P<mean>{NUMBER})x? )?\[(?P<low>{NUMBER}), (?P<high>{NUMBER})\]")
TEXTS = {
    path.name: path.read_text(encoding="utf-8") for path in (paths.ROOT / "README.md", *paths.ROOT.glob("docs/*.md"))
}
TEXTS |= {
    path.name: "\n".join(c.source for c in notebooks.read(path).cells if c.cell_type == "markdown")
    for path in (paths.ROOT / "notebooks").glob("*.ipynb")
}


def ends(values):
    """Every (mean, low, high) of nested dicts and lists."""
    if isinstance(values, dict):
        if all(isinstance(values.get(key), float) for key in ("mean", "low", "high")):
            yield values["mean"], values["low"], values["high"]
        values = list(values.values())
    for value in values if isinstance(values, list) else []:
        yield from ends(value)


@pytest.fixture(scope="module")
def recorded():
    """(mean, low, high) of everything recorded, as text with one and two decimals: in its unit, and in hundredths where
    it is a share; a difference turned round, too. The mean is None where a table calls it something else."""
    found = set()
    for path in (paths.ROOT / "results").rglob("*.csv"):
        table = pd.read_csv(path)
        if {"low", "high"} <= set(table):
            means = table["mean"] if "mean" in table else [None] * len(table)
            found |= set(zip(means, table["low"], table["high"]))
    for path in (paths.ROOT / "results").rglob("*claims*.json"):
        found |= set(ends(json.loads(path.read_text(encoding="utf-8"))))
    found |= {(mean and -mean, -high, -low) for mean, low, high in found}
    return {
        tuple(None if x is None else plain(f"{by * x:.{digits}f}") for x in each)
        for each in found
        for by in ((1, 100) if max(map(abs, each[1:])) <= 1 else (1,))
        for digits in (1, 2)
    }


LOG = (paths.ROOT / "results" / "LOG.md").read_text(encoding="utf-8").split("\n## ")


def logged(paragraph):
    """What the series of the log tell that a paragraph names, as in "(tenth and sixteenth series)"."""
    named = re.findall(r"\w+", " ".join(re.findall(r"((?:[\w-]+ and )?[\w-]+) series", paragraph)).replace("-", "_"))
    found = [part for part in LOG if any(f" {name.replace('_', '-')} series:" in part.split("\n")[0] for name in named)]
    return {told(match) for part in found for match in INTERVAL.finditer(part)}


def plain(number):
    """A number as text, without a plus and without the sign of a zero."""
    return re.sub(r"^-(?=0\.0+$)", "", number.lstrip("+"))


def told(match):
    return tuple(number and plain(number) for number in match.group("mean", "low", "high"))


def known(match, recorded):
    mean, *interval = told(match)
    same = {each[0] for each in recorded if [*each[1:]] == interval}
    return bool(same) and (mean is None or mean in same or None in same)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_interval_in_the_prose_is_recorded(name, recorded):
    unknown = [
        match[0]
        for paragraph in re.split(r"\n\n|\n\||\n-", TEXTS[name])
        for match in INTERVAL.finditer(paragraph)
        if not known(match, recorded) and not known(match, logged(paragraph))
    ]
    assert unknown == []


def test_a_series_of_the_log_counts_where_it_is_named():
    match = INTERVAL.search("+2.5 [1.1, 4.1]")
    assert known(match, logged("more (tenth and seventeenth series)"))
    assert not known(match, logged("more (tenth series)")) and not known(match, logged("more"))


def test_an_interval_that_nobody_recorded_is_seen(recorded):
    assert known(INTERVAL.search("gains 3.2 points [+1.9, 4.5] alone"), recorded)
    assert known(INTERVAL.search("gains 3.2 [1.9, 4.5] alone"), recorded)
    assert not known(INTERVAL.search("gains 3.3 [1.9, 4.5] alone"), recorded)
    assert not known(INTERVAL.search("gains 3.2 points [1.9, 98.1] alone"), recorded)
    assert INTERVAL.search("a range of [1e-4, 80]") is None


def test_what_is_extrapolated_follows_from_what_was_measured():
    scale = runpy.run_path(str(paths.ROOT / "docs" / "scale.py"))
    measured, told = (table(TEXTS["scale.md"], name) for name in ("measured", "extrapolated"))
    heads = ("exponent of one query", "one query, ms", "vectors and index, GB")
    measured = [row | {"build, s": row["build, s"] or 0.05} for row in measured]  # 0.0 as it is printed
    computed = table(f"<!-- again -->\n{scale['extrapolated'](measured)}\n<!-- end again -->", "again")
    for now, said in zip(computed, told, strict=True):
        assert now["index"] == said["index"]
        assert [now[head] for head in heads] == pytest.approx([said[head] for head in heads], rel=0.02)
    times = {row["index"]: row["one query, ms"] for row in measured}  # the last of each: the largest
    said = re.findall(r"exact search takes (\d+) ms for a query .* a graph \(HNSW\) ([\d.]+) ms", TEXTS[LATENCY])
    assert said == [(f"{times['exact']:.0f}", f"{times['hnsw']:.1f}")]


def test_the_hours_on_a_host_are_those_of_the_plan():
    settings = profiles.load("gpu")
    policy, devices = needs.POLICIES[settings.folm.policy], (plan.DEVICES[name] for name in ("T4", "L4"))
    hours = [sum(stage.seconds for stage in plan.planned(settings, policy, device, 1)) / 3600 for device in devices]
    said = re.findall(r"DEVICE=T4` reckons (\d+) hours for it, and an L4's (\d+)\.", TEXTS["hosts.md"])
    assert said == [tuple(f"{x:.0f}" for x in hours)]


def table(text, name):
    """The rows of a document's block, numbers as numbers."""
    block = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end {name} -->", text, re.DOTALL)
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in block[1].splitlines())
    number = re.compile(r"[\d.,]+")
    return [
        {head: float(cell.replace(",", "")) if number.fullmatch(cell) else cell for head, cell in zip(heads, row)}
        for row in rows
    ]
