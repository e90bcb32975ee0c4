"""The label judge and the ranking measures against ir-measures, ranx and pyndeval, on made-up judgements.

pyndeval normalises alpha-nDCG by a greedy ideal as ours does, but takes the content of the later name of two that add
the same, where ours takes the lower id: names are given so that both take the same one. At k = 1 it does not divide
ERR-IA by its maximum (a query with two subtopics gets 2), so that is compared from k = 2 on. ranx has neither measure,
nor subtopic recall: it is the oracle of the share of relevant results. ir-measures asks pyndeval and pytrec_eval.
"""

import time
from types import SimpleNamespace
from typing import Any, cast

import ir_measures
import numba
import numpy as np
import pandas as pd
import pyndeval
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ir_measures import ERR_IA, P, StRecall, alpha_nDCG

from r4t_utils.evaluation import metrics
from r4t_utils.evaluation.label_judge import SCORES, LabelJudge

N, QUERIES = 60, 6  # contents and queries of the made-up corpus


def made_up(seed):
    """Judgements with zeros, with subtopics that nothing is relevant to, and with contents that nobody judged."""
    rng, rows = np.random.default_rng(seed), []
    for q in range(QUERIES):
        s = rng.integers(1, 9)
        rows += [(f"q{q}", 0, "t0", 1)]  # something is relevant
        rows += [(f"q{q}", c, f"t{t}", 1) for c in range(N - 20) for t in range(s) if rng.random() < 0.12]
        rows += [(f"q{q}", c, "empty", 0) for c in range(30, 45)]
    return pd.DataFrame(rows, columns=["query", "content", "subtopic", "rel"]).drop_duplicates(
        ["query", "content", "subtopic"]
    )


def judge(judged):
    corpus = SimpleNamespace(name="made up", qrels=judged[judged["rel"] > 0], collections=range(N))
    return LabelJudge(cast(Any, corpus))


def name(content):
    return f"{999 - content}"


def ranking(seed, k=20):
    """k different contents per query; many are not judged, and many add as much as another."""
    rng = np.random.default_rng(seed + 1)
    return np.stack([rng.permutation(N)[:k] for _ in range(QUERIES)])


def oracle(judged, ids, k, alpha):
    qrels = [ir_measures.Qrel(r.query, name(r.content), r.rel, r.subtopic) for r in judged.itertuples()]
    run = [
        ir_measures.ScoredDoc(f"q{q}", name(c), -float(rank)) for q in range(QUERIES) for rank, c in enumerate(ids[q])
    ]
    measure = {"diversity": StRecall @ k, "alpha_ndcg": alpha_nDCG(alpha=alpha) @ k, "err_ia": ERR_IA @ k}
    # One at a time: pyndeval keeps alpha in a global, so evaluators of two alphas that take turns disturb each other.
    values = [value for one in measure.values() for value in [*ir_measures.iter_calc([one], qrels, run)]]
    # Precision knows no subtopics: relevant to one of them is relevant.
    flat = judged.groupby(["query", "content"], as_index=False)["rel"].max()
    values += ir_measures.iter_calc(
        [P @ k], [ir_measures.Qrel(r.query, name(r.content), r.rel) for r in flat.itertuples()], run
    )
    at = {(m.query_id, str(m.measure)): m.value for m in values}
    return {
        score: [at[f"q{q}", str(m)] for q in range(QUERIES)] for score, m in {"alignment": P @ k, **measure}.items()
    }


@given(st.integers(0, 2**32 - 2), st.sampled_from([2, 3, 10, 20]), st.sampled_from([0.25, 0.5, 0.9]))
@example(0, 10, 0.5)
@example(174593, 10, 0.9)  # equals whose sums differ in their last bits
@settings(max_examples=40, deadline=None)
def test_every_score_is_that_of_ir_measures(seed, k, alpha):
    judged, ids = made_up(seed), ranking(seed)
    queries = pd.DataFrame({"id": [f"q{q}" for q in range(QUERIES)]})
    ours, theirs = judge(judged).score(queries, ids, None, k, alpha), oracle(judged, ids, k, alpha)
    half = judge(judged).score(queries, ids, None, k, 0.5)  # ir-measures leaves ERR-IA at alpha = 1/2
    for score in SCORES:
        got = half[score] if score == "err_ia" else ours[score]
        np.testing.assert_allclose(got, theirs[score], atol=1e-9, rtol=0, err_msg=score)


@given(st.integers(0, 2**32 - 2), st.sampled_from([2, 5, 10]), st.sampled_from([0.1, 0.5, 0.8]))
@settings(max_examples=40, deadline=None)
def test_the_measures_of_one_ranking_are_those_of_ndeval(seed, k, alpha):
    judged, ids = made_up(seed), ranking(seed, 15)
    qrels = [(r.query, r.subtopic, name(r.content), r.rel) for r in judged.itertuples()]
    wanted = [f"{measure}@{k}" for measure in ("strec", "alpha-nDCG", "ERR-IA")]
    ndeval = pyndeval.RelevanceEvaluator(qrels, wanted, alpha=alpha)
    for q, (query, own) in enumerate(judged.groupby("query")):
        run = [(query, name(c), -float(rank)) for rank, c in enumerate(ids[q])]
        labels = np.zeros((N, 9), bool)
        good = own[own["rel"] > 0]
        labels[good["content"], good["subtopic"].str[1:].astype(int)] = True
        case = ids[q], labels, labels.any(1), k
        ours = metrics.subtopic_recall_at(*case), metrics.alpha_ndcg_at(*case, alpha), metrics.err_ia_at(*case, alpha)
        theirs = ndeval.evaluate(run)[query]
        np.testing.assert_allclose(ours, [theirs[m] for m in wanted], atol=1e-9, rtol=0)


def test_the_share_of_relevant_results_is_that_of_ranx(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)  # compiling takes longer than all other tests
    from ranx import Qrels, Run, evaluate

    judged, ids = made_up(3), ranking(3, 10)
    good = judged[judged["rel"] > 0]
    qrels = Qrels({q: {str(c): 1 for c in own["content"]} for q, own in good.groupby("query")})
    run = Run({f"q{q}": {str(c): 10.0 - i for i, c in enumerate(row)} for q, row in enumerate(ids)})
    evaluate(qrels, run, ["precision@10"], return_mean=False)
    ours = judge(judged).score(pd.DataFrame({"id": [f"q{q}" for q in range(QUERIES)]}), ids, None, 10, 0.5)
    theirs = [run.scores["precision@10"][f"q{q}"] for q in range(QUERIES)]
    np.testing.assert_allclose(ours["alignment"], theirs, atol=1e-9, rtol=0)
    assert 0 < np.mean(theirs) < 1


def test_repeats_and_empty_places_earn_nothing_more():
    judged = pd.DataFrame(
        [("q", 0, "a", 1), ("q", 1, "b", 1), ("q", 2, "b", 1)], columns=["query", "content", "subtopic", "rel"]
    )
    one, queries = judge(judged), pd.DataFrame({"id": ["q"]})

    def score(*ids):
        return {key: values[0] for key, values in one.score(queries, np.array([ids]), None, 4, 0.5).items()}

    assert score(0, 0, 1, 2) == score(0, 1, 2, -1) | {"alignment": 1.0}  # a repeat is no interpretation of its own
    assert score(0, 0, 2, 9) == score(0, 2, 9, -1) | {"alignment": 0.75}  # what follows a repeat moves up
    gap = score(0, -1, -1, 1)["alpha_ndcg"]
    labels, relevant = np.eye(3, 2, dtype=bool)[[0, 1, 1]], np.ones(3, bool)
    apart = [np.vstack([labels, np.zeros((2, 2), bool)]), np.append(relevant, [False, False])]
    assert gap < 1 and gap == pytest.approx(metrics.alpha_ndcg_at([0, 3, 4, 1], *apart, 4))  # an empty place stays
    assert score(0, 0, 0, 0)["alignment"] == 1 and score(0, 0, 0, 0)["diversity"] == 0.5
    assert score(-1, -1, -1, -1) == dict.fromkeys(SCORES, 0.0) == score(40, 41, 42, 43)
    assert score(0, 1, 2, 9)["alpha_ndcg"] == 1 and score(9, 0, 1, 2)["alpha_ndcg"] < 1
    assert one.relevant("q").tolist() == [0, 1, 2]


def test_an_order_of_queries_and_of_judgements_changes_nothing():
    judged, ids = made_up(5), ranking(5)
    queries = pd.DataFrame({"id": [f"q{q}" for q in range(QUERIES)]})
    first = judge(judged).score(queries, ids, None, 10, 0.5)
    other = judge(judged.sample(frac=1, random_state=0)).score(queries[::-1], ids[::-1], None, 10, 0.5)
    for score in SCORES:
        np.testing.assert_allclose(first[score], other[score][::-1], atol=1e-12)


@pytest.mark.parametrize(
    "ids, queries, words",
    [
        (np.zeros((1, 3), int), ["nobody"], "no labels for 1 queries .'nobody'.; score only queries with qrels"),
        (np.zeros((2, 3), int), ["q0"], r"\(1, 3\), k=3 results"),
        (np.full((1, 3), N), ["q0"], f"below {N}"),
    ],
)
def test_bad_input_names_the_value_and_the_rule(ids, queries, words):
    with pytest.raises(ValueError, match=words):
        judge(made_up(0)).score(pd.DataFrame({"id": queries}), ids, None, 3, 0.5)
    with pytest.raises(ValueError, match="made up has no qrels"):
        LabelJudge(cast(Any, SimpleNamespace(name="made up", qrels=None)))


def test_ten_thousand_rankings_take_seconds():
    judged, queries = made_up(0), pd.DataFrame({"id": [f"q{i % QUERIES}" for i in range(10_000)]})
    ids = np.random.default_rng(0).permuted(np.tile(np.arange(N), (10_000, 1)), axis=1)[:, :10]
    one, start = judge(judged), time.perf_counter()
    one.score(queries, ids, None, 10, 0.5)
    assert time.perf_counter() - start < 5


def test_what_is_wanted_is_what_was_judged_relevant():
    judged = made_up(3)
    ours = judge(judged)
    for query, own in judged[judged.rel > 0].groupby("query"):
        relevant, subtopics = ours.wanted(str(query))
        assert np.flatnonzero(relevant).tolist() == sorted(set(own.content)) == ours.relevant(str(query)).tolist()
        assert subtopics.shape == (N, own.subtopic.nunique()) and subtopics.sum() == len(own)
        each = {frozenset(group.content) for _, group in own.groupby("subtopic")}
        assert {frozenset(np.flatnonzero(column)) for column in subtopics.T} == each
    with pytest.raises(ValueError, match="no labels for 1 queries"):
        ours.wanted("q99")
