"""Intervals in README, documents and notebooks' prose are among those that are recorded."""

import json
import re

import pandas as pd
import pytest

from r4t_utils.run import notebooks, paths

INTERVAL = re.compile(r"\[([+-]?\d+\.\d+), ([+-]?\d+\.\d+)\]")
TEXTS = {
    path.name: path.read_text(encoding="utf-8") for path in (paths.ROOT / "README.md", *paths.ROOT.glob("docs/*.md"))
}
TEXTS |= {
    path.name: "\n".join(c.source for c in notebooks.read(path).cells if c.cell_type == "markdown")
    for path in (paths.ROOT / "notebooks").glob("*.ipynb")
}


def ends(values):
    """Every low and high of nested dicts and lists."""
    if isinstance(values, dict):
        if isinstance(values.get("low"), float) and isinstance(values.get("high"), float):
            yield values["low"], values["high"]
        values = list(values.values())
    for value in values if isinstance(values, list) else []:
        yield from ends(value)


@pytest.fixture(scope="module")
def recorded():
    """(low, high) of everything recorded, of differences turned round too, in its unit and in hundredths, as text with
    one and two decimals; and those that the log tells."""
    found = set()
    for path in (paths.ROOT / "results").rglob("*.csv"):
        table = pd.read_csv(path)
        if {"low", "high"} <= set(table):
            found |= set(zip(table["low"], table["high"]))
    for path in (paths.ROOT / "results").rglob("*claims*.json"):
        found |= set(ends(json.loads(path.read_text(encoding="utf-8"))))
    found |= {(-high, -low) for low, high in found}
    scaled = [(by * low, by * high) for low, high in found for by in (1, 100)]
    texts = {(f"{low:.{n}f}", f"{high:.{n}f}") for low, high in scaled for n in (1, 2)}
    log = (paths.ROOT / "results" / "LOG.md").read_text(encoding="utf-8")
    return {tuple(plain(end) for end in pair) for pair in texts} | {*map(told, INTERVAL.finditer(log))}


def plain(number):
    """A number as text, without a plus and without the sign of a zero."""
    return re.sub(r"^-(?=0\.0+$)", "", number.lstrip("+"))


def told(match):
    return plain(match[1]), plain(match[2])


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_interval_in_the_prose_is_recorded(name, recorded):
    unknown = [match[0] for match in INTERVAL.finditer(TEXTS[name]) if told(match) not in recorded]
    assert unknown == []


def test_an_interval_that_nobody_recorded_is_seen(recorded):
    assert told(INTERVAL.search("gains 3.1 points [+1.4, 5.1] alone")) in recorded
    assert told(INTERVAL.search("gains 3.1 points [1.4, 98.1] alone")) not in recorded
    assert INTERVAL.search("a range of [1e-4, 80]") is None
