"""The rungs and the words of the ladder, on small made-up worlds where the answer is known."""

import numpy as np
import pandas as pd
import pytest

from r4t_utils.data.sample import generate
from r4t_utils.evaluation import ladder
from r4t_utils.evaluation.judges import AttributeJudge
from r4t_utils.evaluation.maximisers import contents, equation_1, exact
from r4t_utils.evaluation.metrics import alpha_ndcg_at
from r4t_utils.run import profiles
from r4t_utils.space.encoder import unit
from r4t_utils.space.index import Index

K = 3
RNG = np.random.default_rng(0)
INDEX = Index(unit(RNG.normal(size=(14, 6))).astype(np.float32))
Z = unit(RNG.normal(size=(4, 6))).astype(np.float32)
TERMS = equation_1(profiles.load("smoke").rl)


def labels(seed):
    rng = np.random.default_rng(seed)
    subtopics = rng.random((14, 4)) < 0.3
    subtopics[0] = True
    return subtopics.any(1), subtopics


def test_the_maximiser_is_the_best_of_all_sets_of_a_small_database():
    ids, _ = ladder.maximiser(INDEX, Z, K, TERMS, extra=11)
    best = [exact(contents(INDEX.vectors, z), K, TERMS).total for z in Z]
    np.testing.assert_allclose(ladder.reward_of_results(INDEX, ids, Z, TERMS), best, atol=1e-9)
    cosines = np.take_along_axis(Z @ INDEX.vectors.T, ids, axis=1)
    assert (np.diff(cosines, axis=1) <= 0).all()  # the nearest to the query first


def test_candidates_that_are_left_out_are_never_chosen():
    near = INDEX.search(Z, 5)[0]
    ids, _ = ladder.maximiser(INDEX, Z, K, TERMS, candidates=5)
    assert all(set(row) <= set(few) for row, few in zip(ids.tolist(), near.tolist()))


@pytest.mark.parametrize("depth", [5, 14])
def test_the_labels_choose_relevant_contents_first_and_among_the_nearest(depth):
    given = [labels(seed) for seed in range(4)]
    ids = ladder.labels_choice(INDEX, Z, given, K, 0.5, depth)
    near = INDEX.search(Z, depth)[0]
    for row, few, (relevant, subtopics) in zip(ids, near, given):
        assert len(set(row)) == K and set(row) <= set(few)
        assert relevant[row].sum() == min(K, relevant[few].sum())
        if depth == 14:
            assert alpha_ndcg_at(row, subtopics, relevant, K) == pytest.approx(1)


def test_a_depth_that_holds_too_few_and_a_subset_of_one_are_refused():
    with pytest.raises(ValueError, match="depth=2 candidates hold no 3 results"):
        ladder.labels_choice(INDEX, Z, [labels(0)] * 4, K, 0.5, 2)
    with pytest.raises(ValueError, match=f"depth={len(INDEX)} candidates hold no 99 results"):
        ladder.labels_choice(INDEX, Z, [labels(0)] * 4, 99, 0.5, 100)
    with pytest.raises(ValueError, match="n=1 queries"):
        ladder.one_per_group([0, 1], 1)


def test_the_slow_rungs_answer_one_query_of_each_group():
    groups = np.array([5, 5, 2, 2, 9, 7, 7])
    assert ladder.one_per_group(groups, 99).tolist() == [0, 2, 4, 5]
    assert ladder.one_per_group(groups, 2).tolist() == [0, 5]


def test_a_fan_out_names_the_wanted_subtopics_in_turn_and_the_commonest_first():
    subtopics = np.array([[0, 1], [1, 0], [1, 0], [0, 1], [1, 0], [0, 1]], bool)
    relevant = np.array([1, 1, 1, 1, 1, 0], bool)  # the last one is off topic
    names = ladder.named_fanout((relevant, subtopics), 4, lambda content, nth: f"{content}.{nth}")
    assert names == ["1.0", "0.0", "2.1", "3.1"]
    assert ladder.named_fanout((relevant, subtopics), 9, lambda content, nth: "the same") == ["the same"]


def test_looks_are_named_by_attributes_that_the_judge_bears_out():
    corpus = generate(1200, 20, 20)
    judge, queries = AttributeJudge(corpus), corpus.queries("oar", "train")
    wanted = ladder.wanted(judge, queries)
    assert wanted is not None and ladder.wanted(object(), queries) is None
    for given in wanted[:5]:
        names = ladder.named_fanout(given, 10, ladder.namer(corpus))
        assert len(names) == len(set(names)) == 10
        assert all(judge.borne_out(name)[given[0]].max() == 1 for name in names)


def test_a_corpus_with_labels_is_named_by_its_own_sentences():
    corpus = generate(1200, 20, 20)
    plain = type(corpus)("own", corpus.items, corpus.collections[["title", "items"]], corpus.oar, corpus.wscr)
    assert ladder.namer(plain)(7, 3) == corpus.collections.title[7]


def scores(**quality):
    rows = [{"rung": r, "query": i, "quality": q, "reward": q} for r, v in quality.items() for i, q in enumerate(v)]
    return pd.DataFrame(rows).replace(
        {"rung": {"top": ladder.TOP_100, "database": ladder.DATABASE, "maximiser": ladder.MAXIMISER}}
    )


def test_a_loss_is_the_paired_difference_and_said_in_words():
    base = np.linspace(0.2, 0.6, 20)
    given = scores(database=base + 0.3, top=base + 0.1, maximiser=base)
    lost = ladder.losses(given, np.arange(20), 200, 0)
    assert dict(zip(lost.lost_by, lost["mean"].round(6))) == {"index": 20.0, "reward among 100": 10.0}
    words = ladder.explained(lost)
    assert words[0].startswith("The index loses 20.0 of 100 points") and "by the index" in words[-1]
    turned = ladder.explained(ladder.losses(scores(database=base, top=base + 0.1), np.arange(20), 200, 0))
    assert turned[0].startswith("No loss by the index") and turned[-1].startswith("No step")


def test_an_interval_that_holds_zero_is_undecided():
    noise = np.tile([0.1, -0.1], 10)
    lost = ladder.losses(scores(policy=0.5 + noise, retriever=0.5 - noise), np.arange(20), 200, 0)
    assert "undecided" in ladder.explained(lost)[0]


def test_two_rungs_with_equal_answers_lose_nothing():
    same = np.linspace(0, 1, 20)
    lost = ladder.losses(scores(policy=same, retriever=same), np.arange(20), 200, 0)
    assert ladder.explained(lost)[0] == "The distillation loses nothing, 20 queries."


def test_a_step_is_paired_over_the_queries_that_both_rungs_answered():
    both = scores(policy=np.full(6, 0.5), retriever=np.full(6, 0.2))
    few = both[(both.rung == "policy") | (both["query"] < 4)]
    lost = ladder.losses(few, np.arange(6), 200, 0)
    assert lost.n.tolist() == [4] and lost["mean"].tolist() == pytest.approx([30])
    table = ladder.table(few, np.arange(6), 200, 0)
    assert table.rung.tolist() == ["retriever", "policy"] and table.n.tolist() == [4, 6]


def test_scores_of_a_rung_are_means_over_its_runs():
    class Judge:
        def score(self, queries, ids, texts, k, alpha):
            return {"alignment": (ids == 1).mean(1), "diversity": np.zeros(len(ids))}

    runs = [np.array([[1, 2, 3]]), np.array([[4, 5, 6]])]
    row = ladder.scored("policy", np.array([2]), runs, Judge(), pd.DataFrame({"q": range(4)}), 0.5, INDEX, Z, TERMS)
    assert row.alignment.tolist() == pytest.approx([1 / 6]) and row.quality.tolist() == pytest.approx([1 / 12])
    each = [ladder.reward_of_results(INDEX, ids, Z[2:3], TERMS)[0] for ids in runs]
    assert row.reward.tolist() == pytest.approx([np.mean(each)])
