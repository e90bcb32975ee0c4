"""What a method's directions find, with and without a fan-out, and what a broken fan-out is replaced by."""

import numpy as np
import pytest

from r4t_utils.evaluation.methods import Answer, no_fanout, top_ids, written
from r4t_utils.policy.prompts import Fanout
from r4t_utils.space.encoder import unit
from r4t_utils.space.index import Index

CONTENTS = unit(np.random.default_rng(0).normal(size=(40, 8))).astype(np.float32)


class Encoder:
    """A text is the number of a content, and means what lies near it."""

    def text(self, texts):
        noise = np.random.default_rng(1).normal(size=CONTENTS.shape).astype(np.float32)
        return unit(CONTENTS + 0.05 * noise)[[int(text) for text in texts]]


def nearest(direction, n):
    return np.argsort(-CONTENTS @ direction)[:n].tolist()


@pytest.mark.parametrize("each", [1, 3])
def test_each_direction_finds_its_nearest_contents(each):
    fanouts = [Fanout(["3", "17", "5"], ""), Fanout(["30", "2", "9"], "")]
    answer = written(Encoder(), ["1", "2"], fanouts, 3)
    want = [sum((nearest(direction, each) for direction in row), []) for row in answer.directions]
    assert top_ids(answer, Index(CONTENTS), 3 * each).tolist() == want
    if each == 1:
        assert want == [[3, 17, 5], [30, 2, 9]]


def test_without_a_fan_out_the_one_direction_finds_as_many():
    answer = no_fanout(Encoder(), ["4", "8"], 3)
    found = top_ids(answer, Index(CONTENTS), 3)
    assert found.tolist() == [nearest(z_q, 3) for z_q in Encoder().text(["4", "8"])]
    assert answer.texts == [["4"] * 3, ["8"] * 3] and found[:, 0].tolist() == [4, 8]


def test_missing_sub_queries_are_the_query_itself():
    answer = written(Encoder(), ["1", "2"], [Fanout(["7"], "fewer than 3 queries"), Fanout([], "not JSON")], 3)
    assert answer.texts == [["7", "1", "1"], ["2", "2", "2"]]
    assert isinstance(answer, Answer) and top_ids(answer, Index(CONTENTS), 3).tolist() == [[7, 1, 1], [2, 2, 2]]
