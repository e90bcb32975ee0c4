"""Examples are picked by their rule, and their tables say what was there."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from searches import CONTENTS, QUERIES, N, search

from r4t_utils.data.sample import world
from r4t_utils.evaluation import glyphs, methods, showcase
from r4t_utils.policy.prompts import Fanout
from r4t_utils.space.index import Index

INDEX = Index(CONTENTS)
TITLES = [f"content {i}" for i in range(N)]
PIECES = pd.DataFrame({"category": ["gown", "hat"], "colour": ["red", "navy"], "pattern": ["plain", "striped"]})
COLLECTIONS = pd.DataFrame({"title": TITLES, "items": [[i % 2, 1] for i in range(N)]})


def test_the_group_is_the_well_formed_one_whose_rewards_differ_most():
    texts = [["a", "b"]] * 4 + [["c", "c"], ["d", "e"]] + [["f"], []]
    rewards = np.array([0.5, 0.5, 0.1, 0.2, 0.4, 0.8, 0.0, 9.0])
    found = showcase.group(["1", "2", "3", "4"], texts, rewards, {"ground": np.arange(8.0)})
    assert found["query"].tolist() == ["3", "3"] and found.reward.tolist() == [0.8, 0.4]
    assert found.ground.tolist() == [5, 4] and found.sub_queries.tolist() == ["d; e", "c"]
    np.testing.assert_allclose(found.advantage, [0.5**0.5, -(0.5**0.5)], rtol=1e-3)  # two values lie so far apart
    alone = showcase.group(["4"], [["f"], []], np.array([0.0, 9.0]), {})
    assert alone.sub_queries.tolist() == ["malformed", "f"]  # there is no whole group


def test_a_plane_keeps_what_varies_most_and_its_signs():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 4)) * [0.1, 5, 0.1, 2]
    centre, axes = showcase.plane(points)
    np.testing.assert_allclose(np.abs(axes), [[0, 1, 0, 0], [0, 0, 0, 1]], atol=0.1)
    assert (axes[[0, 1], [1, 3]] > 0).all()
    np.testing.assert_allclose(centre, points.mean(0))


def test_a_set_lies_in_the_plane_beside_the_contents_around_the_query():
    z_q = CONTENTS[7]
    frame = showcase.around(INDEX, z_q, TITLES, {"set 1": CONTENTS[[3, 4]], "set 2": 2 * CONTENTS[[5]]})
    assert frame.kind.value_counts().to_dict() == {"content": N, "set 1": 2, "query": 1, "set 2": 1}
    assert frame[frame.kind.str.startswith("set")].finds.tolist() == ["content 3", "content 4", "content 5"]
    of_query, first = frame[frame.kind == "query"], frame[frame.kind == "content"].head(1)
    np.testing.assert_allclose(of_query[["x", "y"]], first[["x", "y"]], atol=1e-6)  # it is its own nearest content


def test_a_trajectory_is_a_row_a_level():
    seen = [(7.0, 9 * CONTENTS[[1, 2]], CONTENTS[[3, 4]]), (0.5, CONTENTS[[1, 2]], CONTENTS[[5, 6]])]
    frame = showcase.denoising(INDEX, CONTENTS[7], TITLES, seen)
    assert frame.groupby(["sigma", "kind"]).size().to_dict() == {
        (-1.0, "content"): N,
        (-1.0, "query"): 1,
        **{(sigma, kind): 2 for sigma in (0.5, 7.0) for kind in ("denoised", "noisy")},
    }
    noisy = frame[frame.kind == "noisy"]
    np.testing.assert_allclose(noisy[["x", "y"]].to_numpy()[:2], noisy[["x", "y"]].to_numpy()[2:], atol=1e-6)


def test_a_map_places_answers_where_their_contents_lie():
    topics = np.zeros((N, 2), bool)
    topics[[3, 4], 0], topics[[4, 5], 1] = True, True
    labels = topics.any(1), topics
    answers = {"A": np.array([3, 5, 9]), "B": np.array([4])}
    frame = showcase.on_map(INDEX, CONTENTS[7], answers, labels)
    a = frame[frame.method == "A"]
    assert a.on_topic.tolist() == [1, 1, 0] and a.subtopic.tolist() == [0, 1, -1]
    assert frame[frame.method == "B"].subtopic.tolist() == [0]
    contents = frame[frame.method == showcase.CONTENTS].reset_index(drop=True)
    assert len(contents) == N
    np.testing.assert_allclose(a[["x", "y"]], contents.loc[[3, 5, 9], ["x", "y"]])
    unknown = showcase.on_map(INDEX, CONTENTS[7], answers, None)
    assert set(unknown.on_topic) == set(unknown.subtopic) == {-1}
    pd.testing.assert_frame_equal(unknown[["x", "y"]], frame[["x", "y"]])  # equal runs, equal maps


@pytest.mark.parametrize("items", [PIECES, PIECES[["category"]]])
def test_the_best_the_median_and_the_worst_are_shown_with_what_each_sub_query_finds(items):
    corpus = SimpleNamespace(items=items, collections=COLLECTIONS)
    s = search(k=3)
    answers = {
        "plain": methods.no_fanout(s, QUERIES),
        "fan-out": methods.written(s, QUERIES, [Fanout(["7", "30", "2"], "")] * 4),
    }
    topics = np.zeros((N, 1), bool)
    topics[30] = True
    labels = [(topics[:, 0], topics)] * 4
    frame = showcase.side_by_side(corpus, s, QUERIES, answers, labels, np.array([1.0, -2, 5, 0]))
    rules = frame.drop_duplicates("rule")[["rule", "query", "gain"]].to_numpy().tolist()
    assert rules == [["best", "15", 5.0], ["median", "4", 1.0], ["worst", "8", -2.0]]
    assert set(frame[frame.method == "plain"]["view"]) == {"set"}
    own = frame[(frame.method == "fan-out") & (frame["view"] == "sub-queries") & (frame.rule == "best")]
    assert own.asked.tolist() == ["7", "30", "2"]
    assert own.title.tolist() == ["content 7", "content 30", "content 2"] and own.on_topic.tolist() == [0, 1, 0]
    shown = "hat, navy, striped; hat, navy, striped" if "colour" in items else ""
    assert own.pieces.tolist()[0] == shown
    merged = frame[(frame.method == "fan-out") & (frame["view"] == "set") & (frame.rule == "median")]
    assert merged.title.tolist() == [TITLES[i] for i in answers["fan-out"].ids[0]]
    assert merged["rank"].tolist() == [1, 2, 3]


def test_every_garment_of_the_sample_world_can_be_drawn():
    for category in world()["category"]:
        corners = np.array(glyphs.shape(category))
        assert len(corners) > 3 and corners.min() >= 0 and corners.max() <= glyphs.SIZE
    assert {*world()["colour"]} <= {*glyphs.COLOURS}
    assert {*world()["pattern"]} - {"plain"} == {*glyphs.HATCHES}
