"""Queries of the sample corpus: broad ones over the paper's eight families (OAR), and outfit ones (WSCR).

A broad query is a surface form of an *intent*, a conjunction of admissible attribute values. Every surface form of an
intent goes to one split, so that test intents were never trained on, and so does every query of one outfit, so that
test reference sets were not either.
"""

import json
import re
from functools import cache
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator

from r4t_utils.data.splits import with_splits

MIN_RELEVANT, MIN_LOOKS = 12, 4  # a broad query must have this many outfits and interpretations


def satisfies(collections: pd.DataFrame, intent: dict[str, list[str]]) -> np.ndarray:
    """Which collections meet every condition of the intent: bool (m,)."""
    return np.logical_and.reduce([collections[a].isin(values).to_numpy() for a, values in intent.items()])


def broad_queries(world: dict, collections: pd.DataFrame, n: int, rng: Generator) -> pd.DataFrame:
    """n unique queries of 2 to 6 words, the families as even as the world allows: query, family, intent, group, split.

    Raises ValueError where the world has fewer.
    """
    looks = collections.drop_duplicates("look").set_index("look")
    sizes = collections.groupby("look").size().loc[looks.index].to_numpy()

    @cache
    def broad(intent: str) -> bool:
        mask = satisfies(looks, json.loads(intent))
        return mask.sum() >= MIN_LOOKS and sizes[mask].sum() >= MIN_RELEVANT

    rows, idle = {}, 0
    for family, templates in cycle(world["families"].items()):
        if len(rows) == n or idle == 20_000:  # draws without a new query: the world has no more
            break
        query, intent = _fill(world, pick(templates, rng), rng)
        idle += 1
        if query not in rows and 2 <= len(query.split()) <= 6 and intent and broad(intent):
            rows[query], idle = {"query": query, "family": family, "intent": intent}, 0
    return _finish(rows, n, "oar", ["intent"], rng)


def outfit_queries(world: dict, items: pd.DataFrame, collections: pd.DataFrame, n: int, rng: Generator) -> pd.DataFrame:
    """n unique queries of 2 to 8 words, each written for one outfit, whose items are the reference set Y.

    Columns: query, intent, collection (row number of the outfit), items, group, split. Raises as ``broad_queries``.
    """
    rows: dict[str, dict] = {}
    outfits, pieces = collections.to_dict("records"), items.to_dict("records")
    for i in np.tile(rng.permutation(len(outfits)), 4):
        if len(rows) == n:
            break
        outfit = outfits[i]
        signature = pieces[pick(outfit["items"], rng)]
        values = outfit | {"category": signature["category"], "colour": signature["colour"]}
        query, intent = _fill(world, pick(world["pair_templates"], rng), rng, values)
        if query not in rows and 2 <= len(query.split()) <= 8:
            rows[query] = {"query": query, "intent": intent, "collection": int(i), "items": list(outfit["items"])}
    return _finish(rows, n, "wscr", ["intent", "collection"], rng)


def pick(options: list, rng: Generator) -> Any:
    """One of the options, each as likely as the others."""
    return options[rng.integers(len(options))]


def _fill(world: dict, template: str, rng: Generator, values: dict | None = None) -> tuple[str, str]:
    """A template with its slots filled, and the intent that it stands for, as JSON ("" where it contradicts itself)."""
    intent: dict[str, list[str]] = {}
    consistent = True

    def word(match: re.Match) -> str:
        nonlocal consistent
        slot, second = match[1], match[2]
        if slot == "noun":
            return pick(world["nouns"], rng)
        if slot in world["phrases"]:
            text, meaning = pick(list(world["phrases"][slot].items()), rng)
        else:
            value = values[slot] if values else pick(list(world[slot]), rng)
            text, meaning = pick(world[slot][value]["forms"], rng), {slot: [value]}
        for attribute, allowed in meaning.items():
            said = intent.get(attribute, [])  # a second style of a hybrid is another one: either will do
            consistent &= allowed[0] not in said if second else not said
            intent[attribute] = sorted({*said, *allowed}) if second else allowed
        return text

    query = re.sub(r"{([a-z]+)(2?)}", word, template)
    return query, json.dumps(intent, sort_keys=True) if consistent else ""


def _finish(rows: dict[str, dict], n: int, task: str, keys: list[str], rng: Generator) -> pd.DataFrame:
    if len(rows) < n:
        raise ValueError(f"corpus.n_{task}_queries={n}, but the world gives only {len(rows)} distinct ones: lower it")
    return with_splits(pd.DataFrame(list(rows.values())), rng, *keys)
