"""A tiny policy and a toy encoder for the tests of the language model and of its training."""

import json
import zlib

import numpy as np
from hypothesis import strategies as st

from r4t_utils.data.language import fashion
from r4t_utils.policy import folm, small
from r4t_utils.policy.prompts import MAX_WORDS, parse
from r4t_utils.run import profiles

K = 3
QUERIES = {
    "oar": ["boho beach look", "cosy winter vibes", "retro city outfit", "bold party style"],
    "wscr": ["boho beach outfit", "smart office look with blazer"],
}
TINY = (
    "folm.hidden=32 folm.layers=1 folm.heads=2 folm.vocab_size=256 folm.warmup_fanouts=40 "
    f"folm.warmup_copies=20 folm.warmup_epochs=1 folm.k={K} folm.max_prompt_tokens=32 folm.max_new_tokens=16 "
    "rl.group=4 rl.prompts_per_step=2 rl.micro_batch=8"
)


def settings(overrides: str = ""):
    """The smoke profile with a tiny policy, and ``overrides``, which go before those of ``TINY``."""
    given = dict(pair.split("=") for pair in f"{TINY} {overrides}".split())
    return profiles.load("smoke", " ".join(f"{name}={value}" for name, value in given.items()))


def policy(overrides: str = "", seed: int = 0) -> folm.Folm:
    """An untrained Llama of 1 layer and width 32 with its own tokenizer."""
    return small.small_policy(QUERIES, settings(overrides).folm, seed, fashion())[0]


def block(value) -> str:
    """A completion: a text, or a value as JSON, between the tags."""
    return f"<queries>{value if isinstance(value, str) else json.dumps(value)}</queries>"


def read(text: str, k: int = 2) -> tuple:
    """A parsed completion as (queries, fault, repairs)."""
    found = parse(text, k)
    return found.queries, found.fault, found.repairs


def sub_queries():
    """Strategy: well-formed sub-queries that the small policy can write, of words that differ in more than signs."""
    word = st.text("abcdefghijklmnopqrstuvwxyz0123456789-&'", min_size=1, max_size=8)
    words = st.lists(word, min_size=1, max_size=MAX_WORDS, unique_by=lambda w: w.translate(dict.fromkeys(b"-&'")) or w)
    return words.map(" ".join).filter(lambda query: any(map(str.isalnum, query)))


class Toy:
    """Stands in for SetReward: a rule that scores one completion at a time, at first its share of the letter e."""

    __name__ = "toy"

    def __init__(self, rule=lambda text: text.count("e") / max(1, len(text))):
        self.rule, self.rows = rule, []

    def __call__(self, completions, **_):
        values = [self.rule(text) for text in completions]
        self.rows.append({"reward": float(np.mean(values)), "reward_std": float(np.std(values)), "well_formed": 0.0})
        return values


class WordEncoder:
    """e_text that adds up one fixed random direction per word: texts that share words are close."""

    def __init__(self, d: int = 24):
        self.d = d

    def text(self, texts, label: str = "") -> np.ndarray:
        sums = np.array([sum(map(self._word, text.split()), np.zeros(self.d)) for text in texts]).reshape(-1, self.d)
        return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)

    def forget(self) -> None:
        pass

    def _word(self, word: str) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(self.d)
