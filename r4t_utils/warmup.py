"""The small policy's "instruction tuning": generic fan-outs that teach it the task's form and nothing of the database.

A zero-shot language model that is asked to fan out mostly paraphrases, sometimes adds a facet, and now and then leaves
the topic (the paper's Figures 3 and 6 show as much). These fan-outs do the same, from general fashion language alone.
The shares below are part of the zero-shot baseline; they were set once, before any reinforcement learning.
"""

from functools import cache
from importlib.resources import files

import numpy as np
import yaml

from .datasets.splits import topic_words

PARAPHRASE, FACET = 0.5, 0.35  # what remains drifts: one topic word among unrelated facets


@cache
def language() -> dict:
    return yaml.safe_load((files(__package__) / "generic_language.yaml").read_text())


def fanout(task: str, query: str, k: int, rng: np.random.Generator) -> list[str]:
    """k generic sub-queries of 2 to about 6 words for a broad query; task is "oar" or "wscr"."""
    one = {"oar": _collection_query, "wscr": _item_query}[task]
    words = [word for word in query.split() if topic_words(word)] or query.split()
    queries: list[str] = []
    while len(queries) < k:
        candidate = one(words, rng)
        if candidate not in queries or rng.random() < 0.05:
            queries.append(candidate)
    return queries


def _pick(values, rng):
    return values[rng.integers(len(values))]


def _facet(rng) -> str:
    facets = language()["facets"]
    return _pick(facets[_pick(list(facets), rng)], rng)


def _collection_query(words: list[str], rng) -> str:
    kind = rng.random()
    if kind < PARAPHRASE:
        parts = [_synonym(word, rng) for word in words]
        if rng.random() < 0.3:
            parts.insert(0, _pick(language()["openings"], rng))
        return " ".join([*parts, _pick(language()["endings"], rng)])
    if kind < PARAPHRASE + FACET:
        kept = list(words)
        if len(kept) > 1 and rng.random() < 0.25:
            kept.pop(rng.integers(len(kept)))
        facet = _facet(rng) if rng.random() < 0.75 else "with " + _pick(language()["garments"], rng)
        return " ".join([*kept, facet] if facet.startswith("with") or rng.random() < 0.3 else [facet, *kept])
    return " ".join([_facet(rng), _pick(words, rng), _pick(language()["garments"], rng)])


def _item_query(words: list[str], rng) -> str:
    facets = language()["facets"]
    parts = [_pick(facets[kind], rng) for kind in ("colour", "material", "pattern") if rng.random() < 0.4]
    if rng.random() < 0.45:
        parts.insert(0, _pick(words, rng))
    return " ".join([*parts, _pick(language()["garments"], rng)])


def _synonym(word: str, rng) -> str:
    for group in language()["thesaurus"]:
        if word in group and rng.random() < 0.5:
            return _pick(group, rng)
    return word
