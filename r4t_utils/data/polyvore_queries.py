"""Queries written from real outfits: broad ones (OAR) and outfit ones (WSCR).

People title an outfit "Boho Rocker", but also "Untitled #915". A title is *meaningful* where it speaks
general fashion language: a term of generic_language.yaml, which was written without looking at the outfits.
"""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import combinations, product

import numpy as np
import pandas as pd

from r4t_utils.data.language import ABSTRACT, fashion
from r4t_utils.data.splits import with_splits
from r4t_utils.data.text import clean

DETAIL = ("colour", "pattern", "material")
TEMPLATES = {  # by the kind of b; a is always abstract
    "style": ("{a} {b} outfit", "{a} {b} look", "{a} and {b} style"),
    **dict.fromkeys(("occasion", "season"), ("{a} {b} outfit", "{a} look for {b}", "{b} outfit in {a} style")),
    **dict.fromkeys(DETAIL, ("{a} look in {b}", "{b} {a} outfit", "{a} style with {b} pieces")),
    "garment": ("{a} look with {b}", "{a} outfit with {b}", "{b} for {a} style"),
}


def meaningful(title: str, longest: int) -> str | None:
    """The cleaned title where it has 2 to ``longest`` words, no digit and a general term, else None."""
    text = clean(title)
    good = 2 <= len(text.split()) <= longest and not re.search(r"\d", text) and fashion().terms(text)
    return text if good else None


def broad_queries(items: pd.DataFrame, collections: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """At most n unique queries of 2 to 6 words: query, family ("title" or "recombined"), group, split."""
    titles = sorted({text for title in collections.title if (text := meaningful(title, 6))})
    rows = {titles[i]: "title" for i in rng.permutation(len(titles))[:n]}
    if len(rows) < n:
        pairs = _pairs(items, collections)
        pairs = [pairs[i] for i in rng.permutation(len(pairs))]
        for turn, (number, (a, b)) in product(range(3), enumerate(pairs)):  # every pair once before any pair twice
            kind, name = fashion().vocabulary[b]
            query = TEMPLATES[kind][(number + turn) % 3].format(a=fashion().vocabulary[a][1], b=name)
            if len(rows) < n and len(query.split()) <= 6:
                rows.setdefault(query, "recombined")
    return with_splits(pd.DataFrame({"query": list(rows), "family": list(rows.values())}), rng)


def outfit_queries(items: pd.DataFrame, collections: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """At most n unique queries of 2 to 8 words, each for one outfit, whose items are the reference set Y.

    Columns: query, collection (row number of the outfit), items, group, split. The query is the outfit's own title
    where that is meaningful and not taken, else a description by its items.
    """
    categories, own, rows = items.category.to_numpy(), [*map(fashion().terms, items.title)], {}
    common = Counter(term for found in own for term in found)
    for i in rng.permutation(len(collections)):
        if len(rows) == n:
            break
        ids = list(collections["items"].iloc[i])
        asked = meaningful(collections.title.iloc[i], 8), _described([own[j] for j in ids], categories[ids], common)
        if query := next((query for query in asked if query and query not in rows), None):
            rows[query] = {"query": query, "collection": int(i), "items": ids}
    return with_splits(pd.DataFrame(list(rows.values()), columns=["query", "collection", "items"]), rng)


def _described(found: list[list[str]], categories: Iterable[str], common: Counter) -> str | None:
    """ "striped casual outfit with boots and bags": up to two terms of the items, and up to two categories.

    The terms that most items of the outfit share come first, then those that are rarer in the corpus.
    """
    counts = Counter(term for own in found for term in own)
    by_kind: dict[str, str] = {}
    for term in sorted(counts, key=lambda term: (-counts[term], common[term], term)):
        by_kind.setdefault(fashion().vocabulary[term][0], fashion().vocabulary[term][1])
    abstract = [kind for kind in by_kind if kind in ABSTRACT][:1]
    chosen = [kind for kind in by_kind if kind in DETAIL][: 2 - len(abstract)] + abstract
    if not chosen:
        return None
    start = " ".join(by_kind[kind] for kind in sorted(chosen, key=(DETAIL + ABSTRACT).index)) + " outfit"
    names = [
        name for name in dict.fromkeys(map(clean, categories)) if "garment" in fashion().kinds(name.split(" ")[-1])
    ][:2]
    shorter = (names, list(dict.fromkeys(name.split()[-1] for name in names)), names[:1])
    queries = (f"{start} with {' and '.join(parts)}" for parts in shorter if parts)
    return next((query for query in queries if len(query.split()) <= 8), start)


def _pairs(items: pd.DataFrame, collections: pd.DataFrame) -> list[tuple[str, str]]:
    """Terms (a, b) that meet in 5 outfits or more, a abstract and b of another kind."""
    own = [*map(fashion().terms, items.title)]
    together = Counter()
    for title, members in zip(collections.title, collections["items"], strict=True):
        here = set(fashion().terms(title)).union(*(own[i] for i in members))
        together.update(combinations(sorted(here), 2))
    order, kind = (*ABSTRACT, *DETAIL, "garment"), {term: kind for term, (kind, _) in fashion().vocabulary.items()}
    often = sorted(pair for pair, count in together.items() if count >= 5)
    pairs = (sorted(pair, key=lambda term: order.index(kind[term])) for pair in often)
    pairs = ((a, b) for a, b in pairs if kind[a] in ABSTRACT and kind[a] != kind[b])
    return [(a, b) for a, b in pairs if not {*a.split()} & {*b.split()}]
