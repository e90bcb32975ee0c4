"""The best sub-queries for the reward that a search in text finds, over the words of the policy."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r4t_utils.evaluation.maximisers import Choice, Pool, equation_1, maximise, promise
from r4t_utils.policy.prompts import MAX_WORDS, Fanout, matching_key
from r4t_utils.policy.set_reward import SetReward

TRIED = 64  # words tried in each place of a sub-query, per round
PER_SLOT = 3  # new texts encoded per sub-query and round, those that the proxy puts first
RIDGE = 1e-2  # of the proxy


class TextSearch(NamedTuple):
    """The best sub-queries of each query (n lists of k), and how many new texts were encoded for all of them."""

    texts: list[list[str]]
    encoded: int


def words_of(samples: Sequence[Sequence[Fanout]], queries: Sequence[str]) -> list[str]:
    """The policy's words: those that it wrote in the samples, and those of (training) queries, the commonest first."""
    texts = [sub for group in samples for fanout in group for sub in fanout.queries]
    counts = Counter(word for text in (*texts, *queries) for word in text.split() if matching_key(word))
    return sorted(counts, key=lambda word: (-counts[word], word))


class _Candidates:
    """The texts of one query that were encoded, as a `Pool` that grows."""

    def __init__(self, z_q: np.ndarray, d: int):
        self.z_q, self.texts, self.known = z_q, [], set()
        self.vectors, self.pool = np.zeros((0, d), np.float32), Pool(np.zeros((0, d), np.float32), *np.zeros((2, 0)))


def search_texts(
    reward: SetReward, queries: list[str], samples: list[list[Fanout]], words: list[str], budget: int, seed: int
) -> TextSearch:
    """Sub-queries for each query that raise the reward of Eq. 1, found by changing one word at a time.

    It starts from the best set among all sampled sub-queries; where those are fewer than k, the first words of `words`
    join them. A round changes, adds or drops one word of each sub-query in every place, with `TRIED` words drawn at
    random; a linear proxy (the mean of word vectors, fitted to what is encoded already) guesses where each new text
    lies; the best `PER_SLOT` of each sub-query are encoded and join the candidates, from which the set is chosen anew
    by exchanges. It ends after `budget` new texts per query have been encoded. Raises ValueError for a query whose
    samples and the words hold fewer than k different texts.
    """
    terms, k, rng = equation_1(reward.settings), reward.k, np.random.default_rng(seed)
    z_q = reward.encoder.text(queries)
    states = [_Candidates(z, z_q.shape[1]) for z in z_q]
    texts = [[sub for f in group if not f.fault for sub in f.queries] for group in samples]
    few = [len({*map(matching_key, of_query)}) < k for of_query in texts]
    _encode(reward, states, [of_query + words[: 2 * k] * more for of_query, more in zip(texts, few)])
    sets = [maximise(state.pool, k, terms) for state in states]
    longest = min(MAX_WORDS, max(len(text.split()) for state in states for text in state.texts))
    words, spent = list(dict.fromkeys(words)), 0
    for _ in range(max(1, budget // (k * PER_SLOT))):
        weights = _word_vectors(states, words)
        new = [_proposals(reward, s, c, words, weights, longest, rng) for s, c in zip(states, sets)]
        spent += _encode(reward, states, new)
        sets = [maximise(state.pool, k, terms, start=choice.chosen) for state, choice in zip(states, sets)]
    return TextSearch([[state.texts[i] for i in choice.chosen] for state, choice in zip(states, sets)], spent)


def _encode(reward: SetReward, states: list[_Candidates], new: list[list[str]]) -> int:
    """Encode the texts that a query does not have yet, all queries at once; returns how many."""
    fresh = []
    for state, texts in zip(states, new):
        keys = {matching_key(text): text for text in reversed(texts) if matching_key(text) not in state.known}
        state.known |= keys.keys()
        fresh.append(list(reversed(keys.values())))
    vectors = reward.encoder.text([text for texts in fresh for text in texts])
    for state, texts, rows in zip(states, fresh, np.split(vectors, np.cumsum([len(t) for t in fresh])[:-1])):
        pool = _pool(reward, rows, state.z_q)
        state.texts, state.vectors = state.texts + texts, np.concatenate([state.vectors, rows])
        state.pool = Pool(*(np.concatenate(parts) for parts in zip(state.pool, pool)))
    return sum(map(len, fresh))


def _pool(reward: SetReward, rows: np.ndarray, z_q: np.ndarray) -> Pool:
    """Texts at `rows` (N, d) as candidates."""
    if not len(rows):
        return Pool(rows, *np.zeros((2, 0)))
    ids, distance = reward.index.search(rows, 1)
    found = reward.index.vectors[ids[:, 0]]
    aligned = found if reward.settings.alignment == "found" else rows
    return Pool(found, 1 - distance[:, 0].astype(np.float64), (aligned @ z_q).astype(np.float64))


def _word_vectors(states: list[_Candidates], words: list[str]) -> np.ndarray:
    """One vector per word, (V, d): ridge regression from the mean of a text's words to its embedding."""
    at = {word: i for i, word in enumerate(words)}
    texts = [text for state in states for text in state.texts]
    counts = np.zeros((len(texts), len(words)), np.float32)
    for row, text in zip(counts, texts):
        parts = text.split()
        for word in parts:
            if word in at:
                row[at[word]] += 1 / len(parts)
    target = np.concatenate([state.vectors for state in states])
    gram = counts.T @ counts + RIDGE * np.eye(len(words), dtype=np.float32)
    return np.linalg.solve(gram, counts.T @ target)


def _proposals(
    reward: SetReward,
    state: _Candidates,
    choice: Choice,
    words: list[str],
    weights: np.ndarray,
    longest: int,
    rng: np.random.Generator,
) -> list[str]:
    """The most promising new texts, `PER_SLOT` for each sub-query of the set."""
    terms, at = equation_1(reward.settings), {word: i for i, word in enumerate(words)}
    drawn = rng.permutation(len(words))[:TRIED].tolist()
    slots, texts, guessed, encoded = [], [], [], set(state.texts)
    for slot, i in enumerate(choice.chosen):
        parts = state.texts[i].split()
        moved = _changes(parts, [words[j] for j in drawn], longest)
        moved = [text for text in moved if " ".join(text) not in encoded]
        old = _mean(parts, at, weights)
        means = np.array([_mean(text, at, weights) for text in moved]).reshape(-1, weights.shape[1])
        guessed.append(state.vectors[i] + means - old)
        texts += [" ".join(text) for text in moved]
        slots += [slot] * len(moved)
    rows = np.concatenate(guessed).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-6)
    pool, slots, best = _pool(reward, rows, state.z_q), np.array(slots), []
    for slot in range(len(choice.chosen)):
        own = np.flatnonzero(slots == slot)
        rest = choice.chosen[:slot] + choice.chosen[slot + 1 :]
        offers = promise(state.pool, rest, terms, Pool(*(part[own] for part in pool)))
        best += [texts[own[j]] for j in np.argsort(-offers, kind="stable")[:PER_SLOT]]
    return best


def _changes(parts: list[str], words: list[str], longest: int) -> list[list[str]]:
    """Every text that one word more, less or other makes of a text, no word twice."""
    places = range(len(parts))
    new = [word for word in words if word not in parts]
    changed = [[*parts[:i], word, *parts[i + 1 :]] for i in places for word in new]
    added = [[*at, word] if end else [word, *at] for end in (0, 1) for at in [parts] for word in new]
    dropped = [parts[:i] + parts[i + 1 :] for i in places] if len(parts) > 1 else []
    return changed + (added if len(parts) < longest else []) + dropped


def _mean(parts: list[str], at: dict[str, int], weights: np.ndarray) -> np.ndarray:
    rows = [at[word] for word in parts if word in at]
    return weights[rows].sum(0) / len(parts)
