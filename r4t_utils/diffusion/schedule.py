"""Noise levels: the variance-exploding process, its tangent schedule, training noise and sampling grids.

A noisy set is Z + σ n with n standard normal; nothing is ever scaled down (variance exploding). Time t in [0, 1] is
only a name for σ, given by the tangent schedule. Two things here are easy to get wrong:

* σ_max = 80 of Table 3 counts in σ_data, the standard deviation of one coordinate. The schedule is scaled by it, so
  with unit rows in 128 dimensions (σ_data = 0.088 = 1/sqrt(128)) the largest noise is 80 · 0.088 = 7.04.
* σ_min = 1e-4 is absolute (not scaled): the smallest noise seen in training.

The recipe (tangent schedule, scaling, log-uniform noise, EDM weighting) is that of google-research's swirl-dynamics,
whose stock settings Table 3 matches.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ARC = 1.5  # the stretch [0, 1.5] of the tangent that the schedule uses; π/2 would reach infinity


@dataclass(frozen=True)
class TangentSchedule:
    """σ(t) = σ_top · tan(1.5 t) / tan(1.5) for t in [0, 1], with σ_top = σ_max · σ_data.

    This is the cosine schedule seen as a noise level: cos² = 1 / (1 + tan²). Raises ValueError for an empty range.
    """

    sigma_data: float = 0.088
    sigma_min: float = 1e-4
    sigma_max: float = 80.0

    def __post_init__(self):
        if not (self.sigma_data > 0 and 0 < self.sigma_min < self.top < math.inf):
            raise ValueError(f"{self}: must be positive, and sigma_min below sigma_max * sigma_data = {self.top:.4g}")

    @property
    def top(self) -> float:
        """The largest noise level on the scale of the data, σ(1) = σ_max · σ_data."""
        return self.sigma_max * self.sigma_data

    def sigma(self, t: Tensor) -> Tensor:
        """Noise level at time t in [0, 1]; rises strictly from 0 to `top`."""
        return self.top * torch.tan(ARC * t) / math.tan(ARC)

    def inverse(self, sigma: Tensor) -> Tensor:
        """Time at which the noise level is sigma in [0, top]: inverse(sigma(t)) = t."""
        return torch.atan(sigma * (math.tan(ARC) / self.top)) / ARC

    def slope(self, t: Tensor) -> Tensor:
        """dσ/dt at time t in [0, 1], which the reverse SDE needs."""
        t = t.clamp(max=1.0)  # above which the inverse may round
        return self.top * ARC / (math.tan(ARC) * torch.cos(ARC * t) ** 2)

    def weight(self, sigma: Tensor) -> Tensor:
        """λ(σ) = (σ² + σ_data²) / (σ σ_data)², the EDM weighting of Eq. 9."""
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2

    def training_sigma(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n noise levels (n,), log-uniform on [sigma_min, top] (the lower end absolute, the upper scaled).

        One random offset shifts n equally spaced levels: each level alone is log-uniform, and a batch always covers the
        whole range, so the loss is less noisy than with n independent draws.
        """
        offset = torch.rand((), generator=generator, device=generator.device if generator else None)
        u = (offset + torch.arange(n, device=offset.device) / n) % 1.0
        low, high = math.log(self.sigma_min), math.log(self.top)
        return torch.exp(low + (high - low) * u)

    def grid(self, steps: int, end: float | None = None, rho: float = 7.0) -> Tensor:
        """Sampling levels (steps,), float64, falling from `top` to `end` < top: Karras et al. 2022, Eq. 5.

        Evenly spaced in σ^(1/ρ), ρ >= 1, or in ln σ if ρ is infinite. `end` defaults to σ_data/100 (swirl-dynamics has
        1e-3): noise so small changes no nearest-content search. No level lies below sigma_min, the smallest noise that
        training visits. One step is the level `top` alone.
        """
        end = max(self.sigma_min, self.sigma_data / 100 if end is None else end)
        if not (steps >= 1 and 0 < end < self.top and rho >= 1):
            raise ValueError(
                f"steps={steps}, end={end}, rho={rho}: must be 1 or more, in (0, {self.top:.4g}), 1 or more"
            )
        u = torch.linspace(0, 1, steps, dtype=torch.float64)
        if math.isinf(rho):
            sigmas = self.top * (end / self.top) ** u
        else:
            sigmas = (self.top ** (1 / rho) * (1 - u) + end ** (1 / rho) * u) ** rho
        return sigmas.clamp(max=self.top)
