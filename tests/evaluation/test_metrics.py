"""Measures against pyndeval, ranx and brute force."""

from itertools import permutations

import numba
import numpy as np
import pyndeval
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vendi_score import vendi as vendi_oracle

from r4t_utils.evaluation import metrics
from r4t_utils.space.encoder import unit
from r4t_utils.space.index import Index


def judged_collection(seed, n_docs=40, s=6, density=0.25):
    rng = np.random.default_rng(seed)
    labels, relevant = rng.random((n_docs, s)) < density, rng.random(n_docs) < 0.6
    labels[0, 0] = relevant[0] = True  # never an empty judgement
    return rng.permutation(n_docs)[:15], labels, relevant


def ndeval(measure, ranked, labels, relevant):
    def name(doc):  # its greedy ideal breaks ties by the later name, ours by the lower id
        return f"{999 - doc}"

    docs, subtopics = np.nonzero(labels & relevant[:, None])
    qrels = [("q", str(i), name(doc), 1) for doc, i in zip(docs, subtopics)]
    run = [("q", name(doc), 100.0 - rank) for rank, doc in enumerate(ranked)]
    return pyndeval.RelevanceEvaluator(qrels, [measure], alpha=0.5).evaluate(run)["q"][measure]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 10]))
@settings(max_examples=60, deadline=None)
def test_set_measures_equal_ndeval(seed, k):
    case = judged_collection(seed)
    assert metrics.subtopic_recall_at(*case, k) == pytest.approx(ndeval(f"strec@{k}", *case), abs=1e-6)
    assert metrics.alpha_ndcg_at(*case, k) == pytest.approx(ndeval(f"alpha-nDCG@{k}", *case), abs=1e-5)


def test_greedy_ideal_is_the_best_order_of_single_subtopic_documents():
    """With one subtopic a document greedy is exact, so brute force over orders must agree."""
    labels = np.eye(3, dtype=bool)[[0, 0, 0, 1, 1, 2]]
    best = max(metrics.alpha_dcg(labels[list(p)].astype(float), 0.5) for p in permutations(range(6), 4))
    ideal = metrics.greedy_ideal(labels.astype(float), 4, 0.5)
    assert metrics.alpha_dcg(ideal, 0.5) == pytest.approx(best)
    assert metrics.alpha_ndcg_at([0, 3, 5, 1], labels, np.ones(6, bool), 4) == pytest.approx(1)
    assert metrics.alpha_ndcg_at([0, 1, 2, 3], labels, np.ones(6, bool), 4) < 0.9


def test_only_relevant_results_count():
    """Drift, results of many subtopics that do not satisfy the query, scores nothing."""
    labels = np.eye(4, dtype=bool)[[0, 1, 2, 3, 0, 1, 2, 3]]
    relevant = np.array([True] * 2 + [False] * 6)
    drift, mixed = [4, 5, 6, 7], [0, 6, 7, -1]
    assert metrics.subtopic_recall_at(drift, labels, relevant, 4) == 0
    assert metrics.alpha_ndcg_at(drift, labels, relevant, 4) == 0
    assert metrics.subtopic_recall_at(mixed, labels, relevant, 4) == 0.5
    assert metrics.subtopic_recall_at([6, 0, 1], labels, relevant, 2) == 0.5  # the third is beyond k


def test_recall_and_hit_equal_ranx(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)  # compiling takes longer than all other tests
    from ranx import Qrels, Run, evaluate

    rng = np.random.default_rng(0)
    Y = [rng.choice(200, 8, replace=False) for _ in range(30)]
    pool = rng.integers(-1, 200, (30, 10, 2))
    qrels = Qrels({f"q{i}": {str(y): 1 for y in ys} for i, ys in enumerate(Y)})
    run = Run({f"q{i}": {str(c): 1.0 for c in np.unique(p) if c >= 0} for i, p in enumerate(pool)})
    evaluate(qrels, run, ["recall@20", "hit_rate@20"], return_mean=False, make_comparable=True)
    recall, hit = ([run.scores[m][f"q{i}"] for i in range(30)] for m in ("recall@20", "hit_rate@20"))
    np.testing.assert_allclose(metrics.recall_at(Y, pool), recall)
    np.testing.assert_allclose(metrics.hit_at(Y, pool), hit)
    assert 0 < np.mean(recall) < np.mean(hit) < 1


def test_vendi_of_runs_follows_table_2():
    Z = np.random.default_rng(1).normal(size=(4, 5, 10, 16)) + 1
    mean = Z.mean(2)
    mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
    want = [vendi_oracle.score_dual(m, normalize=False) / 5 for m in mean]
    np.testing.assert_allclose(metrics.vendi_of_runs(Z), want, rtol=1e-6)
    np.testing.assert_allclose(metrics.vendi_of_runs(Z[:, :1].repeat(5, 1)), 0.2)
    shuffled = Z[:, :, np.random.default_rng(2).permutation(10)]  # order of directions is no difference
    np.testing.assert_allclose(metrics.vendi_of_runs(shuffled), want)
    orthogonal = np.eye(16)[None, :5, None].repeat(10, 2)
    np.testing.assert_allclose(metrics.vendi_of_runs(orthogonal), 1)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: metrics.subtopic_recall_at([0], *judged_collection(0)[1:], 0), "k=0"),
        (lambda: metrics.alpha_ndcg_at([0], np.eye(3, dtype=bool), np.ones(3, bool), 1, alpha=2), "alpha is 2"),
        (lambda: metrics.vendi_of_runs(np.zeros((2, 5, 10, 4))), "norm 0"),
        (lambda: metrics.vendi_of_runs(np.ones((2, 1, 10, 4))), "2 runs"),
        (lambda: metrics.subtopic_recall_at([0, 0], *judged_collection(0)[1:], 2), "different ids"),
        (lambda: metrics.subtopic_recall_at([40], *judged_collection(0)[1:], 2), "below 40"),
        (lambda: metrics.subtopic_recall_at([0], np.eye(3, dtype=bool), np.zeros(3, bool), 1), "leave the query"),
        (lambda: metrics.subtopic_recall_at([0], np.eye(3), np.ones(3, bool), 1), "bool"),
    ],
)
def test_bad_input_names_the_value_and_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_prefix_hits_where_its_coordinates_tell_contents_apart():
    """Contents that differ in their last coordinates alone are not told apart by the first."""
    contents = np.array([[1, 0, 1, 0], [1, 0, 0, 1], *[[0, 1, 0, 0.1 * i] for i in range(20)]], np.float32)
    index, z = Index(unit(contents)), unit(contents[[0, 21]])
    found = metrics.hits_by_prefix(z, index, [[0], [21]], (2, 4))
    assert found.prefix.tolist() == [2, 4] and found.hit_at_10.tolist() == [0.5, 1.0]
    assert (found.low <= found.hit_at_10).all() and (found.hit_at_10 <= found.high).all()
