"""The tangent schedule, training noise, weighting and sampling grids."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from diffusers import EDMEulerScheduler
from hypothesis import given
from hypothesis import strategies as st

from r4t_utils.diffusion.schedule import TangentSchedule

data_std = st.floats(0.01, 2.0)
sigma_max = st.floats(5.0, 200.0)
times = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=20, unique=True)


def as_times(values):
    return torch.tensor(sorted(values), dtype=torch.float64)


@given(data_std, sigma_max, times)
def test_inverse_undoes_sigma(std, high, values):
    schedule, t = TangentSchedule(std, 1e-4, high), as_times(values)
    torch.testing.assert_close(schedule.inverse(schedule.sigma(t)), t, rtol=1e-9, atol=1e-12)


@given(data_std, sigma_max, times)
def test_sigma_rises_within_its_range(std, high, values):
    schedule, t = TangentSchedule(std, 1e-4, high), as_times(values)
    sigma = schedule.sigma(t)
    apart = t.diff() > 1e-9
    assert (sigma.diff()[apart] > 0).all()
    assert (sigma >= 0).all() and (sigma <= schedule.top * (1 + 1e-9)).all()


@given(data_std, sigma_max)
def test_end_points_are_zero_and_the_scaled_maximum(std, high):
    schedule = TangentSchedule(std, 1e-4, high)
    zero, one = schedule.sigma(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    assert zero == 0 and one == pytest.approx(high * std)


def test_the_paper_s_maximum_is_scaled_by_the_data():
    assert TangentSchedule().top == pytest.approx(7.04)


@given(st.floats(0.0, 1.0))
def test_slope_is_the_derivative_of_sigma(t):
    schedule = TangentSchedule()
    t = torch.tensor(t, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(schedule.sigma(t), t)
    if 0 < t < 1:  # at the ends the clamp has no derivative
        assert schedule.slope(t.detach()).item() == pytest.approx(derivative.item(), rel=1e-9)


def test_sigma_is_the_cosine_schedule():
    """γ = cos²(1.5 t) is 1 / (1 + σ²) for the unscaled tangent."""
    schedule = TangentSchedule(sigma_data=1.0, sigma_max=math.tan(1.5))
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(1 / (1 + schedule.sigma(t) ** 2), torch.cos(1.5 * t) ** 2)


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"sigma_data": 0.0}, "sigma_data=0.0"),
        ({"sigma_min": -1.0}, "sigma_min=-1.0"),
        ({"sigma_max": math.inf}, "sigma_max=inf"),
        ({"sigma_data": math.nan}, "sigma_data=nan"),
        ({"sigma_min": 7.05}, "must be .*below"),  # below 80 but above 80 times sigma_data
    ],
)
def test_bad_levels_are_refused(settings, named):
    with pytest.raises(ValueError, match=named):
        TangentSchedule(**settings)


def test_the_schedule_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        TangentSchedule().sigma_max = 1.0


@given(data_std, st.floats(1e-3, 100.0))
def test_the_weight_makes_the_output_of_the_network_count_alike_at_every_level(std, ratio):
    """λ(σ) c_out(σ)² = 1, with the c_out of an independent implementation."""
    sigma = torch.tensor(std * ratio, dtype=torch.float64)
    oracle = EDMEulerScheduler(sigma_data=std)
    zero, one = torch.zeros(()), torch.ones(())
    c_out = oracle.precondition_outputs(zero, one, sigma)
    assert (TangentSchedule(std, 1e-6).weight(sigma) * c_out**2).item() == pytest.approx(1.0, rel=1e-5)


@given(st.integers(1, 300), st.integers(0, 1000))
def test_training_noise_spreads_evenly_over_the_log_range(n, seed):
    schedule = TangentSchedule()
    sigma = schedule.training_sigma(n, torch.Generator().manual_seed(seed))
    share = (torch.log(sigma) - math.log(1e-4)) / (math.log(7.04) - math.log(1e-4))
    assert sigma.shape == (n,) and share.min() > -1e-5 and share.max() < 1 + 1e-5
    gaps = share.sort().values.diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / n), rtol=0, atol=1e-5)


def test_one_training_level_is_log_uniform():
    generator = torch.Generator().manual_seed(0)
    first = torch.stack([TangentSchedule().training_sigma(4, generator)[0] for _ in range(2000)])
    share = ((torch.log(first) - math.log(1e-4)) / math.log(7.04e4)).sort().values
    distance = (share - (torch.arange(2000) + 0.5) / 2000).abs().max()
    assert distance < 0.04  # Kolmogorov-Smirnov, beyond the 0.3 % point


@pytest.mark.parametrize("rho, shape", [(7.0, "karras"), (math.inf, "exponential")])
def test_grids_equal_those_of_diffusers(rho, shape):
    schedule = TangentSchedule()
    oracle = EDMEulerScheduler(sigma_min=1e-3, sigma_max=schedule.top, sigma_data=0.088, sigma_schedule=shape)
    oracle.set_timesteps(12)
    torch.testing.assert_close(
        schedule.grid(12, end=1e-3, rho=rho).float(), oracle.sigmas[:-1].float(), rtol=1e-4, atol=1e-6
    )


@given(st.integers(2, 300), st.sampled_from([1.0, 7.0, math.inf]))
def test_grids_fall_from_the_top_to_the_end(steps, rho):
    schedule = TangentSchedule()
    sigmas = schedule.grid(steps, rho=rho)
    assert len(sigmas) == steps and (sigmas.diff() < 0).all()
    assert sigmas[0].item() == pytest.approx(7.04) and sigmas[-1].item() == pytest.approx(0.00088)


def test_no_grid_falls_below_what_training_visits():
    schedule = TangentSchedule(sigma_min=5e-3)
    assert schedule.grid(30).min().item() == pytest.approx(5e-3)
    assert schedule.grid(30, end=8.8e-3, rho=math.inf).min().item() == pytest.approx(8.8e-3)


@pytest.mark.parametrize(
    "arguments, named",
    [({"steps": 0}, "steps=0"), ({"steps": 4, "end": 8.0}, "end=8.0"), ({"steps": 4, "rho": 0.5}, "rho=0.5")],
)
def test_bad_grids_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        TangentSchedule().grid(**arguments)
