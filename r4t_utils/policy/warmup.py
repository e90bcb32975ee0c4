"""The small policy's "instruction tuning": generic fan-outs that teach it the task's form and nothing of the database.

A zero-shot language model that is asked to fan out mostly paraphrases, sometimes adds a facet, and now and then leaves
the topic (the paper's Figures 3 and 6 show as much), and one answer tends to keep to one idea: ten paraphrases, or ten
occasions. These fan-outs do the same, from the corpus's general language alone (`Corpus.language`: a list of fashion
words, or the corpus's own commonest words one by one): each draws a *habit*, the shares of the moves it makes. The mean
shares below are part of the zero-shot baseline; they were set before any reinforcement learning. Without habits every
fan-out is the same mixture, the G outputs of one query earn nearly equal rewards, and there is nothing to choose
between.
"""

import numpy as np

from r4t_utils.data.language import Language

# Mean shares of an OAR fan-out's moves; "drift" keeps one topic word among unrelated facets. Facets share theirs.
PARAPHRASE, FACETS, THING, DRIFT = 0.4, 0.35, 0.1, 0.15


def fanout(task: str, query: str, k: int, rng: np.random.Generator, language: Language) -> list[str]:
    """k generic sub-queries of 2 to about 7 words for a broad query; task is "oar" or "wscr"."""
    one = {"oar": _collection_queries, "wscr": _item_queries}[task](language.kept_words(query), rng, language)
    queries: list[str] = []
    while len(queries) < k:
        candidate = one()
        if candidate not in queries or rng.random() < 0.05:
            queries.append(candidate)
    return queries


def _pick(values, rng):
    return values[rng.integers(len(values))]


def _some(words: list[str], rng, language: Language) -> list[str]:
    """The words, or as many of them as one sub-query keeps, in their order."""
    if len(words) <= language.longest:
        return words
    return [words[i] for i in sorted(rng.choice(len(words), language.longest, replace=False))]


def _collection_queries(words: list[str], rng, language: Language):
    named = language.kinds(" ".join(words)) if language.abstract else ()
    moves = {"paraphrase": PARAPHRASE, **{facet: round(FACETS / len(language.facets), 4) for facet in language.facets}}
    moves |= {"thing": THING, "drift": DRIFT}
    # A request for a style, an occasion, a season or a mood is not given a second one.
    shares = {move: share for move, share in moves.items() if move not in language.abstract or move not in named}
    mean = np.array(list(shares.values()))
    habit = rng.dirichlet(1.2 * mean / mean.sum())  # concentrated: one or two moves make most of a fan-out
    first = rng.random() < 0.6

    def facet(kind: str) -> str:
        return _pick(language.facets[kind], rng)

    def one() -> str:
        kind = list(shares)[rng.choice(len(shares), p=habit)]
        if kind == "drift":
            return " ".join([facet(_pick([*language.facets], rng)), _pick(words, rng), _pick(language.things, rng)])
        kept = _some(words, rng, language)
        if kind == "paraphrase":
            return _paraphrase(kept, rng, language)
        if kind == "thing":
            return " ".join([*kept, "with", _pick(language.things, rng)])
        return " ".join([facet(kind), *kept] if first else [*kept, facet(kind)])

    return one


def _item_queries(words: list[str], rng, language: Language):
    words = _some(words, rng, language)
    kept = [[], [_pick(words, rng)], words][rng.choice(3, p=(0.3, 0.4, 0.3))]
    share = {kind: rng.beta(0.6, 0.9) for kind in ("topic", *language.details)}
    palette = {kind: rng.permutation(language.facets[kind])[: rng.integers(1, 12)] for kind in language.details}

    def one() -> str:
        topic = kept if rng.random() < share["topic"] else []
        parts = [_pick(values, rng) for kind, values in palette.items() if rng.random() < share[kind]]
        return " ".join([*topic, *parts[: 2 if len(topic) > 2 else 3], _pick(language.things, rng)])

    return one


def _paraphrase(words: list[str], rng, language: Language) -> str:
    """The words with at most one of them changed for a synonym, and something said around them."""
    parts = list(words)
    if rng.random() < 0.4:
        i = rng.integers(len(parts))
        parts[i] = _pick(next((group for group in language.thesaurus if parts[i] in group), [parts[i]]), rng)
    if rng.random() < 0.3:
        parts.insert(0, _pick(language.openings, rng))
    return " ".join([*parts, _pick(language.endings, rng)])
