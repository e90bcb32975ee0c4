"""R4T-Diffusion at work: the retrieval directions of a batch of queries, all at once."""

import numpy as np
import torch

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.diffusion.samplers import How, sample
from r4t_utils.machine.checks import whole
from r4t_utils.machine.device import threads_for
from r4t_utils.space.index import Searchable


def directions(
    denoiser: Denoiser,
    z_q: np.ndarray,
    index: Searchable,
    k: int,
    L: int,
    how: How,
    seed: int,
    allowed: np.ndarray | None = None,
    alike: bool = False,
) -> np.ndarray:
    """k of the L rows that the denoiser emits at once (rows are exchangeable), unit norm: z_q (n, d) -> (n, k, d).

    `index`, with `allowed`: where the contents nearest to a query are looked for, if the denoiser sees any. `alike`:
    each query has the noise that it would have alone. Raises ValueError for k outside 1..L, or a seed outside
    0..2^32 - 1, which is what torch's generator reads of one.
    """
    whole("k", k, 1, L, "a set has no more rows")
    generator = torch.Generator().manual_seed(whole("seed", seed, 0, 2**32 - 1))
    tokens = with_neighbours(z_q, index, denoiser.config.neighbours, allowed)
    with threads_for(len(tokens)):
        rows = sample(denoiser, tokens, L, how, generator, alike)[:, :k]
    return torch.nn.functional.normalize(rows, dim=-1).cpu().numpy()


def with_neighbours(z_q: np.ndarray, index: Searchable, n: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """What a denoiser is told of each query: z_q (B, d) and its n nearest contents, nearest first: (B, 1 + n, d).

    Fewer where there are fewer. Raises ValueError for queries that the index refuses.
    """
    tokens = np.asarray(z_q)[:, None]
    n = min(n, len(index) if allowed is None else len(allowed))
    if not n:
        return tokens
    return np.concatenate([tokens, index.take(index.search(z_q, n, allowed)[0])], axis=1)


def trajectory(
    denoiser: Denoiser, z_q: np.ndarray, index: Searchable, L: int, how: How, seed: int
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """How noise becomes a set for one query z_q (d,): at each level that the sampler visits, the noise σ, the noisy
    rows (L, d), and what the denoiser makes of them given the query; the last are the rows that `directions` answers
    with, before these are made unit, where there is no guidance."""
    seen = []

    def look(_, given, denoised) -> None:
        Z, sigma = given
        seen.append((float(sigma), Z[0].cpu().numpy(), denoised[0].detach().cpu().numpy()))

    handle = denoiser.register_forward_hook(look)
    try:
        directions(denoiser, z_q[None], index, L, L, how, seed)
    finally:
        handle.remove()
    return seen
