"""The exact judge: which words of a sub-query count, and when an outfit bears them out."""

import pytest

from r4t_utils.data.sample import generate
from r4t_utils.data.text import GENERIC
from r4t_utils.evaluation.judges import AttributeJudge


@pytest.fixture(scope="module")
def corpus():
    return generate(1200, 20, 20)


def test_generic_words_do_not_count_in_any_number(corpus):
    judge = AttributeJudge(corpus)
    style = corpus.collections["style"][0]
    assert judge.grounded(style, 0) == 1.0
    for word in (*sorted(GENERIC), "ideas", "sets", "ensembles", "vibes", "looks", "fashions"):
        assert judge.grounded(f"{style} {word}", 0) == 1.0, word
    assert judge.grounded("looks of an outfit", 0) == 0.0  # nothing is asked for


def test_topic_words_count_by_what_the_outfit_bears_out(corpus):
    judge = AttributeJudge(corpus)
    outfit = corpus.collections.iloc[0]
    garment = corpus.items["category"][outfit["items"][0]]
    words = len(garment.split())
    assert judge.grounded(f"{outfit['style']} {garment}", 0) == 1.0
    assert judge.grounded(f"{garment} spaceship", 0) == words / (words + 1)  # the world has no such word
    assert judge.grounded("spaceship", 0) == 0.0


def test_the_longest_form_that_fits_is_meant(corpus):
    """ "Off white" is a colour; "off" alone is a word the world lacks."""
    judge = AttributeJudge(corpus)
    white = next(i for i, ids in enumerate(corpus.collections["items"]) if "white" in set(corpus.items.colour[ids]))
    assert judge.grounded("off white", white) == 1.0
    assert judge.grounded("off-white", white) == 0.0
    assert judge.grounded("off the white", white) == 0.5
