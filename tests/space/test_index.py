import numpy as np
import pytest
from vectors import unit_rows

from r4t_utils.space.index import Approximate, Index


@pytest.fixture(scope="module")
def world():
    return unit_rows(500, 16, 0), unit_rows(40, 16, 1)


def test_search_is_exact(world):
    contents, queries = world
    ids, distance = Index(contents).search(queries, 20)
    every = np.linalg.norm(queries[:, None].astype(np.float64) - contents[None], axis=-1)
    assert ids.shape == distance.shape == (40, 20)
    np.testing.assert_array_equal(ids, np.argsort(every, axis=1)[:, :20])
    np.testing.assert_allclose(distance, np.sort(every, axis=1)[:, :20], atol=1e-5)


def test_distances_rise_and_span_0_to_2():
    e = np.eye(4, dtype=np.float32)
    ids, distance = Index(np.stack([e[0], e[1], -e[0]])).search(e[:1], 3)
    np.testing.assert_array_equal(ids, [[0, 1, 2]])
    np.testing.assert_allclose(distance, [[0, np.sqrt(2), 2]], atol=1e-6)


def test_a_content_finds_itself_at_distance_0(world):
    contents, _ = world
    ids, distance = Index(contents).search(contents, 1)
    np.testing.assert_array_equal(ids[:, 0], np.arange(500))
    assert np.isfinite(distance).all() and distance.max() < 1e-3  # rounding may put the cosine above 1


def test_order_of_queries_and_memory_layout_do_not_matter(world):
    contents, queries = world
    ids, distance = Index(contents).search(queries, 5)
    twice, far = Index(np.asfortranarray(contents.astype(np.float64))).search(queries[::-1], 5)
    np.testing.assert_array_equal(twice[::-1], ids)
    np.testing.assert_allclose(far[::-1], distance, atol=1e-6)


def test_length(world):
    assert len(Index(world[0])) == 500


def with_row(x, row, value):
    return np.where(np.arange(len(x))[:, None] == row, np.float32(value), x)


@pytest.mark.parametrize(
    "change, fault",
    [
        (lambda x: x[0], r"{} has shape \(16,\): must be"),
        (lambda x: x[None], r"{} has shape \(1, .*, 16\): must be"),
        (lambda x: x * np.float32(1.01), "row 0 of {} has length 1.01: must be finite and of length 1; scale"),
        (lambda x: with_row(x, 2, 0), "row 2 of {} has length 0: must be"),
        (lambda x: with_row(x, 1, np.nan), "row 1 of {} has length nan: must be"),
        (lambda x: with_row(x, 3, np.inf), "row 3 of {} has length inf: must be"),
    ],
)
def test_vectors_and_queries_must_be_rows_of_length_1(world, change, fault):
    contents, queries = world
    with pytest.raises(ValueError, match=fault.format("vectors")):
        Index(change(contents))
    with pytest.raises(ValueError, match=fault.format("queries")):
        Index(contents).search(change(queries), 2)


def test_queries_must_be_as_wide_as_the_vectors(world):
    with pytest.raises(ValueError, match=r"queries has shape \(40, 16\): must be \(None, 15\)"):
        Index(unit_rows(5, 15, 0)).search(world[1], 1)


def test_a_database_without_contents_is_refused():
    with pytest.raises(ValueError, match="number of vectors=0"):
        Index(np.zeros((0, 4), np.float32))


@pytest.mark.parametrize("n", [0, -1, 501, 1.0, True, "3", None])
def test_as_many_contents_as_there_are(world, n):
    with pytest.raises(ValueError, match=rf"n={n!r}: must be a whole number from 1 to 500"):
        Index(world[0]).search(world[1], n)


def test_every_content_is_found_once_at_most_and_none_has_a_negative_id(world):
    contents, queries = world
    ids, distance = Index(contents).search(queries, np.int64(500))
    assert (np.sort(ids, axis=1) == np.arange(500)).all() and np.isfinite(distance).all()
    ids, distance = Index(contents).search(queries[:0], 3)
    assert ids.shape == distance.shape == (0, 3)


@pytest.mark.parametrize("n", [1, 3, 50])
def test_of_equal_contents_the_first_comes_first_however_many_are_asked_for(n):
    one, other = unit_rows(2, 16, 5)
    index = Index(np.stack([other] * 10 + [one] * 50))
    ids, _ = index.search(np.stack([one, one]), n)
    np.testing.assert_array_equal(ids, [range(10, 10 + n)] * 2)


# Filters, and approximate search


@pytest.mark.parametrize("build", [Index, lambda x: Approximate(x, "hnsw"), lambda x: Approximate(x, "ivf")])
def test_only_what_is_allowed_is_found_and_all_of_it_can_be(world, build):
    contents, queries = world
    allowed = np.array([3, 499, 20, 77])
    ids, distance = build(contents).search(queries, 4, allowed)
    alone, as_far = Index(contents[allowed]).search(queries, 4)
    np.testing.assert_array_equal(ids, allowed[alone])
    np.testing.assert_allclose(distance, as_far, atol=1e-5)
    with pytest.raises(ValueError, match="n=5: must be a whole number from 1 to 4; there are no more contents"):
        build(contents).search(queries, 5, allowed)
    twice, _ = build(contents).search(queries, 4, np.concatenate([allowed, allowed[::-1]]))
    np.testing.assert_array_equal(twice, ids)
    for wrong in (-1, 500):
        with pytest.raises(ValueError, match=f"allowed id {wrong} must be from 0 to 499"):
            build(contents).search(queries, 1, np.array([3, wrong]))


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_approximate_search_finds_nearly_all_of_what_there_is_and_the_same_each_time(kind):
    contents, queries = unit_rows(20_000, 16, 2), unit_rows(200, 16, 3)
    index, again = Approximate(contents, kind), Approximate(contents, kind)
    ids, distance = index.search(queries, 10)
    exact, _ = Index(contents).search(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids, exact)])
    assert recall > (0.95 if kind == "hnsw" else 0.8)
    assert (np.diff(distance) >= 0).all() and np.array_equal(ids, again.search(queries, 10)[0])
    np.testing.assert_allclose(distance, np.linalg.norm(queries[:, None] - contents[ids], axis=-1), atol=1e-3)
    assert np.array_equal(index.take(ids), contents[ids])


def test_an_approximate_index_finds_as_many_as_are_asked_for(world):
    for kind in ("hnsw", "ivf"):
        ids, distance = Approximate(world[0], kind).search(world[1], 500)
        assert (np.sort(ids) == np.arange(500)).all() and np.isfinite(distance).all()


def test_a_kind_that_is_none_is_refused(world):
    with pytest.raises(ValueError, match="kind='flat': must be hnsw or ivf; an exact index is an Index"):
        Approximate(world[0], "flat")
