"""Sampling: from pure noise to a set of L rows, by three solvers of one variance-exploding process.

Every solver visits `steps` noise levels σ_1 > ... > σ_N, evaluates the denoiser once at each, and answers
with the denoised set at the last: N evaluations, doubled by guidance.

    sde  Euler-Maruyama in t on the reverse SDE, final denoise: the paper's sampler, with 256 steps.
    ode  Euler on the probability-flow ODE dx/dσ = (x - D)/σ: Karras et al. 2022, Algorithm 1 without its
         second-order correction, since with few evaluations `dpm` spends them better.
    dpm  DPM-Solver++(2M) on the same ODE: Lu et al. 2022, arXiv 2211.01095, Algorithm 2, with λ = -ln σ.
         Second order at one evaluation a step: the choice for 5 to 20 steps.

`sde` and `ode` use Karras' grid (ρ = 7, down to σ_data/100). `dpm` uses levels evenly spaced in λ down to
σ_data/10: on mixtures whose best denoiser is known, 8 such steps came closest to the true spread of samples.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from r4t_utils.diffusion.schedule import TangentSchedule

SAMPLERS = ("sde", "ode", "dpm")


def nfe(sampler: str, steps: int, guidance: float) -> int:
    """Network evaluations a sampled set costs: one a step, twice that if guidance is not 0 (256 -> 512)."""
    _check(sampler, steps, guidance)
    return steps * (1 if guidance == 0 else 2)


@torch.no_grad()
def sample(
    denoiser,
    z_q: Tensor,
    L: int,
    *,
    sampler: str = "sde",
    steps: int = 256,
    guidance: float = 0.1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One set for each query, drawn from the denoiser with classifier-free guidance.

    D_w = (1 + w) D(Z; σ, z_q) - w D(Z; σ, null), both from one call on a batch of 2B. With w = 0 the second
    half is not computed.

    Args:
        denoiser: a trained `Denoiser`. z_q: queries (B, d), tensor or array. L: rows a set, >= 1.
        sampler: one of SAMPLERS. steps: noise levels visited, >= 1. guidance: w >= 0.
        generator: the noise is drawn on its device, so that a CPU generator gives the same noise anywhere.

    Returns:
        (B, L, d), as the model gives them: close to unit length where the data are, but not normalised.

    Raises:
        ValueError: an unknown sampler, or an argument out of range or of the wrong shape.
    """
    _check(sampler, steps, guidance)
    if L < 1:
        raise ValueError(f"L={L}: a set needs at least one row")
    z_q = torch.as_tensor(z_q).to(denoiser.null)  # its device and precision
    was_training = denoiser.training
    denoiser.eval()
    try:
        B, twice = len(z_q), guidance != 0
        keep = torch.arange(2 * B if twice else B, device=z_q.device) < B
        context = denoiser.context(z_q.repeat(2, 1) if twice else z_q, keep)

        def D(Z: Tensor, sigma: float) -> Tensor:
            if not twice:
                return denoiser(Z, sigma, context=context)
            conditional, unconditional = denoiser(Z.repeat(2, 1, 1), sigma, context=context).chunk(2)
            return torch.lerp(unconditional, conditional, 1 + guidance)

        noise = _noise_like(z_q.new_empty(B, L, z_q.shape[1]), generator)
        return solve(D, noise, denoiser.schedule, sampler, steps, generator)
    finally:
        denoiser.train(was_training)


def solve(
    D: Callable[[Tensor, float], Tensor],
    noise: Tensor,
    schedule: TangentSchedule,
    sampler: str,
    steps: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Carry standard normal noise, of any shape, to a sample of the distribution that D(x, σ) denoises."""
    _check(sampler, steps, 0.0)
    x = noise * schedule.top
    if sampler == "sde":
        return _euler_maruyama(D, x, schedule, schedule.grid(steps), generator)
    if sampler == "ode":
        return _euler(D, x, schedule.grid(steps))
    return _dpm(D, x, schedule.grid(steps, end=schedule.sigma_data / 10, rho=math.inf))


def _euler_maruyama(D, x, schedule, sigmas, generator):
    t = schedule.inverse(sigmas)
    slopes = schedule.slope(t).tolist()
    steps = (t[:-1] - t[1:]).tolist()
    *before, last = sigmas.tolist()
    for sigma, slope, dt in zip(before, slopes, steps):
        # dx = -2 σ σ' ∇log p dt + sqrt(2 σ σ') dw, backwards in t, with ∇log p = (D - x) / σ²
        x = x + (2 * slope / sigma * dt) * (D(x, sigma) - x)
        x = x + math.sqrt(2 * sigma * slope * dt) * _noise_like(x, generator)
    return D(x, last)


def _euler(D, x, sigmas):
    *_, last = sigmas.tolist()
    for sigma, following in zip(sigmas.tolist(), sigmas[1:].tolist()):
        x = torch.lerp(D(x, sigma), x, following / sigma)
    return D(x, last)


def _dpm(D, x, sigmas):
    *_, last = sigmas.tolist()
    before, h_before = None, None  # the denoised set and the step in λ of the move before
    for sigma, following in zip(sigmas.tolist(), sigmas[1:].tolist()):
        denoised, h = D(x, sigma), math.log(sigma / following)
        ahead = denoised
        if before is not None:  # extrapolate D to the middle of the step
            ahead = denoised + (denoised - before) * (h / (2 * h_before))
        x = torch.lerp(ahead, x, following / sigma)
        before, h_before = denoised, h
    return D(x, last)


def _noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator is not None else x.device
    return torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device)


def _check(sampler: str, steps: int, guidance: float) -> None:
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler={sampler!r}: must be one of {', '.join(SAMPLERS)}")
    if steps < 1:
        raise ValueError(f"steps={steps}: sampling needs at least one step; the paper takes 256")
    if not (math.isfinite(guidance) and guidance >= 0):
        raise ValueError(f"guidance={guidance}: must be 0 (off) or a positive number; the paper has 0.1")
