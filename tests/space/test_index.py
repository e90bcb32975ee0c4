import numpy as np
import pytest

from r4t_utils.space.index import Index


def unit_rows(n, d, seed):
    x = np.random.default_rng(seed).standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


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
