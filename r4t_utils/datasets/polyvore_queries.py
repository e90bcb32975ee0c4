"""Queries written from real outfits: broad ones (OAR) and outfit ones (WSCR).

People title an outfit "Boho Rocker", but also "Untitled #915". A title is *meaningful* where it speaks
general fashion language: a term of generic_language.yaml, which was written without looking at the outfits.
"""

import html
import re
import unicodedata
from collections import Counter
from functools import cache
from importlib.resources import files
from itertools import combinations

import pandas as pd
import yaml

from .splits import near_duplicate_groups, split_811

MIN_TOGETHER = 5  # outfits in which two terms must meet before a query combines them
ABSTRACT = ("mood", "style", "occasion", "season")  # what a request asks for, in the order of wording
DETAIL = ("colour", "pattern", "material")
_FOR = ("{a} {b} outfit", "{a} look for {b}", "{b} outfit in {a} style")
_IN = ("{a} look in {b}", "{b} {a} outfit", "{a} style with {b} pieces")
TEMPLATES = {  # by the kind of b; a is always abstract
    "style": ("{a} {b} outfit", "{a} {b} look", "{a} and {b} style"),
    "occasion": _FOR, "season": _FOR, "colour": _IN, "pattern": _IN, "material": _IN,
    "garment": ("{a} look with {b}", "{a} outfit with {b}", "{b} for {a} style"),
}


def clean(title: str) -> str:
    """Lower-case ASCII letters and digits; accents, apostrophes and user handles are dropped."""
    text = unicodedata.normalize("NFKD", html.unescape(title)).encode("ascii", "ignore").decode().lower()
    return " ".join(re.findall("[a-z0-9]+", re.sub(r"@\S+|'", "", text)))


@cache
def language() -> dict[str, tuple[str, str]]:
    """Every term of general fashion language, its words without plural endings -> (kind, usual spelling).

    Kinds are the facets (colour, ..., style) and "garment"; a thesaurus word has the kind of the facet that
    one of its neighbours belongs to, else "style". The last word of a garment's name is a garment too.
    """
    text = yaml.safe_load((files("r4t_utils") / "generic_language.yaml").read_text())
    known = {_stem(term): (kind, clean(term)) for kind, words in text["facets"].items() for term in words}
    for group in text["thesaurus"]:
        kind = next((known[_stem(term)][0] for term in group if _stem(term) in known), "style")
        for term in group:
            known.setdefault(_stem(term), (kind, clean(term)))
    for name in text["garments"]:
        for term in (name, name.split()[-1]):
            known.setdefault(_stem(term), ("garment", clean(term)))
    return known


def terms(text: str) -> list[str]:
    """The terms of general fashion language in a cleaned text, without plural endings, each once."""
    words = _stem(text).split()
    runs = (" ".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1))
    return list(dict.fromkeys(run for run in runs if run in language()))


def meaningful(title: str, longest: int) -> str | None:
    """The cleaned title where it has 2 to ``longest`` words, no digit and a general term, else None."""
    text = clean(title)
    good = 2 <= len(text.split()) <= longest and not re.search(r"\d", text) and terms(text)
    return text if good else None


def broad_queries(items: pd.DataFrame, collections: pd.DataFrame, n: int, rng) -> pd.DataFrame:
    """At most n unique queries of 2 to 6 words: query, family ("title" or "recombined"), split."""
    titles = sorted({meaningful(title, 6) for title in collections.title} - {None})
    rows = {titles[i]: "title" for i in rng.permutation(len(titles))[:n]}
    if len(rows) < n:
        pairs = _pairs(items, collections)
        pairs = [pairs[i] for i in rng.permutation(len(pairs))]
        for turn in range(3):  # every pair once before any pair twice
            for number, (a, b) in enumerate(pairs):
                template = TEMPLATES[language()[b][0]][(number + turn) % 3]
                query = template.format(a=language()[a][1], b=language()[b][1])
                if len(rows) < n and len(query.split()) <= 6:
                    rows.setdefault(query, "recombined")
    return _split(pd.DataFrame({"query": list(rows), "family": list(rows.values())}), rng)


def outfit_queries(items: pd.DataFrame, collections: pd.DataFrame, n: int, rng) -> pd.DataFrame:
    """At most n unique queries of 2 to 8 words, each for one outfit, whose items are the reference set Y.

    Columns: query, collection (row number of the outfit), items, split. The query is the outfit's own title
    where that is meaningful and not taken, else a description by its items.
    """
    categories, own, rows = items.category.to_numpy(), [terms(clean(title)) for title in items.title], {}
    common = Counter(term for found in own for term in found)
    for i in rng.permutation(len(collections)):
        if len(rows) == n:
            break
        ids = list(collections["items"].iloc[i])
        described = _described([own[j] for j in ids], categories[ids], common)
        for query in (meaningful(collections.title.iloc[i], 8), described):
            if query and query not in rows:
                rows[query] = {"query": query, "collection": int(i), "items": ids}
                break
    return _split(pd.DataFrame(list(rows.values()), columns=["query", "collection", "items"]), rng)


def _described(found: list[list[str]], categories, common: Counter) -> str | None:
    """"striped casual outfit with boots and bags": up to two terms of the items, and up to two categories.

    The terms that most items of the outfit share come first, then those that are rarer in the corpus.
    """
    counts = Counter(term for own in found for term in own)
    best = sorted(counts, key=lambda term: (-counts[term], common[term], term))
    by_kind = {}
    for term in best:
        by_kind.setdefault(language()[term][0], language()[term][1])
    details = [kind for kind in by_kind if kind in DETAIL]
    chosen = [kind for kind in by_kind if kind in ABSTRACT][:1]
    chosen = details[: 2 - len(chosen)] + chosen
    if not chosen:
        return None
    chosen.sort(key=(DETAIL + ABSTRACT).index)
    start = " ".join(by_kind[kind] for kind in chosen) + " outfit"
    names = [name for name in dict.fromkeys(map(clean, categories)) if _is_garment(name)][:2]
    for parts in (names, list(dict.fromkeys(name.split()[-1] for name in names)), names[:1], []):
        query = " with ".join([start] + [" and ".join(parts)] * bool(parts))
        if len(query.split()) <= 8:
            return query
    return None


def _is_garment(name: str) -> bool:
    return language().get(_stem(name).split(" ")[-1], [""])[0] == "garment"


def _pairs(items: pd.DataFrame, collections: pd.DataFrame) -> list[tuple[str, str]]:
    """Terms (a, b) that meet in ``MIN_TOGETHER`` outfits, a abstract and b of another kind."""
    own = [terms(clean(title)) for title in items.title]
    together = Counter()
    for title, members in zip(collections.title, collections["items"], strict=True):
        here = set(terms(clean(title))).union(*(own[i] for i in members))
        together.update(combinations(sorted(here), 2))
    order = {kind: place for place, kind in enumerate(ABSTRACT)}
    found = []
    for pair, count in sorted(together.items()):
        a, b = sorted(pair, key=lambda term: order.get(language()[term][0], len(order)))
        kinds = language()[a][0], language()[b][0]
        apart = kinds[0] != kinds[1] and not {*a.split()} & {*b.split()}
        if count >= MIN_TOGETHER and kinds[0] in order and apart:
            found.append((a, b))
    return found


def _stem(text: str) -> str:
    """Words without plural endings: dresses -> dress, boots -> boot."""
    words = text.replace("-", " ").split()
    return " ".join(re.sub(r"(?<=ss|sh|ch)es$|(?<=[a-z]{3})(?<!s)s$", "", word) for word in words)


def _split(table: pd.DataFrame, rng) -> pd.DataFrame:
    groups = near_duplicate_groups(table["query"].tolist())
    table["split"] = split_811(groups, rng) if len(table) else []
    return table
