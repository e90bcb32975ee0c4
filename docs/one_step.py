"""Generators of one evaluation, trained without a teacher: two losses of sets, and improved MeanFlow."""

import copy

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from r4t_utils.diffusion.denoiser import Context, Denoiser, DenoiserConfig, Part


def energy_score(one: Tensor, two: Tensor, Z: Tensor) -> Tensor:
    """Of two generated sets and the target (2502.02483), with `matched` as the distance."""
    return ((matched(one, Z) + matched(two, Z) - matched(one, two)) / 2).mean()


def drifting(one: Tensor, two: Tensor, Z: Tensor, width: float = 0.2) -> Tensor:
    """Rows drift towards those of the target near them and away from generated ones (after 2602.04770, one width)."""

    def shift(X: Tensor, Y: Tensor) -> Tensor:
        return (-torch.cdist(X, Y) / width).softmax(-1) @ Y - X

    with torch.no_grad():
        target = one + shift(one, Z) - shift(one, two)
    return (one - target).square().sum(-1).mean()


def matched(A: Tensor, B: Tensor) -> Tensor:
    """The mean distance of matched rows between sets A and B (n, L, d): (n,)."""
    distance = torch.cdist(A, B)
    order = [linear_sum_assignment(each)[1] for each in distance.detach().cpu().numpy()]
    chosen = torch.as_tensor(np.stack(order), device=A.device)[:, :, None]
    return distance.gather(2, chosen).mean((1, 2))


class MeanFlow(Denoiser):
    """u(z, r, t): by how much a noisy set moves from time t to r < t, per time (2512.02012), with a denoiser's layers.

    Here z = (1 - t) x + t e goes from the set x at 0, in units of sigma_data about its centre, to noise e at 1.
    """

    def __init__(self, config: DenoiserConfig, seed: int = 0):
        super().__init__(config, seed)
        self.span = copy.deepcopy(self.noise)  # embeds t - r as `noise` embeds t

    def velocity(self, z: Tensor, r: Tensor, t: Tensor, context: Context) -> Tensor:
        """The mean velocity of sets z (B, L, d) from times t to r (B, 1, 1)."""
        angles = (time * self.rates for time in (t, t - r))
        at, span = (torch.cat([each.sin(), each.cos()], dim=-1) for each in angles)
        x, level = self.rows_in(z), self.noise(at) + self.span(span)
        for block, folded in zip(self.blocks, context.folded):
            x = block(x, level, folded)
        return self.rows_out(self.norm(x))

    def forward(
        self, Z: Tensor, sigma: Tensor | float, z_q: Part = None, keep: Part = None, context: Context | None = None
    ) -> Tensor:
        """The sets to which noise of the deviation sigma about the centre moves from time 1 to 0."""
        assert context is not None
        e = (Z - context.centre) / sigma
        zero = torch.zeros(len(Z), 1, 1, device=Z.device)
        return context.centre + self.config.sigma_data * (e - self.velocity(e, zero, zero + 1, context))


def mean_flow_loss(net: MeanFlow, Z: Tensor, tokens: Tensor, step: float = 1e-3) -> Tensor:
    """Of the velocity that follows from the mean one, V = u + (t - r) du/dt. The derivative along the path is a central
    difference, as attention has no forward derivative here. For half of the sets r = t."""
    context, n = net.context(tokens), len(Z)
    x = (Z - context.centre) / net.config.sigma_data
    e, times = torch.randn_like(x), torch.sigmoid(torch.randn(2, n, 1, 1, device=Z.device) - 0.4)
    t, r = times.amax(0), times.amin(0)
    r = torch.where(torch.rand_like(r) < 0.5, t, r)
    z = torch.lerp(x, e, t)
    net.eval()
    with torch.no_grad():
        v = net.velocity(z, t, t, context)
        ahead, behind = (net.velocity(z + h * v, r, t + h, context) for h in (step, -step))
        slope = (ahead - behind) / (2 * step)
    net.train()
    error = (net.velocity(z, r, t, context) + (t - r) * slope - (e - x)).square().mean((1, 2))
    return (error / (error.detach() + 1e-3)).mean()
