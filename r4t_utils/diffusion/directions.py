"""R4T-Diffusion at work: the retrieval directions of a batch of queries, all at once."""

import numpy as np
import torch

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.diffusion.samplers import How, sample
from r4t_utils.machine.checks import whole


def directions(
    denoiser: Denoiser, z_q: np.ndarray, k: int, L: int, how: How, seed: int, alike: bool = False
) -> np.ndarray:
    """k of the L rows that the denoiser emits at once (rows are exchangeable), unit norm: z_q (n, d) -> (n, k, d).

    `alike`: each query has the noise that it would have alone. Raises ValueError for k outside 1..L, or a seed outside
    0..2^64 - 1.
    """
    whole("k", k, 1, L, "a set has no more rows")
    generator = torch.Generator().manual_seed(whole("seed", seed, 0, 2**64 - 1))
    rows = sample(denoiser, z_q, L, how, generator, alike)[:, :k]
    return torch.nn.functional.normalize(rows, dim=-1).cpu().numpy()
