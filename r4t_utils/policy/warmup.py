"""The small policy's "instruction tuning": generic fan-outs that teach it the task's form and nothing of the database.

A zero-shot language model that is asked to fan out mostly paraphrases, sometimes adds a facet, and now and then leaves
the topic (the paper's Figures 3 and 6 show as much), and one answer tends to keep to one idea: ten paraphrases, or ten
occasions. These fan-outs do the same, from general fashion language alone: each draws a *habit*, the shares of the
moves it makes. The mean shares below are part of the zero-shot baseline; they were set before any reinforcement
learning. Without habits every fan-out is the same mixture, the G outputs of one query earn nearly equal rewards, and
there is nothing to choose between.
"""

import numpy as np

from r4t_utils.data.text import ABSTRACT, kinds, language, topic_words

DETAILS = ("colour", "material", "pattern")
FACETS = (*DETAILS, "season", "mood", "occasion", "style")
# Mean shares of an OAR fan-out's moves; "drift" keeps one topic word among unrelated facets.
MOVES = {"paraphrase": 0.4, **{facet: 0.05 for facet in FACETS}, "garment": 0.1, "drift": 0.15}


def fanout(task: str, query: str, k: int, rng: np.random.Generator) -> list[str]:
    """k generic sub-queries of 2 to about 7 words for a broad query; task is "oar" or "wscr"."""
    one = {"oar": _collection_queries, "wscr": _item_queries}[task](kept_words(query), rng)
    queries: list[str] = []
    while len(queries) < k:
        candidate = one()
        if candidate not in queries or rng.random() < 0.05:
            queries.append(candidate)
    return queries


def kept_words(query: str) -> list[str]:
    """The words of a query that a fan-out keeps: those that carry its topic, or all where none does."""
    return [word for word in query.split() if topic_words(word)] or query.split()


def _pick(values, rng):
    return values[rng.integers(len(values))]


def _facet(kind: str, rng) -> str:
    return _pick(language()["facets"][kind], rng)


def _collection_queries(words: list[str], rng):
    named = kinds(" ".join(words))
    # A request for a style, an occasion, a season or a mood is not given a second one.
    shares = {move: share for move, share in MOVES.items() if move not in ABSTRACT or move not in named}
    mean = np.array(list(shares.values()))
    habit = rng.dirichlet(1.2 * mean / mean.sum())  # concentrated: one or two moves make most of a fan-out
    first = rng.random() < 0.6

    def one() -> str:
        kind = list(shares)[rng.choice(len(shares), p=habit)]
        if kind == "paraphrase":
            return _paraphrase(words, rng)
        if kind == "drift":
            return " ".join([_facet(_pick(FACETS, rng), rng), _pick(words, rng), _pick(language()["garments"], rng)])
        if kind == "garment":
            return " ".join([*words, "with", _pick(language()["garments"], rng)])
        return " ".join([_facet(kind, rng), *words] if first else [*words, _facet(kind, rng)])

    return one


def _item_queries(words: list[str], rng):
    kept = [[], [_pick(words, rng)], words][rng.choice(3, p=(0.3, 0.4, 0.3))]
    share = {kind: rng.beta(0.6, 0.9) for kind in ("topic", *DETAILS)}
    palette = {kind: rng.permutation(language()["facets"][kind])[: rng.integers(1, 12)] for kind in DETAILS}

    def one() -> str:
        topic = kept if rng.random() < share["topic"] else []
        parts = [_pick(values, rng) for kind, values in palette.items() if rng.random() < share[kind]]
        return " ".join([*topic, *parts[: 2 if len(topic) > 2 else 3], _pick(language()["garments"], rng)])

    return one


def _paraphrase(words: list[str], rng) -> str:
    """The words with at most one of them changed for a synonym, and something said around them."""
    parts = list(words)
    if rng.random() < 0.4:
        i = rng.integers(len(parts))
        parts[i] = _pick(next((group for group in language()["thesaurus"] if parts[i] in group), [parts[i]]), rng)
    if rng.random() < 0.3:
        parts.insert(0, _pick(language()["openings"], rng))
    return " ".join([*parts, _pick(language()["endings"], rng)])
