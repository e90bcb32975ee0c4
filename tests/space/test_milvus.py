"""The embedded engine finds what FAISS finds; collections and engines that are not there are named."""

import numpy as np
import pytest
from retrievers import untrained
from vectors import unit_rows

from r4t_utils.space import milvus
from r4t_utils.space.index import Index, SearchFailed
from r4t_utils.space.milvus import MOST, MilvusIndex


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An engine of its own with 1,500 contents, the exact index over them, and queries."""
    vectors, uri = unit_rows(1500, 24, 0), str(tmp_path_factory.mktemp("milvus") / "contents.db")
    return MilvusIndex.create(uri, "contents", vectors, "0123456789ab"), Index(vectors), unit_rows(30, 24, 1)


@pytest.mark.parametrize("n, allowed", [(1, None), (20, None), (5, np.array([7, 1400, 3, 900, 12, 55, 7]))])
def test_it_finds_what_faiss_finds(world, n, allowed):
    engine, exact, queries = world
    (ids, distance), (others, as_far) = engine.search(queries, n, allowed), exact.search(queries, n, allowed)
    assert np.array_equal(ids, others) and distance.dtype == as_far.dtype
    np.testing.assert_allclose(distance, as_far, atol=1e-3)


def test_it_gives_back_its_vectors(world):
    engine, exact, _ = world
    ids = np.array([[3, 1499], [3, 0]])
    np.testing.assert_allclose(engine.take(ids), exact.take(ids), atol=1e-6)
    assert engine.take(np.zeros(0, np.int64)).shape == (0, 24)
    assert (len(engine), engine.d, engine.space) == (1500, 24, "0123456789ab")


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
    engine, _, queries = world
    with pytest.raises(ValueError, match="n=1501: must be .* to 1500; there are 1500 contents, and Milvus gives"):
        engine.search(queries, 1501)
    with pytest.raises(ValueError, match="row 0 of queries has length 2"):
        engine.search(2 * queries, 1)
    assert MOST > 1500


def test_a_collection_that_is_not_there_or_is_there_already_is_named(world):
    engine, exact, _ = world
    with pytest.raises(ValueError, match="has no collection 'items'; make it with MilvusIndex.create"):
        MilvusIndex(engine.uri, "items")
    with pytest.raises(ValueError, match="collection 'contents' is there already; drop it first, or name another"):
        MilvusIndex.create(engine.uri, "contents", exact.vectors)
    engine.client.create_collection("foreign", dimension=4)
    with pytest.raises(ValueError, match="'foreign' .*it has the fields id, vector; make it with"):
        MilvusIndex(engine.uri, "foreign")


def test_a_collection_that_was_cut_short_is_not_there(tmp_path, monkeypatch):
    uri, vectors, insert = str(tmp_path / "cut.db"), unit_rows(25, 8, 0), milvus.MilvusClient.insert
    monkeypatch.setattr(milvus, "BATCH", 10)

    def interrupted(client, collection, rows):
        if rows[0]["id"] == 10:
            raise KeyboardInterrupt
        return insert(client, collection, rows)

    monkeypatch.setattr(milvus.MilvusClient, "insert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        MilvusIndex.create(uri, "contents", vectors)
    monkeypatch.setattr(milvus.MilvusClient, "insert", insert)
    with pytest.raises(ValueError, match="has no collection"):
        MilvusIndex(uri, "contents")
    with pytest.raises(ValueError, match="length of the space's name=65: must be .* to 64"):
        MilvusIndex.create(uri, "contents", vectors, "x" * 65)
    assert len(MilvusIndex.create(uri, "contents", vectors)) == 25


def test_fewer_results_than_were_asked_for_are_a_fault_of_the_engine(world, monkeypatch):
    index, _, queries = world
    found = index.client.search
    monkeypatch.setattr(index.client, "search", lambda *args, **how: [row[:3] for row in found(*args, **how)])
    with pytest.raises(SearchFailed, match="the engine found 3 of the 5 nearest contents"):
        index.search(queries, 5)


def test_equal_contents_are_found_in_the_order_of_their_ids(tmp_path):
    vectors = np.repeat(unit_rows(4, 8, 0), 3, axis=0)[[5, 0, 7, 3, 1, 11, 9, 2, 6, 4, 8, 10]]
    engine = MilvusIndex.create(str(tmp_path / "twins.db"), "twins", vectors)
    assert np.array_equal(engine.search(vectors, 6)[0], Index(vectors).search(vectors, 6)[0])


def test_many_vectors_are_fetched_in_parts_and_a_lost_one_is_named(world, monkeypatch):
    engine, exact, _ = world
    asked, get = [], engine.client.get

    def watched(collection, ids, **how):
        asked.append(len(ids))
        return get(collection, ids=ids, **how)

    monkeypatch.setattr(engine.client, "get", watched)
    np.testing.assert_allclose(engine.take(np.arange(1500)), exact.take(np.arange(1500)), atol=1e-6)
    assert asked == [1000, 500]
    monkeypatch.setattr(engine.client, "get", lambda collection, ids, **how: get(collection, ids=ids[:-1], **how))
    with pytest.raises(SearchFailed, match="'contents' has no content 7 any more; make it anew"):
        engine.take(np.array([3, 7]))


def test_an_engine_that_is_down_is_named():
    with pytest.raises(ValueError, match="Milvus at 'http://127.0.0.1:9':"):
        MilvusIndex("http://127.0.0.1:9", "contents", timeout=2)


@pytest.mark.parametrize("call", ["search", "get"])
def test_an_engine_that_goes_down_later_is_named(world, monkeypatch, call):
    engine, _, queries = world

    def down(*_, **__):
        raise ConnectionError("the server\nis gone")

    monkeypatch.setattr(engine.client, call, down)
    with pytest.raises(SearchFailed, match="collection 'contents' of .*: the server is gone"):
        engine.search(queries, 3) if call == "search" else engine.take(np.array([1]))
