"""The directions of a set: unit rows, decided by the seed, as many as asked for."""

import numpy as np
import pytest
from denoisers import awake, settings

from r4t_utils.diffusion.directions import directions

Z_Q = np.eye(8, dtype=np.float32)[:3]


def test_directions_are_unit_rows_of_one_set():
    rows = directions(awake(), Z_Q, 4, 6, settings(), 0)
    assert rows.shape == (3, 4, 8) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=-1), 1, atol=1e-6)
    np.testing.assert_array_equal(rows, directions(awake(), Z_Q, 6, 6, settings(), 0)[:, :4])
    assert not np.allclose(rows, directions(awake(), Z_Q, 4, 6, settings(), 1))


@pytest.mark.parametrize("sampler", ["sde", "ode", "dpm"])
def test_alike_a_query_has_the_set_that_it_has_alone(sampler):
    how = settings(sampler=sampler)
    together = directions(awake(), Z_Q, 4, 6, how, 0, alike=True)
    for row, z_q in zip(together, Z_Q):
        np.testing.assert_allclose(row, directions(awake(), z_q[None], 4, 6, how, 0)[0], atol=1e-5)
    assert not np.allclose(together[1:], directions(awake(), Z_Q, 4, 6, how, 0)[1:], atol=1e-3)


@pytest.mark.parametrize(
    "k, seed, named",
    [
        (0, 0, "k=0"),
        (7, 0, "k=7.* from 1 to 6"),
        (2.0, 0, "k=2.0"),
        (4, -1, "seed=-1"),
        (4, 2**64, "seed=1844"),
        (4, 0.0, "seed=0.0"),
    ],
)
def test_no_more_rows_than_a_set_has_and_a_seed_that_is_one(k, seed, named):
    with pytest.raises(ValueError, match=named):
        directions(awake(), Z_Q, k, 6, settings(), seed)
