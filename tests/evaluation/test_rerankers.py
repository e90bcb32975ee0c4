"""Re-rankers: relevance alone is the plain ranking, and each chooses as its formula says."""

import numpy as np
import pytest
from searches import CONTENTS, FANOUTS, QUERIES, Encoder, search

from r4t_utils.evaluation import methods, rerankers


@pytest.mark.parametrize("name", [*rerankers.STRATEGIES, "xquad"])
def test_relevance_alone_is_the_plain_ranking(name):
    run = rerankers.xquad if name == "xquad" else rerankers.reranked
    answer = run(search(), QUERIES, FANOUTS if name == "xquad" else name, 0.0)
    assert (answer.ids == methods.no_fanout(search(), QUERIES).ids).all()


@pytest.mark.parametrize("name", rerankers.STRATEGIES)
def test_diversity_alone_spreads_more(name):
    def spread(answer):
        found = CONTENTS[answer.ids]
        return -(found @ found.transpose(0, 2, 1)).mean()

    spreads = [spread(rerankers.reranked(search(), QUERIES, name, s)) for s in (0.0, 1.0)]
    assert spreads[1] > spreads[0] + 0.05


def test_mmr_is_the_greedy_choice_of_its_formula():
    strength = 0.4
    for query, row in zip(QUERIES, rerankers.reranked(search(), QUERIES, "mmr", strength).ids):
        relevance = CONTENTS @ CONTENTS[int(query)]
        pool, chosen = np.argsort(-relevance)[: rerankers.CANDIDATES].tolist(), []
        while len(chosen) < 5:
            penalty = (CONTENTS @ CONTENTS[chosen].T).max(1) if chosen else np.zeros(len(CONTENTS))
            gain = (1 - strength) * relevance - strength * penalty
            chosen.append(max(set(pool) - set(chosen), key=gain.__getitem__))
        assert row.tolist() == chosen


def test_xquad_is_the_greedy_choice_of_its_formula():
    strength = 0.8
    answer = rerankers.xquad(search(), QUERIES, FANOUTS, strength)
    assert answer.directions is None and answer.texts is None  # its results are not found by the sub-queries
    asked = methods.written(search(), QUERIES, FANOUTS).texts
    for query, texts, row in zip(QUERIES, asked, answer.ids):
        pool = np.argsort(-CONTENTS @ CONTENTS[int(query)])[: rerankers.CANDIDATES]

        def p(text, pool=pool):
            cosine = CONTENTS[pool] @ Encoder().text([text])[0]
            return (cosine - cosine.min()) / (cosine.max() - cosine.min())

        P, P_i, chosen = p(query), np.stack([p(text) for text in texts]), []
        while len(chosen) < 5:
            still_open = np.prod(1 - P_i[:, chosen], axis=1)
            gain = (1 - strength) * P + strength * (still_open[:, None] * P_i).mean(0)
            gain[chosen] = -1
            chosen.append(int(gain.argmax()))
        assert row.tolist() == pool[chosen].tolist()


def test_a_dpp_of_more_results_than_dimensions_goes_on_by_relevance():
    ids = rerankers.candidates(search(40), QUERIES)[0]
    few, many = (rerankers.reranked(search(k), QUERIES, "dpp", 0.5).ids for k in (16, 40))
    for row, short, ranked in zip(many.tolist(), few.tolist(), ids.tolist()):
        assert set(row[:16]) <= set(ranked) and row[16:] == [i for i in ranked if i not in row[:16]][:24]
        assert len(set(row)) == 40 and row[0] == short[0]


def test_candidates_are_enough_for_the_pool_of_wscr():
    for k, c in ((5, 100), (70, 140), (250, 250)):
        ids, cosines = rerankers.candidates(search(k), QUERIES)
        assert ids.shape == (4, c) and (np.diff(cosines) <= 1e-6).all()
        assert cosines[0] == pytest.approx(CONTENTS[ids[0]] @ CONTENTS[4], abs=1e-3)


@pytest.mark.parametrize("strength", [-0.1, 1.1, np.nan])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match="must be in 0..1; choose one on validation queries"):
        rerankers.reranked(search(), QUERIES, "mmr", strength)
    with pytest.raises(ValueError, match="must be in 0..1"):
        rerankers.xquad(search(), QUERIES, FANOUTS, strength)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match="strategy='best' is not known; choose one of mmr, msd, dpp"):
        rerankers.reranked(search(), QUERIES, "best", 0.5)
