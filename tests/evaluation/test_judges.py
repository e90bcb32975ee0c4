"""The judges: which words of a sub-query count, when an outfit bears them out, and what a space of texts can say."""

import numpy as np
import pandas as pd
import pytest

from r4t_utils.data.sample import generate
from r4t_utils.data.text import GENERIC
from r4t_utils.evaluation.judges import AttributeJudge, EmbeddingJudge, JudgeSpace, judge, quality
from r4t_utils.space.encoder import unit


@pytest.fixture(scope="module")
def corpus():
    return generate(1200, 20, 20)


def test_generic_words_do_not_count_in_any_number(corpus):
    oracle = AttributeJudge(corpus)
    style = corpus.collections["style"][0]
    assert oracle.borne_out(style)[0] == 1.0
    for word in (*sorted(GENERIC), "ideas", "sets", "ensembles", "vibes", "looks", "fashions"):
        assert oracle.borne_out(f"{style} {word}")[0] == 1.0, word
    assert oracle.borne_out("looks of an outfit")[0] == 0.0  # nothing is asked for


def test_topic_words_count_by_what_the_outfit_bears_out(corpus):
    oracle = AttributeJudge(corpus)
    outfit = corpus.collections.iloc[0]
    garment = corpus.items["category"][outfit["items"][0]]
    words = len(garment.split())
    assert oracle.borne_out(f"{outfit['style']} {garment}")[0] == 1.0
    assert oracle.borne_out(f"{garment} spaceship")[0] == pytest.approx(
        words / (words + 1)
    )  # the world has no such word
    assert oracle.borne_out("spaceship")[0] == 0.0


def test_the_longest_form_that_fits_is_meant(corpus):
    """ "Off white" is a colour; "off" alone is a word the world lacks."""
    oracle = AttributeJudge(corpus)
    white = next(i for i, ids in enumerate(corpus.collections["items"]) if "white" in set(corpus.items.colour[ids]))
    assert oracle.borne_out("off white")[white] == 1.0
    assert oracle.borne_out("off-white")[white] == 0.0
    assert oracle.borne_out("off the white")[white] == 0.5


def test_a_sub_query_answers_for_its_own_top_result_and_for_what_it_could_have_found(corpus):
    oracle = AttributeJudge(corpus)
    styles = corpus.collections["style"]
    other = int(np.flatnonzero(styles != styles[0])[0])
    text, unknown = f"{styles[0]} spaceship", "spaceship"
    hit, miss = oracle.borne_out(text)[[0, other]]
    scores = oracle.grounding([[text, text], [text, unknown]], np.array([[0, other], [0, 0]]))
    assert scores["subquery_groundedness"].tolist() == pytest.approx([(hit + miss) / 2, hit / 2])
    best = oracle.borne_out(text).max()
    assert 0 < best < 1 and best == oracle.borne_out(text)[0]  # no outfit bears out a spaceship
    assert scores["subquery_relative"].tolist() == pytest.approx([(1 + miss / best) / 2, 0.5])


def test_asking_for_less_earns_nothing_relative_to_the_best(corpus):
    """A wish that one content meets in full counts as much as a shorter one."""
    oracle, outfit = AttributeJudge(corpus), corpus.collections.iloc[0]
    garment = corpus.items["category"][outfit["items"][0]]
    texts = [[f"{outfit['style']}"], [f"{outfit['style']} {garment} spaceship"]]
    scores = oracle.grounding(texts, np.array([[0], [0]]))
    assert scores["subquery_groundedness"][0] > scores["subquery_groundedness"][1]
    assert scores["subquery_relative"].tolist() == pytest.approx([1, 1])


def test_quality_is_the_mean_of_alignment_and_diversity(corpus):
    oracle, queries = AttributeJudge(corpus), corpus.queries("oar", "train").head(3)
    ids = np.arange(30).reshape(3, 10)
    scores = oracle.score(queries, ids, None, 10, 0.5)
    assert set(scores) == {"alignment", "diversity", "alpha_ndcg"}
    assert quality(scores) == pytest.approx((scores["alignment"] + scores["diversity"]) / 2)


class Sentences:
    """Texts are unit vectors drawn once for each."""

    def __init__(self):
        self.known, self.rng = {}, np.random.default_rng(0)

    def __call__(self, texts, label=""):
        for text in texts:
            self.known.setdefault(text, unit(self.rng.normal(size=24) + 1).astype(np.float32))
        return np.stack([self.known[text] for text in texts])


def test_the_judges_space_scores_texts_by_their_nearest_and_their_own_contents(corpus):
    space = JudgeSpace(corpus, Sentences())
    texts, top = [["a", "b"], ["c", corpus.collection_texts()[7]]], np.array([[1, 2], [3, 7]])
    asked = space.sentence(sum(texts, [])).reshape(2, 2, -1)
    distance = np.linalg.norm(asked[:, :, None] - space.contents, axis=-1)
    assert space.groundedness(texts) == pytest.approx(1 - distance.min(2).mean(1) / 2, abs=1e-3)
    cosines = asked @ space.contents.T
    own = np.take_along_axis(cosines, top[:, :, None], 2)[..., 0].clip(0)
    scores = space.grounding(texts, top)
    assert scores["subquery_groundedness"] == pytest.approx(own.mean(1), abs=1e-4)
    assert scores["subquery_relative"] == pytest.approx((own / cosines.max(2)).mean(1), abs=1e-3)


def test_on_texts_alone_the_plain_querys_groundedness_is_its_alignment(corpus):
    """So no average may count both."""
    oracle = EmbeddingJudge(corpus, Sentences())
    queries, ids = pd.DataFrame({"query": ["a", "b"]}), np.array([[5], [9]])
    alignment = oracle.score(queries, ids, None, 1, 0.5)["alignment"]
    assert oracle.grounding([["a"], ["b"]], ids)["subquery_groundedness"] == pytest.approx(alignment, abs=1e-6)


def test_the_judge_is_the_strongest_that_the_corpus_allows(corpus):
    assert isinstance(judge(corpus, Sentences()), AttributeJudge)
