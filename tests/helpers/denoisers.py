"""Small denoisers for the tests of the set diffusion model."""

import torch

from r4t_utils.diffusion.denoiser import Denoiser, DenoiserConfig
from r4t_utils.settings import DiffusionSettings

SIZES = {"hidden": 32, "mlp": 48, "heads": 4, "layers": 2, "sigma_data": 0.35}
SMALL = DenoiserConfig(d=8, **SIZES)


def settings(**change) -> DiffusionSettings:
    """Settings of a run of 12 steps, and ``change``."""
    rest = {"dropout": 0.1, "attention_dropout": 0.1, "sigma_min": 1e-4, "sigma_max": 80.0}
    rest |= {"neighbours": 0, "around_query": False}
    steps = {"steps": 12, "batch_size": 16, "peak_lr": 3e-3, "warmup_steps": 3, "ema": 0.9, "condition_drop": 0.1}
    sampling = {"sampler": "dpm", "sampling_steps": 5, "guidance": 0.0}
    return DiffusionSettings(**SIZES | rest | steps | sampling | change)


def awake(config=SMALL, seed=0):
    """A denoiser whose zero-initialised layers have weights too, in evaluation mode."""
    denoiser = Denoiser(config, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in denoiser.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return denoiser
