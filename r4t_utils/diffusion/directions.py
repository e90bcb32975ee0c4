"""R4T-Diffusion at work: the retrieval directions of a batch of queries, all at once."""

import numpy as np
import torch

from r4t_utils.diffusion.samplers import sample


def directions(denoiser, z_q: np.ndarray, k: int, L: int, settings, seed: int) -> np.ndarray:
    """k of the L rows that the denoiser emits at once (rows are exchangeable), unit norm: z_q (n, d) -> (n, k, d)."""
    rows = sample(
        denoiser,
        torch.from_numpy(z_q),
        L,
        sampler=settings.sampler,
        steps=settings.sampling_steps,
        guidance=settings.guidance,
        generator=torch.Generator().manual_seed(seed),
    )[:, :k]
    return torch.nn.functional.normalize(rows, dim=-1).cpu().numpy()
