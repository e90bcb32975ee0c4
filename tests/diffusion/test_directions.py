"""The directions of a set: unit rows, decided by the seed, as many as asked for."""

import numpy as np
import pytest
from denoisers import SMALL, awake, settings
from vectors import unit_rows

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.diffusion.directions import directions, trajectory, with_neighbours
from r4t_utils.diffusion.training import train
from r4t_utils.space.index import Index

Z_Q = np.eye(8, dtype=np.float32)[:3]
NO_INDEX = Index(np.eye(8, dtype=np.float32))  # which a denoiser without neighbours never asks


def test_directions_are_unit_rows_of_one_set():
    rows = directions(awake(), Z_Q, NO_INDEX, 4, 6, settings(), 0)
    assert rows.shape == (3, 4, 8) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=-1), 1, atol=1e-6)
    np.testing.assert_array_equal(rows, directions(awake(), Z_Q, NO_INDEX, 6, 6, settings(), 0)[:, :4])
    assert not np.allclose(rows, directions(awake(), Z_Q, NO_INDEX, 4, 6, settings(), 1))


def test_a_trajectory_ends_with_the_set_and_leaves_the_denoiser_as_it_was():
    denoiser, how = awake(), settings(sampler="dpm", sampling_steps=3, guidance=0.0)
    seen = trajectory(denoiser, Z_Q[0], NO_INDEX, 6, how, 0)
    assert [sigma for sigma, _, _ in seen] == sorted((sigma for sigma, _, _ in seen), reverse=True) and len(seen) == 3
    noise, last = seen[0][1], seen[-1][2]
    assert noise.shape == last.shape == (6, 8) and np.linalg.norm(noise) > 10 * np.linalg.norm(last)
    rows = directions(denoiser, Z_Q[:1], NO_INDEX, 6, 6, how, 0)[0]
    np.testing.assert_allclose(last / np.linalg.norm(last, axis=1, keepdims=True), rows, atol=1e-6)
    assert not denoiser._forward_hooks


@pytest.mark.parametrize("sampler", ["sde", "ode", "dpm"])
def test_alike_a_query_has_the_set_that_it_has_alone(sampler):
    how = settings(sampler=sampler)
    together = directions(awake(), Z_Q, NO_INDEX, 4, 6, how, 0, alike=True)
    for row, z_q in zip(together, Z_Q):
        np.testing.assert_allclose(row, directions(awake(), z_q[None], NO_INDEX, 4, 6, how, 0)[0], atol=1e-5)
    assert not np.allclose(together[1:], directions(awake(), Z_Q, NO_INDEX, 4, 6, how, 0)[1:], atol=1e-3)


@pytest.mark.parametrize(
    "k, seed, named",
    [
        (0, 0, "k=0"),
        (7, 0, "k=7.* from 1 to 6"),
        (2.0, 0, "k=2.0"),
        (4, -1, "seed=-1"),
        (4, 2**32, "seed=4294"),
        (4, 0.0, "seed=0.0"),
    ],
)
def test_no_more_rows_than_a_set_has_and_a_seed_that_is_one(k, seed, named):
    with pytest.raises(ValueError, match=named):
        directions(awake(), Z_Q, NO_INDEX, k, 6, settings(), seed)


# Denoisers that see the contents nearest to a query


SEEING = SMALL.model_copy(update={"neighbours": 4})


def test_a_query_comes_with_its_nearest_contents_or_as_many_as_there_are():
    index, z_q = Index(unit_rows(20, 8, 0)), unit_rows(3, 8, 1)
    tokens = with_neighbours(z_q, index, 4)
    assert tokens.shape == (3, 5, 8) and np.array_equal(tokens[:, 0], z_q)
    assert np.array_equal(tokens[:, 1:], index.vectors[index.search(z_q, 4)[0]])
    allowed = np.array([2, 11])
    assert np.array_equal(
        with_neighbours(z_q, index, 4, allowed)[:, 1:], index.vectors[index.search(z_q, 2, allowed)[0]]
    )
    assert with_neighbours(z_q, index, 0).shape == with_neighbours(z_q, index, 4, allowed[:0]).shape == (3, 1, 8)


def test_directions_follow_the_database_if_the_denoiser_sees_it_and_not_otherwise():
    z_q, one, other = unit_rows(3, 8, 1), Index(unit_rows(20, 8, 0)), Index(unit_rows(20, 8, 2))
    for config, sees in ((SEEING, True), (SMALL, False)):
        rows = [directions(awake(config), z_q, index, 4, 6, settings(), 0) for index in (one, other)]
        assert np.array_equal(*rows) != sees


@pytest.mark.training
def test_contents_that_came_after_training_are_found_and_those_that_went_are_not():
    """A student of the three nearest contents, which stands before another database than it was trained on."""
    old, new, queries = Index(unit_rows(400, 8, 3)), Index(unit_rows(400, 8, 4)), unit_rows(600, 8, 5)
    targets = old.take(old.search(queries, 3)[0])
    share = {}
    for n in (0, 6):
        how = settings(steps=700, batch_size=64, peak_lr=4e-3, warmup_steps=50, ema=0.98, dropout=0.0, neighbours=n)
        denoiser = Denoiser.from_settings(8, how)
        train(denoiser, targets, with_neighbours(queries, old, n), how)
        asked = unit_rows(60, 8, 6)
        rows = directions(denoiser, asked, new, 3, 3, how, 0)
        found = new.search(rows.reshape(-1, 8), 1)[0].reshape(60, 3)
        wanted = new.search(asked, 3)[0]
        share[n] = np.mean([len(set(a) & set(b)) / 3 for a, b in zip(found, wanted)])
    assert share[6] > share[0] + 0.05, share
