"""Every row answers with k different results by one rule; what each asks, and what a broken fan-out is replaced by."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from searches import CONTENTS, FANOUTS, QUERIES, RNG, D, Encoder, M, N, search

from r4t_utils.evaluation import methods, rerankers
from r4t_utils.evaluation.methods import Answer
from r4t_utils.policy.prompts import Fanout
from r4t_utils.policy.synthesis import Pairs
from r4t_utils.space.merging import find

TITLES = pd.DataFrame({"title": ["100 101 102 103", "100 101 102 103 104", "100 999"]})
PAIRS = Pairs(CONTENTS[[4, 8, 90]], CONTENTS[RNG.integers(0, N, (3, 2, M + 1))], np.array([2, 1, 2], np.int32))


CORPUS = SimpleNamespace(items=TITLES)
ROWS = {
    "no fan-out": methods.no_fanout,
    "written": lambda s, q: methods.written(s, q, FANOUTS),
    "fused": lambda s, q: methods.fused(s, q, [[f, FANOUTS[0]] for f in FANOUTS]),
    "prefixed": lambda s, q: methods.prefixed(s, q, FANOUTS),
    "random words": lambda s, q: methods.random_words(s, q, CORPUS, 0),
    "noise": lambda s, q: methods.noise(s, q, 0.5, 0),
    "nearest training": lambda s, q: methods.nearest_training(s, q, PAIRS, 1),
    "xquad": lambda s, q: rerankers.xquad(s, q, FANOUTS, 0.5),
    **{name: lambda s, q, name=name: rerankers.reranked(s, q, name, 0.3) for name in rerankers.STRATEGIES},
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("k", [5, 70, N])
@pytest.mark.parametrize("rule, weight", [("fill", 0.0), ("round_robin", 0.5), ("fusion", 0.25)])
def test_every_row_answers_with_k_different_results(name, k, rule, weight):
    answer = ROWS[name](search(k, rule, weight), QUERIES)
    assert answer.ids.shape == (4, k) and all(len(set(row)) == k for row in answer.ids.tolist())
    if answer.directions is not None:
        n, m, d = answer.directions.shape
        assert (n, d) == (4, D) and np.allclose(np.linalg.norm(answer.directions, axis=-1), 1, atol=1e-5)
        if answer.texts is not None:
            flat = Encoder().text([text for row in answer.texts for text in row])
            assert np.allclose(flat.reshape(n, m, d), answer.directions)
        if name not in ("no fan-out", "xquad"):
            s = search(k, rule, weight)
            want = find(s.index, answer.directions, Encoder().text(QUERIES), k, s.how)
            assert (answer.ids == want).all()


def test_without_a_fan_out_the_query_finds_its_nearest_contents():
    answer = methods.no_fanout(search(), QUERIES)
    assert answer.ids.tolist() == [np.argsort(-CONTENTS @ CONTENTS[int(q)])[:5].tolist() for q in QUERIES]
    assert answer.texts == [[q] for q in QUERIES] and answer.directions.shape == (4, 1, D)


def test_missing_sub_queries_are_the_query_itself():
    answer = methods.written(search(), QUERIES, FANOUTS)
    assert answer.texts == [["7", "30", "2"], ["9", "1", "2"], ["3", "15", "15"], ["16"] * 3]


def test_fused_runs_and_prefixed_sub_queries_say_what_they_should():
    both = methods.fused(search(), QUERIES, [[f, FANOUTS[0]] for f in FANOUTS])
    assert both.texts[1] == ["9", "1", "2", "7", "30", "2"] and both.directions.shape == (4, 2 * M, D)
    assert methods.prefixed(search(), QUERIES, FANOUTS).texts[0] == ["4 7", "4 30", "4 2"]


def test_best_of_n_in_wscr_is_by_the_training_reward_which_pays_no_stutter():
    class Counts:
        def score(self, queries, texts, references, stutters):
            paid = [len(said) - sum(stuttered) for said, stuttered in zip(texts, stutters, strict=True)]
            return np.array(paid, float), {}

    plain, stuttering = Fanout(["red hat", "bag"], ""), Fanout(["red", "bag", "boots"], "", (True, True, False))
    broken = Fanout(["red", "hat", "bag"], "fewer than 4 queries", (False, False, False))
    chosen = methods.best_of_n(Counts(), ["a look"], [[stuttering, broken, plain]], [{1, 2}])
    assert chosen == [plain]


def test_random_words_are_different_words_that_the_corpus_says_twice():
    answer = methods.random_words(search(), QUERIES, CORPUS, 0)
    for query, row in zip(QUERIES, answer.texts):
        words = [re.fullmatch(rf"{query} (\d+)", text)[1] for text in row]
        assert len(set(words)) == M and set(words) <= {"100", "101", "102", "103"}
    assert answer.texts == methods.random_words(search(), QUERIES, CORPUS, 0).texts
    assert answer.texts != methods.random_words(search(), QUERIES, CORPUS, 1).texts


def test_noise_of_spread_0_is_the_query_and_more_leads_away():
    z_q = Encoder().text(QUERIES)[:, None]
    cosines = [(methods.noise(search(), QUERIES, s, 0).directions * z_q).sum(-1).mean() for s in (0, 0.3, 1, 30)]
    assert cosines[0] == pytest.approx(1, abs=1e-5) and cosines == sorted(cosines, reverse=True)
    assert cosines[2] == pytest.approx(1 / np.sqrt(2), abs=0.15) and abs(cosines[3]) < 0.3  # as long as z_q itself
    with pytest.raises(ValueError, match="spread=-1 must be a number of 0 or more; choose"):
        methods.noise(search(), QUERIES, -1, 0)


def test_the_nearest_training_query_gives_its_stored_set():
    for run in range(3):
        answer = methods.nearest_training(search(), ["4", "8", "90"], PAIRS, run)
        want = [PAIRS.targets[i, run % PAIRS.counts[i], :M] for i in range(3)]
        assert np.array_equal(answer.directions, want)


class Reward:
    def score(self, asked, texts, wanted, stutters):
        self.asked, self.wanted = asked, wanted
        return np.array([float(row[0]) if row else -1.0 for row in texts]), {}


def test_best_of_n_is_drawn_as_often_as_the_others():
    values = [[3, 1, 2, 5, 5, 0], [0, 9, 1, 2, 7, 8]]
    samples = [[Fanout([str(v)], "") for v in group] for group in values]
    reward = Reward()
    chosen = methods.best_of_runs(reward, ["a", "b"], samples, 2, ["A", "B"])
    assert [[f.queries[0] for f in run] for run in chosen] == [["3", "9"], ["5", "8"]]
    assert reward.asked == ["a"] * 6 + ["b"] * 6 and reward.wanted == ["A"] * 6 + ["B"] * 6
    assert methods.best_of_n(reward, ["a", "b"], samples) == [samples[0][3], samples[1][1]]
    broken = [[Fanout(["9"], "fewer than 3 queries"), samples[0][5]]]
    assert methods.best_of_n(reward, ["a"], broken) == [samples[0][5]]
    with pytest.raises(ValueError, match=r"6 samples per query cannot be shared by runs=4; draw runs \* N"):
        methods.best_of_runs(reward, ["a", "b"], samples, 4)


def test_groundedness_is_the_nearness_of_the_directions():
    near = methods.groundedness(search(), methods.written(search(), QUERIES, FANOUTS))
    assert np.allclose(near, 1, atol=1e-3)  # the directions are contents
    answer = methods.noise(search(), QUERIES, 0.7, 0)
    want = 1 - np.linalg.norm(answer.directions[:, :, None] - CONTENTS, axis=-1).min(2).mean(1) / 2
    assert methods.groundedness(search(), answer) == pytest.approx(want, abs=1e-3)
    top = np.linalg.norm(answer.directions[:, :, None] - CONTENTS, axis=-1).argmin(2)
    assert (methods.own_top(search(), answer) == top).all()
    for of in (methods.groundedness, methods.own_top):
        with pytest.raises(ValueError, match="has no directions.*leave its score empty"):
            of(search(), Answer(answer.ids, None, None))


def test_choose_takes_the_first_of_the_best():
    assert methods.choose((1, 2, 3, 4), {1: 0.1, 2: 0.7, 3: 0.7, 4: 0}.get) == (2, {1: 0.1, 2: 0.7, 3: 0.7, 4: 0})
    for grid, score in (((), float), ((1, 2), lambda x: np.nan)):
        with pytest.raises(ValueError, match="a choice needs a grid of values with finite scores"):
            methods.choose(grid, score)
