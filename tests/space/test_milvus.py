"""The embedded engine finds what FAISS finds; collections and engines that are not there are named."""

import numpy as np
import pytest
from retrievers import untrained
from vectors import unit_rows

from r4t_utils.space.index import Index
from r4t_utils.space.milvus import MOST, MilvusIndex


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An engine of its own with 1,500 contents, the exact index over them, and queries."""
    vectors, uri = unit_rows(1500, 24, 0), str(tmp_path_factory.mktemp("milvus") / "contents.db")
    return MilvusIndex.create(uri, "contents", vectors, "0123456789ab"), Index(vectors), unit_rows(30, 24, 1)


@pytest.mark.parametrize("n, allowed", [(1, None), (20, None), (5, np.array([7, 1400, 3, 900, 12, 55]))])
def test_it_finds_what_faiss_finds(world, n, allowed):
    milvus, exact, queries = world
    (ids, distance), (others, as_far) = milvus.search(queries, n, allowed), exact.search(queries, n, allowed)
    assert np.array_equal(ids, others) and distance.dtype == as_far.dtype
    np.testing.assert_allclose(distance, as_far, atol=1e-3)


def test_it_gives_back_its_vectors(world):
    milvus, exact, _ = world
    ids = np.array([[3, 1499], [3, 0]])
    np.testing.assert_allclose(milvus.take(ids), exact.take(ids), atol=1e-6)
    assert milvus.take(np.zeros(0, np.int64)).shape == (0, 24)
    assert (len(milvus), milvus.d, milvus.space) == (1500, 24, "0123456789ab")


def test_a_retriever_answers_alike_over_both(tmp_path):
    retriever = untrained()
    uri, space = str(tmp_path / "titles.db"), retriever.encoder.space
    engine = MilvusIndex.create(uri, "titles", retriever.index.vectors, space)
    other = retriever.over(engine, retriever.titles)
    for how in ({}, {"allowed": [3, 9, 11, 17]}, {"allowed": lambda i, title: "coat" in title}):
        found, wanted = other.search("a red coat", k=4, **how), retriever.search("a red coat", k=4, **how)
        assert found.drop(columns=["cosine", "distance"]).equals(wanted.drop(columns=["cosine", "distance"]))
    with pytest.raises(ValueError, match="the index keeps its vectors elsewhere.*attach the index with `over`"):
        other.save_pretrained(tmp_path / "saved")
    wrong = MilvusIndex.create(str(tmp_path / "others.db"), "others", retriever.index.vectors, "ba9876543210")
    with pytest.raises(ValueError, match="vectors of the encoder ba9876543210"):
        retriever.over(wrong, retriever.titles)
    narrow = MilvusIndex.create(str(tmp_path / "narrow.db"), "narrow", unit_rows(30, 8, 0))
    with pytest.raises(ValueError, match="widths .*'index': 8"):
        retriever.over(narrow, retriever.titles)


def test_what_cannot_be_asked_is_refused(world):
    milvus, _, queries = world
    with pytest.raises(ValueError, match="n=1501: must be .* to 1500; there are 1500 contents, and Milvus gives"):
        milvus.search(queries, 1501)
    with pytest.raises(ValueError, match="row 0 of queries has length 2"):
        milvus.search(2 * queries, 1)
    assert MOST > 1500


def test_a_collection_that_is_not_there_or_is_there_already_is_named(world):
    milvus, exact, _ = world
    with pytest.raises(ValueError, match="has no collection 'items'; make it with MilvusIndex.create"):
        MilvusIndex(milvus.uri, "items")
    with pytest.raises(ValueError, match="collection 'contents' is there already; drop it first, or name another"):
        MilvusIndex.create(milvus.uri, "contents", exact.vectors)
    milvus.client.create_collection("foreign", dimension=4)
    with pytest.raises(ValueError, match="'foreign' .*it has the fields id, vector; make it with"):
        MilvusIndex(milvus.uri, "foreign")


def test_an_engine_that_is_down_is_named():
    with pytest.raises(ValueError, match="Milvus at 'http://127.0.0.1:9':"):
        MilvusIndex("http://127.0.0.1:9", "contents", timeout=2)
