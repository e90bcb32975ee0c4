"""The general language that the small policy is warmed up with: the words that it may say beside those of a query.

For outfits it is a list of fashion words (generic_language.yaml: words, no items and no outfits). For any other corpus
it is the corpus's own commonest words beside a few neutral ones (neutral_language.yaml). Either says which words there
are and not which of them go together; that is left to reinforcement learning.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files

import yaml

from r4t_utils.data.text import clean, stem, topic_words

ABSTRACT = ("mood", "style", "occasion", "season")  # the facets that a broad request asks for, in the order of wording
DETAILS = ("colour", "material", "pattern")
COMMON_CONTENTS, COMMON_QUERIES = 300, 150  # words of a corpus's own that its language has
LONGEST = 4  # words of a query that one sub-query keeps where queries are sentences: a fan-out must fit its tokens


@dataclass(frozen=True)
class Language:
    """What generic fan-outs are composed of.

    Attributes:
        name: in words, for readers.
        openings, endings: said around a paraphrase.
        things: what a sub-query for one item names.
        facets: kind -> terms that narrow a request.
        details: the kinds that a sub-query for one item may name.
        abstract: the kinds of which a request has one at most.
        thesaurus: groups of terms that may stand for one another in a paraphrase.
        silent: words of a query that a sub-query need not keep, beside `text.GENERIC`.
        longest: words of a query that one sub-query keeps, at most.
    """

    name: str
    openings: list[str]
    endings: list[str]
    things: list[str]
    facets: dict[str, list[str]]
    details: tuple[str, ...]
    abstract: tuple[str, ...] = ()
    thesaurus: list[list[str]] = field(default_factory=list)
    silent: frozenset[str] = frozenset()
    longest: int = 99

    def kept_words(self, query: str) -> list[str]:
        """The words of a query that carry its topic, or all where none does; quotes and other marks are dropped."""
        words = re.findall("[a-z0-9&'-]*[a-z0-9][a-z0-9&'-]*", query.lower().replace("\u2019", "'"))
        return [w for w in words if topic_words(w) and w not in self.silent] or words or query.split()

    @cached_property
    def vocabulary(self) -> dict[str, tuple[str, str]]:
        """Every term, as ``stem`` gives it -> (kind, usual spelling).

        Kinds are the facets (colour, ..., style) and "garment" for things; a thesaurus word has the kind of the facet
        that one of its neighbours belongs to, else "style". The last word of a thing's name is a thing too.
        """
        known = {stem(term): (kind, clean(term)) for kind, words in self.facets.items() for term in words}
        for group in self.thesaurus:
            kind = next((known[stem(term)][0] for term in group if stem(term) in known), "style")
            for term in group:
                known.setdefault(stem(term), (kind, clean(term)))
        for term in (term for name in self.things for term in (name, name.split()[-1])):
            known.setdefault(stem(term), ("garment", clean(term)))
        return known

    def terms(self, text: str) -> list[str]:
        """The terms of the vocabulary in a text, of one to three words, as ``stem`` gives them, each once."""
        words = stem(text).split()
        runs = (" ".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1))
        return list(dict.fromkeys(run for run in runs if run in self.vocabulary))

    def kinds(self, text: str) -> set[str]:
        """The kinds of term that a text holds."""
        return {self.vocabulary[term][0] for term in self.terms(text)}


@cache
def fashion() -> Language:
    """General fashion language, written without looking at real outfits."""
    text = yaml.safe_load((files("r4t_utils.data") / "generic_language.yaml").read_text())
    around = {key: text[key] for key in ("openings", "endings", "thesaurus", "facets")}
    return Language("general fashion language", **around, things=text["garments"], details=DETAILS, abstract=ABSTRACT)


def own_words(queries: Iterable[str], contents: Iterable[str]) -> Language:
    """The language of a corpus that has no list: the 300 words that most contents have and the 150 that most training
    queries have, less function words, numbers and words of one or two letters, beside neutral openings and endings.

    queries must be training queries alone. Words are taken one by one: what goes with what is not in it. Raises
    ValueError where the contents have no such word.
    """
    text = yaml.safe_load((files("r4t_utils.data") / "neutral_language.yaml").read_text())
    silent = frozenset(" ".join(text["function_words"]).split())
    common = {
        "contents": _common(contents, silent, COMMON_CONTENTS),
        "queries": _common(queries, silent, COMMON_QUERIES),
    }
    if not common["contents"]:
        raise ValueError("no content has a word of 3 letters or more besides function words; give contents in words")
    common["queries"] = common["queries"] or common["contents"]
    facets = {**common, "aspects": text["aspects"]}
    details = ("contents", "queries")
    around = {"openings": text["openings"], "endings": text["endings"]}
    return Language("the corpus's own words", **around, things=common["contents"], facets=facets, details=details,
                    silent=silent, longest=LONGEST)  # fmt: skip


def _common(texts: Iterable[str], silent: frozenset[str], n: int) -> list[str]:
    """The n words that most texts have, one spelling per stem; the earlier in the alphabet of equals."""
    spelt: dict[str, Counter] = {}
    for text in texts:
        for word in dict.fromkeys(clean(text).split()):
            if len(word) > 2 and word not in silent and topic_words(word) and not any(map(str.isdigit, word)):
                spelt.setdefault(stem(word), Counter())[word] += 1
    often = sorted(spelt, key=lambda s: (-spelt[s].total(), s))[:n]
    return [min(spelt[s], key=lambda word: (-spelt[s][word], word)) for s in often]
