"""Words of a text: cleaned, with one form for singular and plural, and less those that carry no topic."""

import html
import re
import unicodedata


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


# Words that carry no topic, with their stems: two queries that differ in these alone ask for the same thing.
GENERIC = frozenset(
    "a an and for in of on the to with my i is what wear look looks style styles outfit outfits "
    "fashion ensemble idea ideas vibe vibes energy feeling set".split()
)


def topic_words(query: str) -> frozenset[str]:
    """The stems of a query's words, without generic words."""
    return frozenset(stem(query).split()) - GENERIC
