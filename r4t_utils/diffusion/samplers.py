"""Sampling: from pure noise to a set of L rows, by three solvers of one variance-exploding process.

Every solver visits `sampling_steps` noise levels σ_1 > ... > σ_N, evaluates the denoiser once at each, and answers with
the denoised set at the last: N evaluations, doubled by guidance.

    sde  Euler-Maruyama in t on the reverse SDE, final denoise: the paper's sampler, with 256 steps.
    ode  Euler on the probability-flow ODE dx/dσ = (x - D)/σ: Karras et al. 2022, Algorithm 1 without its
         second-order correction, since with few evaluations `dpm` spends them better.
    dpm  DPM-Solver++(2M) on the same ODE: Lu et al. 2022, arXiv 2211.01095, Algorithm 2, with λ = -ln σ.
         Second order at one evaluation a step: the choice for 5 to 20 steps.

`sde` and `ode` use Karras' grid (ρ = 7, down to σ_data/100). `dpm` uses levels evenly spaced in λ down to σ_data/10: on
mixtures whose best denoiser is known, 8 such steps came closest to the true spread of samples.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.diffusion.schedule import TangentSchedule
from r4t_utils.machine.checks import whole
from r4t_utils.settings import Count, DiffusionSettings, Guidance, Section

Sampler = Literal["sde", "ode", "dpm"]
Denoise = Callable[[Tensor, float], Tensor]
Randomness = torch.Generator | None
Noise = Callable[[tuple[int, ...]], Tensor]


class Sampling(Section):
    """How a set is drawn, where no other settings are needed: sampler, noise levels visited, guidance w."""

    sampler: Sampler
    sampling_steps: Count
    guidance: Guidance


How = Sampling | DiffusionSettings


def nfe(how: How) -> int:
    """Network evaluations a sampled set costs: one a step, twice that if guidance is not 0 (256 -> 512)."""
    return how.sampling_steps * (1 if how.guidance == 0 else 2)


@torch.no_grad()
def sample(
    denoiser: Denoiser, z_q: Tensor | np.ndarray, L: int, how: How, generator: Randomness = None, alike: bool = False
) -> Tensor:
    """One set of L >= 1 rows for each query of z_q (B, d), or (B, 1 + n, d) with the contents nearest to each behind
    it, drawn from the denoiser with classifier-free guidance.

    D_w = (1 + w) D(Z; σ, z_q) - w D(Z; σ, null), both from one call on a batch of 2B. With w = 0 the second half is not
    computed. The noise is drawn on the generator's device, so that a CPU generator gives the same noise anywhere. Each
    query has noise of its own, or if `alike` that of a query asked alone, so that its set does not depend on the batch.

    Returns (B, L, d), as the model gives them: close to unit length where the data are, but not normalised.
    Raises ValueError for queries of the wrong shape, or a set without a row.
    """
    L = whole("L", L, 1, why="a set needs a row")
    z_q = torch.as_tensor(z_q).to(denoiser.null)  # its device and precision
    was_training = denoiser.training
    denoiser.eval()
    try:
        B, w = len(z_q), how.guidance
        keep = torch.arange(2 * B if w else B, device=z_q.device) < B
        context = denoiser.context(torch.cat([z_q, z_q]) if w else z_q, keep)

        def D(Z: Tensor, sigma: float) -> Tensor:
            if not w:
                return denoiser(Z, sigma, context=context)
            conditional, unconditional = denoiser(Z.repeat(2, 1, 1), sigma, context=context).chunk(2)
            return torch.lerp(unconditional, conditional, 1 + w)

        def randn(shape: tuple[int, ...]) -> Tensor:
            place = generator.device if generator is not None else z_q.device
            drawn = (1 if alike else B, *shape[1:])
            noise = torch.randn(drawn, generator=generator, device=place, dtype=z_q.dtype)
            return noise.to(z_q.device).expand(shape)

        start = context.centre[:B] / denoiser.schedule.top  # noise lies about what rows are denoised about
        noise = start + randn((B, L, z_q.shape[-1]))
        return solve(D, noise, denoiser.schedule, how.sampler, how.sampling_steps, randn)
    finally:
        denoiser.train(was_training)


def solve(
    D: Denoise, noise: Tensor, schedule: TangentSchedule, sampler: Sampler, steps: int, randn: Noise = torch.randn
) -> Tensor:
    """Carry standard normal noise, of any shape, to a sample of the distribution that D(x, σ) denoises. `randn(shape)`
    draws the noise that `sde` adds on its way."""
    x = noise * schedule.top
    if sampler == "sde":
        return _euler_maruyama(D, x, schedule, schedule.grid(steps), randn)
    if sampler == "ode":
        return _flow(D, x, schedule.grid(steps), second_order=False)
    if sampler == "dpm":
        sigmas = schedule.grid(steps, end=schedule.sigma_data / 10, rho=math.inf)
        return _flow(D, x, sigmas, second_order=True)
    raise ValueError(f"sampler={sampler!r}: must be sde, ode or dpm")


def _euler_maruyama(D: Denoise, x: Tensor, schedule: TangentSchedule, sigmas: Tensor, randn: Noise) -> Tensor:
    t = schedule.inverse(sigmas)
    slopes = schedule.slope(t).tolist()
    steps = (t[:-1] - t[1:]).tolist()
    *before, last = sigmas.tolist()
    for sigma, slope, dt in zip(before, slopes, steps):
        # dx = -2 σ σ' ∇log p dt + sqrt(2 σ σ') dw, backwards in t, with ∇log p = (D - x) / σ²
        x = x + (2 * slope / sigma * dt) * (D(x, sigma) - x)
        x = x + math.sqrt(2 * sigma * slope * dt) * randn(tuple(x.shape))
    return D(x, last)


def _flow(D: Denoise, x: Tensor, sigmas: Tensor, second_order: bool) -> Tensor:
    *levels, last = sigmas.tolist()
    before, h_before = None, 0.0  # the denoised set and the step in -ln σ of the move before
    for sigma, following in zip(levels, sigmas[1:].tolist()):
        denoised, h = D(x, sigma), math.log(sigma / following)
        ahead = denoised
        if second_order and before is not None:  # extrapolate D to the middle of the step
            ahead = denoised + (denoised - before) * (h / (2 * h_before))
        x = torch.lerp(ahead, x, following / sigma)
        before, h_before = denoised, h
    return D(x, last)
