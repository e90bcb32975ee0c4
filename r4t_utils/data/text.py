"""General fashion language (generic_language.yaml: words, no items and no outfits), and its use in a text."""

import html
import re
import unicodedata
from functools import cache
from importlib.resources import files

import yaml

ABSTRACT = ("mood", "style", "occasion", "season")  # the facets that a broad request asks for, in the order of wording


@cache
def language() -> dict:
    """The file as it is: openings, endings, garments, facets (kind -> terms) and a thesaurus (groups of synonyms)."""
    return yaml.safe_load((files("r4t_utils.data") / "generic_language.yaml").read_text())


def clean(title: str) -> str:
    """Lower-case ASCII letters and digits; accents, apostrophes and user handles are dropped."""
    text = unicodedata.normalize("NFKD", html.unescape(title)).encode("ascii", "ignore").decode().lower()
    return " ".join(re.findall("[a-z0-9]+", re.sub(r"@\S+|'", "", text)))


# Singular words in -as and -is, and plurals, that the rules of ``stem`` would get wrong
IRREGULAR = {"canvas": "canvas", "iris": "iris", "scarves": "scarf", "tutus": "tutu", "ecrus": "ecru"}


def stem(text: str) -> str:
    """The cleaned text with one form for the singular and the plural of a word.

    boots, boot -> boot; dresses, dress -> dress; blouses, blouse -> blous; beanies, beanie -> beany; campus -> campus.
    """
    return " ".join(map(_singular, clean(text).split()))


def _singular(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    word = re.sub("(?<=[a-z]{3})(?<![su])s$", "", word)
    word = re.sub("(?<=..[sxz]|.[cs]h)e$", "", word)  # of the ending -es, or the word's own
    return re.sub("(?<=..)ie$", "y", word)


@cache
def vocabulary() -> dict[str, tuple[str, str]]:
    """Every term of general fashion language, as ``stem`` gives it -> (kind, usual spelling).

    Kinds are the facets (colour, ..., style) and "garment"; a thesaurus word has the kind of the facet that
    one of its neighbours belongs to, else "style". The last word of a garment's name is a garment too.
    """
    text = language()
    known = {stem(term): (kind, clean(term)) for kind, words in text["facets"].items() for term in words}
    for group in text["thesaurus"]:
        kind = next((known[stem(term)][0] for term in group if stem(term) in known), "style")
        for term in group:
            known.setdefault(stem(term), (kind, clean(term)))
    for term in (term for name in text["garments"] for term in (name, name.split()[-1])):
        known.setdefault(stem(term), ("garment", clean(term)))
    return known


def terms(text: str) -> list[str]:
    """The terms of general fashion language in a text, as ``stem`` gives them, each once."""
    words = stem(text).split()
    runs = (" ".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1))
    return list(dict.fromkeys(run for run in runs if run in vocabulary()))


def kinds(text: str) -> set[str]:
    """The kinds of term that a text holds."""
    return {vocabulary()[term][0] for term in terms(text)}


# Words that carry no topic, with their stems: two queries that differ in these alone ask for the same thing.
GENERIC = frozenset(
    "a an and for in of on the to with my i is what wear look looks style styles outfit outfits "
    "fashion ensemble idea ideas vibe vibes energy feeling set".split()
)


def topic_words(query: str) -> frozenset[str]:
    """The stems of a query's words, without generic words."""
    return frozenset(stem(query).split()) - GENERIC
