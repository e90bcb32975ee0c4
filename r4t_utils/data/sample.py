"""The sample corpus: a synthetic world of outfits whose every attribute is known.

A *theme* is a style worn for an occasion; a theme has several *looks*, each one interpretation with a season, a
mood, a palette, materials, patterns and signature garments of its own; an outfit is a near-copy of its look.
Themes and looks have heavy-tailed popularity, as collections people publish do, so the outfits nearest to a
broad query tend to be copies of one look. Titles come from a grammar with synonyms, omissions and makers' names.
"""

from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd
import yaml
from numpy.random import Generator

from r4t_utils.data.corpus import Corpus
from r4t_utils.data.sample_queries import broad_queries, outfit_queries, pick

ATTRIBUTES = ("style", "occasion", "season", "mood")
ITEM_ATTRIBUTES = ("colour", "material", "pattern", *ATTRIBUTES)
MIN_COPIES = 4  # members of the rarest look


@cache
def world() -> dict:
    """Attribute values, their surface forms and affinities, and the query templates."""
    return yaml.safe_load((files("r4t_utils.data") / "sample_world.yaml").read_text())


def generate(n_outfits: int, n_oar_queries: int, n_wscr_queries: int, seed: int = 2603) -> Corpus:
    """Draw the corpus; the same arguments give the same corpus, to the byte, and training seeds do not change it.

    Raises ValueError when ``n_outfits`` cannot give every look its ``MIN_COPIES`` members, or when the world has
    fewer distinct queries than asked for.
    """
    rng = np.random.default_rng(seed)
    looks, items, outfits = _looks(rng), [], []
    for look, n in zip(looks, _popularity(looks, n_outfits, rng)):
        own: dict[str, list[int]] = {}  # the look's items so far, by category
        outfits += [_outfit(look, items, own, rng) for _ in range(n)]
    outfits = [outfits[i] for i in rng.permutation(len(outfits))]
    items, collections = pd.DataFrame(items), pd.DataFrame(outfits)
    oar = broad_queries(world(), collections, n_oar_queries, rng)
    wscr = outfit_queries(world(), items, collections, n_wscr_queries, rng)
    return Corpus("sample", items, collections, oar, wscr)


def _looks(rng: Generator) -> list[dict]:
    """4 to 7 looks for each of the themes, no two of a theme with the same season and mood."""
    w, looks = world(), []
    slots = dict.fromkeys(entry["slot"] for entry in w["category"].values())
    for style, entry in w["style"].items():
        for occasion in entry["occasion"]:
            pairs = [(s, m) for s in w["occasion"][occasion]["season"] for m in w["mood"]]
            for nth, i in enumerate(rng.permutation(len(pairs))[: rng.integers(4, 8)], 1):
                season, mood = pairs[i]
                look = {"style": style, "occasion": occasion, "season": season, "mood": mood, "nth": nth}
                look |= {a: _favoured(look, a, rng) for a in ("colour", "material", "pattern")}
                look["category"] = {slot: _category(look, slot, rng) for slot in slots}
                looks.append(look | {"one_piece": bool(rng.random() < 0.45), "id": len(looks)})
    return looks


def _favoured(look: dict, attribute: str, rng: Generator) -> list[str]:
    """Two values of an attribute, drawn from those that the look's style, season and mood favour."""
    pool = [v for a in ("style", "style", "season", "mood") for v in world()[a][look[a]].get(attribute, [])]
    return list(dict.fromkeys(rng.permutation(pool)))[:2]


def _category(look: dict, slot: str, rng: Generator) -> str:
    """A garment for the slot; the ones that style, occasion and season favour are drawn 6 times as often each."""
    liked = [c for a in ("style", "occasion", "season") for c in world()[a][look[a]]["category"]]
    names = [name for name, entry in world()["category"].items() if entry["slot"] == slot]
    weight = np.array([1 + 5 * liked.count(c) for c in names], float)
    return names[rng.choice(len(names), p=weight / weight.sum())]


def _popularity(looks: list[dict], n_outfits: int, rng: Generator) -> np.ndarray:
    """Members of each look: Zipf over themes times Zipf over the looks of a theme, on top of ``MIN_COPIES``."""
    need = MIN_COPIES * len(looks)
    if n_outfits < need:
        raise ValueError(f"corpus.n_outfits={n_outfits} is below {need}, {MIN_COPIES} per look: raise corpus.n_outfits")
    themes = [(look["style"], look["occasion"]) for look in looks]
    rank = dict(zip(dict.fromkeys(themes), rng.permutation(len(set(themes))) + 1))
    weight = np.array([rank[theme] ** -0.6 * look["nth"] ** -1.2 for theme, look in zip(themes, looks)])
    return MIN_COPIES + rng.multinomial(n_outfits - need, weight / weight.sum())


def _outfit(look: dict, items: list[dict], own: dict, rng: Generator) -> dict:
    """A near-copy of the look: most slots filled as the look has them, new items appended to ``items``."""
    optional = [s for s in ("outer", "jewellery", "accessory", "accessory") if rng.random() < 0.7]
    slots = (["dress"] if look["one_piece"] else ["top", "bottom"]) + ["shoes", "bag", "jewellery", *optional]
    members: list[int] = []
    for slot in slots:
        category = look["category"][slot] if rng.random() < 0.85 else _category(look, slot, rng)
        candidates = [i for i in own.get(category, []) if i not in members]
        if candidates and rng.random() < 0.4:  # popular pieces come back in other outfits of the look
            members.append(pick(candidates, rng))
            continue
        items.append(_item(look, category, rng))
        members.append(len(items) - 1)
        own.setdefault(category, []).append(len(items) - 1)
    return {"title": _outfit_title(look, rng), "items": members, "look": look["id"]} | {a: look[a] for a in ATTRIBUTES}


def _item(look: dict, category: str, rng: Generator) -> dict:
    value = {}
    for a in ("colour", "material"):
        as_look = rng.random() < 0.88
        value[a] = look[a][int(rng.random() < 0.35) % len(look[a])] if as_look else pick(list(world()[a]), rng)
    value["pattern"] = pick(look["pattern"], rng) if rng.random() < 0.5 else "plain"
    value |= {"category": category} | {a: look[a] for a in ATTRIBUTES}
    shown = dict(style=0.25, season=0.1, occasion=0.12, mood=0.12, colour=0.65, material=0.5, pattern=0.8)
    words = [surface(a, value[a], rng) for a, p in shown.items() if rng.random() < p]
    if rng.random() < 0.35:
        words.insert(0, pick(world()["makers"], rng))
    return {"title": " ".join(x for x in (*words, surface("category", category, rng)) if x)} | value


def _outfit_title(look: dict, rng: Generator) -> str:
    if rng.random() < 0.25:  # many real titles say nothing about the outfit
        return f"{pick(world()['noise_titles'], rng)} {rng.integers(1, 400)}"
    shown = {"mood": 0.35, "season": 0.35, "style": 0.7, "occasion": 0.55}
    words = [surface(a, look[a], rng) for a, p in shown.items() if rng.random() < p]
    if rng.random() < 0.2:
        words.append("with " + surface("category", look["category"]["shoes"], rng))
    return " ".join(words or [surface("style", look["style"], rng)])


def surface(attribute: str, value: str, rng: Generator) -> str:
    """One surface form of an attribute's value; the first form is the commonest."""
    forms = world()[attribute][value]["forms"]
    weight = 1 / np.arange(1, len(forms) + 1)
    return forms[rng.choice(len(forms), p=weight / weight.sum())]
