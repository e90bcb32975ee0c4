"""The search in text: it raises the reward that training pays, keeps to its words and to its budget."""

import numpy as np
import pytest
from tiny import WordEncoder

from r4t_utils.evaluation.maximisers import equation_1, exact
from r4t_utils.evaluation.methods import best_of_n
from r4t_utils.evaluation.text_search import _changes, search_texts, words_of
from r4t_utils.policy.prompts import MAX_WORDS, Fanout
from r4t_utils.policy.set_reward import SetReward
from r4t_utils.run import profiles
from r4t_utils.space.index import Index

K = 3
WORDS = "red blue green silk wool denim coat dress boots summer winter party".split()
ENCODER = WordEncoder()


def setting(seed=0, more=""):
    rng = np.random.default_rng(seed)
    titles = [" ".join(rng.choice(WORDS, 3, replace=False)) for _ in range(60)]
    reward = SetReward("oar", ENCODER, Index(ENCODER.text(titles)), profiles.load("smoke", f"folm.k={K} {more}").rl, K)
    queries = ["party coat", "summer dress"]
    draw = [[[f"{q} {w}" for w in rng.choice(WORDS, K, replace=False)] for _ in range(4)] for q in queries]
    return reward, queries, [[Fanout(texts, "") for texts in group] for group in draw]


def test_it_beats_the_best_sample_by_the_reward_itself():
    reward, queries, samples = setting()
    best = reward.score(queries, [f.queries for f in best_of_n(reward, queries, samples)])[0]
    found = search_texts(reward, queries, samples, WORDS, 60, 0)
    gain = reward.score(queries, found.texts)[0] - best
    assert (gain > 0).all() and gain.mean() > 0.05


def test_it_keeps_to_its_words_its_length_and_its_budget():
    reward, queries, samples = setting(1)
    found = search_texts(reward, queries, samples, WORDS, 60, 0)
    assert all(len(set(texts)) == K for texts in found.texts)
    assert {w for texts in found.texts for text in texts for w in text.split()} <= {*WORDS}
    assert all(len(text.split()) <= MAX_WORDS for texts in found.texts for text in texts)
    assert 0 < found.encoded <= 60 * len(queries)


def test_the_same_seed_finds_the_same_texts():
    reward, queries, samples = setting(2)
    assert search_texts(reward, queries, samples, WORDS, 30, 5) == search_texts(reward, queries, samples, WORDS, 30, 5)


def test_a_query_without_one_readable_sample_starts_from_the_words():
    reward, queries, samples = setting(3)
    found = search_texts(reward, queries, [samples[0], [Fanout([], "not JSON")]], WORDS, 30, 0)
    assert len(set(found.texts[1])) == K and {w for text in found.texts[1] for w in text.split()} <= {*WORDS}
    with pytest.raises(ValueError, match="2 candidates make no set of k=3"):
        search_texts(reward, queries, [[], []], WORDS[:2], 30, 0)


def test_a_change_is_one_word_more_less_or_other():
    got = {" ".join(text) for text in _changes(["red", "coat"], ["silk", "red"], 3)}
    assert got == {"silk coat", "red silk", "red coat silk", "silk red coat", "coat", "red"}
    assert {" ".join(text) for text in _changes(["red"], ["silk"], 1)} == {"silk"}


def test_the_words_are_those_of_the_samples_and_queries_the_commonest_first():
    samples = [[Fanout(["red coat", "red dress"], ""), Fanout([], "not JSON")]]
    assert words_of(samples, ["coat party", "red &"]) == ["red", "coat", "dress", "party"]


@pytest.mark.parametrize("alignment", ["text", "found"])
def test_the_pool_of_texts_is_priced_as_training_prices_them(alignment):
    """With a few candidates, the best set of all by Eq. 1 is the best by `SetReward.score` too."""
    from itertools import combinations

    from r4t_utils.evaluation.text_search import _pool

    reward, queries, samples = setting(3, f"rl.alignment={alignment}")
    texts = sorted({sub for f in samples[0] for sub in f.queries})[:7]
    pool = _pool(reward, ENCODER.text(texts), ENCODER.text(queries[:1])[0])
    best = exact(pool, K, equation_1(reward.settings))
    sets = [list(names) for names in combinations(texts, K)]
    assert best.total == pytest.approx(reward.score(queries[:1] * len(sets), sets)[0].max(), abs=1e-5)
