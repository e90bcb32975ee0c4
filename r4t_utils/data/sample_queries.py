"""Queries of the sample corpus: broad ones over the paper's eight families (OAR), and outfit ones (WSCR).

A broad query is a surface form of an *intent*, a conjunction of admissible attribute values. Every surface form of an
intent goes to one split, so that test intents were never trained on, and so does every query of one outfit, so that
test reference sets were not either.
"""

import json
import re

import numpy as np
import pandas as pd

from r4t_utils.data.splits import near_duplicate_groups, split_811

PATIENCE = 20_000  # draws without a new query after which the world has no more
MIN_RELEVANT, MIN_LOOKS = 12, 4  # a broad query must have this many outfits and interpretations


def satisfies(collections: pd.DataFrame, intent: dict[str, list[str]]) -> np.ndarray:
    """Which collections meet every condition of the intent: bool (m,)."""
    return np.logical_and.reduce([collections[a].isin(values).to_numpy() for a, values in intent.items()])


def broad_queries(world: dict, collections: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """n unique queries of 2 to 6 words, the families as even as the world allows: query, family, intent, group, split.

    Raises ValueError where the world has fewer.
    """
    looks = collections.drop_duplicates("look").set_index("look")
    sizes = collections.groupby("look").size().loc[looks.index].to_numpy()
    good: dict[str, bool] = {}

    def broad(intent: dict) -> bool:
        key = json.dumps(intent, sort_keys=True)
        if key not in good:
            mask = satisfies(looks, intent)
            good[key] = mask.sum() >= MIN_LOOKS and sizes[mask].sum() >= MIN_RELEVANT
        return good[key]

    rows: dict[str, dict] = {}
    families = list(world["families"])
    attempt = latest = 0
    while len(rows) < n and attempt - latest < PATIENCE:
        attempt += 1
        family = families[(attempt - 1) % len(families)]
        templates = world["families"][family]
        query, intent = _fill(world, templates[rng.integers(len(templates))], rng)
        if query not in rows and 2 <= len(query.split()) <= 6 and intent and broad(intent):
            rows[query] = {"query": query, "family": family, "intent": json.dumps(intent, sort_keys=True)}
            latest = attempt
    return _finish(list(rows.values()), n, "oar", ["intent"], rng)


def outfit_queries(
    world: dict, items: pd.DataFrame, collections: pd.DataFrame, n: int, rng: np.random.Generator
) -> pd.DataFrame:
    """n unique queries of 2 to 8 words, each written for one outfit, whose items are the reference set Y.

    Columns: query, intent, collection (row number of the outfit), items, group, split. Raises as ``broad_queries``.
    """
    rows: dict[str, dict] = {}
    for i in np.tile(rng.permutation(len(collections)), 4):
        if len(rows) == n:
            break
        outfit = collections.iloc[i]
        signature = items.iloc[outfit["items"][rng.integers(len(outfit["items"]))]]
        values = {a: outfit[a] for a in ("style", "occasion", "season", "mood")}
        values |= {a: signature[a] for a in ("category", "colour")}
        template = world["pair_templates"][rng.integers(len(world["pair_templates"]))]
        query, intent = _fill(world, template, rng, values)
        if query not in rows and 2 <= len(query.split()) <= 8:
            rows[query] = {"query": query, "intent": json.dumps(intent, sort_keys=True), "collection": int(i)}
            rows[query]["items"] = list(outfit["items"])
    return _finish(list(rows.values()), n, "wscr", ["intent", "collection"], rng)


def _fill(world: dict, template: str, rng: np.random.Generator, values: dict | None = None) -> tuple[str, dict | None]:
    """A template with its slots filled, and the intent that it stands for (None where it contradicts itself)."""
    intent: dict[str, list[str]] = {}
    consistent = True

    def word(match: re.Match) -> str:
        nonlocal consistent
        slot, second = match[1], match[2]
        if slot == "noun":
            return world["nouns"][rng.integers(len(world["nouns"]))]
        if slot in world["phrases"]:
            phrases = world["phrases"][slot]
            text = list(phrases)[rng.integers(len(phrases))]
            for attribute, allowed in phrases[text].items():
                consistent &= attribute not in intent
                intent[attribute] = allowed
            return text
        value = values[slot] if values else list(world[slot])[rng.integers(len(world[slot]))]
        if second:  # a hybrid: either of the two styles will do
            consistent &= value not in intent[slot]
            intent[slot] = sorted({*intent[slot], value})
        else:
            consistent &= slot not in intent
            intent[slot] = [value]
        forms = world[slot][value]["forms"]
        return forms[rng.integers(len(forms))]

    query = re.sub(r"{([a-z]+)(2?)}", word, template)
    return query, intent if consistent else None


def _finish(rows: list[dict], n: int, task: str, keys: list[str], rng: np.random.Generator) -> pd.DataFrame:
    if len(rows) < n:
        raise ValueError(f"corpus.n_{task}_queries={n}, but the world gives only {len(rows)} distinct ones: lower it")
    table = pd.DataFrame(rows)
    table["group"] = near_duplicate_groups(table["query"].tolist(), *(table[key].tolist() for key in keys))
    table["split"] = split_811(table["group"].to_numpy(), rng, table.get("family"))
    return table
