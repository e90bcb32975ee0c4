"""Intervals in README, documents and notebooks' prose are among those that are recorded, or stand in the series of the
log that their paragraph names."""

import json
import re

import pandas as pd
import pytest

from r4t_utils.run import notebooks, paths

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
