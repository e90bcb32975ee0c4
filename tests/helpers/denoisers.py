"""Small denoisers for the tests of the set diffusion model."""

import torch

from r4t_utils.diffusion.denoiser import Denoiser, DenoiserConfig

SMALL = DenoiserConfig(d=8, hidden=32, mlp=48, heads=4, layers=2, sigma_data=0.35)


def awake(config=SMALL, seed=0):
    """A denoiser whose zero-initialised layers have weights too, in evaluation mode."""
    denoiser = Denoiser(config, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in denoiser.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return denoiser
