"""The samplers: a Gaussian whose best denoiser is known, diffusers as oracle, guidance, evaluations."""

import math
from functools import partial

import pytest
import torch
from denoisers import SMALL, awake, settings
from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.diffusion.samplers import Sampling, nfe, sample, solve
from r4t_utils.diffusion.schedule import TangentSchedule

SAMPLERS = ("sde", "ode", "dpm")
SCHEDULE = TangentSchedule(sigma_data=0.5)
MEAN = torch.tensor([0.3, -0.2, 0.1])
COVARIANCE = torch.tensor([[0.50, 0.20, 0.00], [0.20, 0.30, -0.05], [0.00, -0.05, 0.02]])


def gaussian(x, sigma):
    """E[x_0 | x] for x_0 ~ N(MEAN, COVARIANCE) and x = x_0 + σn."""
    gain = COVARIANCE @ torch.linalg.inv(COVARIANCE + sigma**2 * torch.eye(3))
    return MEAN + (x - MEAN) @ gain.T


def draws(sampler, steps, n=20_000):
    generator = torch.Generator().manual_seed(0)
    randn = partial(torch.randn, generator=generator)
    return solve(gaussian, randn((n, 3)), SCHEDULE, sampler, steps, randn)


@pytest.mark.parametrize(
    "sampler, steps, tolerance", [("sde", 256, 0.02), ("ode", 256, 0.02), ("dpm", 16, 0.02), ("dpm", 8, 0.04)]
)
def test_samplers_recover_mean_and_covariance(sampler, steps, tolerance):
    x = draws(sampler, steps)
    torch.testing.assert_close(x.mean(dim=0), MEAN, rtol=0, atol=tolerance)
    torch.testing.assert_close(torch.cov(x.T), COVARIANCE, rtol=0, atol=tolerance)


MIDDLES = torch.tensor([[1.0, 0.2, 0.0], [-0.6, 0.5, 0.3]])
SHARES, SPREAD = torch.tensor([0.3, 0.7]), 0.15


def mixture(x, sigma):
    """E[x_0 | x] for x_0 from two round Gaussians, of SHARES around MIDDLES, and x = x_0 + σn."""
    total = SPREAD**2 + sigma**2
    apart = x[:, None] - MIDDLES
    posterior = (SHARES.log() - apart.square().sum(-1) / (2 * total)).softmax(-1)
    return torch.einsum("nm,nmd->nd", posterior, MIDDLES + apart * SPREAD**2 / total)


@pytest.mark.parametrize("sampler, steps", [("sde", 256), ("ode", 256), ("dpm", 32)])
def test_samplers_recover_both_modes_of_a_mixture(sampler, steps):
    generator = torch.Generator().manual_seed(0)
    randn = partial(torch.randn, generator=generator)
    x = solve(mixture, randn((20_000, 3)), SCHEDULE, sampler, steps, randn)
    mode = torch.cdist(x, MIDDLES).argmin(1)
    torch.testing.assert_close(mode.bincount() / len(x), SHARES, rtol=0, atol=0.02)
    for i, middle in enumerate(MIDDLES):
        members = x[mode == i]
        torch.testing.assert_close(members.mean(0), middle, rtol=0, atol=0.02)
        torch.testing.assert_close(members.std(0), torch.full((3,), SPREAD), rtol=0, atol=0.02)


def test_second_order_beats_first_order_at_few_steps():
    def error(sampler):
        return (torch.cov(draws(sampler, 8).T) - COVARIANCE).abs().max()

    assert error("dpm") < 0.5 * error("ode")


def to_network(oracle, x, sigma):
    """The raw network output F that makes `oracle` see D = gaussian: D = c_skip x + c_out F."""
    zero, one = torch.zeros(()), torch.ones(())
    c_skip = oracle.precondition_outputs(one, zero, sigma)
    c_out = oracle.precondition_outputs(zero, one, sigma)
    return (gaussian(x, sigma) - c_skip * x) / c_out


@pytest.mark.parametrize(
    "sampler, oracle",
    [
        ("ode", EDMEulerScheduler(sigma_min=0.005, sigma_max=40.0, sigma_data=0.5)),
        (
            "dpm",
            EDMDPMSolverMultistepScheduler(
                sigma_min=0.05, sigma_max=40.0, sigma_data=0.5, sigma_schedule="exponential", solver_order=2
            ),
        ),
    ],
)
@pytest.mark.parametrize("steps", [2, 8, 20])
def test_ode_solvers_equal_those_of_diffusers(sampler, oracle, steps):
    noise = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
    oracle.set_timesteps(steps)
    x = noise * oracle.sigmas[0]
    for sigma, t in zip(oracle.sigmas, oracle.timesteps):
        oracle.scale_model_input(x, t)
        x = oracle.step(to_network(oracle, x, sigma), t, x).prev_sample
    torch.testing.assert_close(solve(gaussian, noise, SCHEDULE, sampler, steps), x, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_single_point_is_found_exactly(sampler):
    point = torch.tensor([[0.6, 0.0, 0.8]])
    found = solve(lambda x, sigma: point.expand_as(x), torch.randn(5, 3), SCHEDULE, sampler, 6)
    torch.testing.assert_close(found, point.expand(5, 3))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("guidance", [0.0, 0.1])
def test_nfe_is_what_sampling_costs(sampler, steps, guidance):
    denoiser, sets = awake(), []
    denoiser.register_forward_hook(lambda module, args, out: sets.append(len(out)))
    how = Sampling(sampler=sampler, sampling_steps=steps, guidance=guidance)
    sample(denoiser, torch.randn(3, 8), 4, how)
    assert sum(sets) == 3 * nfe(how)
    assert len(sets) == steps  # guidance shares a call


def test_the_paper_s_sampler_takes_512_evaluations():
    paper = settings(sampler="sde", sampling_steps=256, guidance=0.1)
    assert nfe(paper) == 512 and nfe(settings(sampling_steps=256, guidance=0.0)) == 256


def seeded(denoiser, z_q, seed=3, **change):
    return sample(denoiser, z_q, 4, settings(**change), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("guidance", [0.0, 0.1])
def test_noise_lies_about_what_rows_are_denoised_about(sampler, guidance):
    """With one evaluation at σ_top = σ_data, an untrained denoiser takes half of the noise away."""
    config = SMALL.model_copy(update={"around_query": True, "sigma_max": 1.0})
    how, z_q = settings(sampler=sampler, sampling_steps=1, guidance=guidance), 10 * torch.eye(8)[:2]
    rows = sample(Denoiser(config), z_q, 400, how, torch.Generator().manual_seed(0))
    torch.testing.assert_close(rows.mean(1), z_q, atol=0.05, rtol=0)
    torch.testing.assert_close(rows.std(1), torch.full((2, 8), 0.35 / 2), atol=0.03, rtol=0)


def test_without_guidance_only_the_conditional_model_counts():
    denoiser, z_q = awake(), torch.randn(3, 8)
    before = seeded(denoiser, z_q)
    noise = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(3))
    direct = solve(lambda x, sigma: denoiser(x, sigma, z_q), noise, denoiser.schedule, "dpm", 5)
    torch.testing.assert_close(before, direct.detach(), rtol=1e-4, atol=1e-5)


def test_guidance_extrapolates_from_the_unconditional_model():
    denoiser, z_q, w = awake(), torch.randn(3, 8), 0.7
    nobody = torch.zeros(3, dtype=torch.bool)

    def D(x, sigma):
        return (1 + w) * denoiser(x, sigma, z_q) - w * denoiser(x, sigma, z_q, nobody)

    noise = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(3))
    expected = solve(D, noise, denoiser.schedule, "dpm", 5).detach()
    guided = seeded(denoiser, z_q, guidance=w)
    torch.testing.assert_close(guided, expected, rtol=1e-3, atol=1e-4)
    assert (guided - seeded(denoiser, z_q)).abs().max() > 0.01


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_generator_decides_the_sample(sampler):
    denoiser, z_q = awake(), torch.randn(2, 8)
    first = seeded(denoiser, z_q, sampler=sampler)
    again = seeded(denoiser, z_q.double().numpy(), sampler=sampler)  # arrays will do as well
    other = seeded(denoiser, z_q, seed=4, sampler=sampler)
    assert first.shape == (2, 4, 8) and first.dtype == torch.float32
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_sampling_turns_dropout_off_and_restores_the_mode():
    denoiser, z_q = awake(), torch.randn(2, 8)
    expected = seeded(denoiser, z_q)
    denoiser.train()
    assert torch.equal(seeded(denoiser, z_q), expected) and denoiser.training


def test_sde_agrees_with_the_exact_answer_more_closely_with_more_steps():
    few, many = (torch.cov(draws("sde", steps).T) for steps in (12, 200))
    assert (many - COVARIANCE).abs().max() < (few - COVARIANCE).abs().max()


@pytest.mark.parametrize(
    "change",
    [
        {"sampler": "heun"},
        {"sampling_steps": 0},
        {"sampling_steps": 4.0},
        {"sampling_steps": True},
        {"guidance": -0.5},
        {"guidance": 20.5},
        {"guidance": math.nan},
        {"steps": 4},
    ],
)
def test_a_way_to_sample_that_does_not_exist_is_refused(change):
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=rf"{name}\n.*input_value={value!r}"):
        Sampling(**{"sampler": "dpm", "sampling_steps": 5, "guidance": 0.0} | change)


def test_a_solver_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="sampler='heun': must be sde, ode or dpm"):
        solve(gaussian, torch.randn(2, 3), SCHEDULE, "heun", 4)


def test_wrong_queries_are_refused():
    with pytest.raises(ValueError, match="z_q has shape"):
        sample(awake(), torch.randn(2, 7), 4, settings())


def test_a_set_without_a_row_is_refused():
    with pytest.raises(ValueError, match="L=0: must be a whole number of at least 1; a set needs a row"):
        sample(awake(), torch.zeros(2, 8), 0, settings())
