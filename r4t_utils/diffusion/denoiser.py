"""The denoiser D(Z; σ, z_q): a set transformer on L continuous tokens with EDM preconditioning.

The paper names a "Coherent Transformer" and gives sizes and a parameter count but no layout. Here it is a pre-norm
transformer of `layers.Block`. With Table 3's sizes (d = 128, hidden 1024, MLP 1024, 16 heads, 6 layers) and the noise
embedding of width 128 that is stock in swirl-dynamics it has 53,876,352 parameters; the paper says 53.9 M.

There is no position information: a target is a set (its rows are permuted in training), so D is permutation-equivariant
over rows, and what tells rows apart at sampling is their noise alone.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import model_validator
from safetensors.torch import save_file
from torch import Tensor, nn

from r4t_utils.diffusion.layers import NOISE_WIDTH, Block, zero
from r4t_utils.diffusion.schedule import TangentSchedule
from r4t_utils.machine.checks import read_json, read_tensors
from r4t_utils.settings import Count, DiffusionSettings, Dropout, Natural, Positive, Section

Part = Tensor | None


class Context(NamedTuple):
    """What a denoiser keeps of its queries: the same at every σ."""

    folded: list[tuple[Tensor, Tensor]]  # keys and values for the cross-attention of each block
    centre: Tensor  # (B, 1, d), which rows are denoised about


class DenoiserConfig(Section):
    """Sizes of the denoiser and the noise range it is trained on; defaults are Table 3. Heads must divide hidden.
    `neighbours`: contents nearest to a query that it sees beside the query; the paper's sees none. `around_query`: rows
    are denoised as differences from their query, which spread less than sigma_data; the paper's are not."""

    d: Count = 128
    hidden: Count = 1024
    mlp: Count = 1024
    heads: Count = 16
    layers: Count = 6
    dropout: Dropout = 0.1
    attention_dropout: Dropout = 0.1
    sigma_data: Positive = 0.088
    sigma_min: Positive = 1e-4
    sigma_max: Positive = 80.0
    neighbours: Natural = 0
    around_query: bool = False

    @model_validator(mode="after")
    def _fits(self) -> "DenoiserConfig":
        if self.hidden % self.heads:
            raise ValueError(f"hidden={self.hidden} is not a multiple of heads={self.heads}; change one")
        if self.sigma_min >= (top := self.sigma_max * self.sigma_data):
            product = f"sigma_max·sigma_data={self.sigma_max}·{self.sigma_data}={top:.4g}"
            raise ValueError(f"sigma_min={self.sigma_min} must be below {product}; lower sigma_min or raise sigma_max")
        return self


class Denoiser(nn.Module):
    """D(Z; σ, z_q) = c + c_skip (Z - c) + c_out F(c_in (Z - c); c_noise, z_q), which predicts the clean set Z_0.

    The centre c is 0, or z_q where the settings say so: the best linear guess then starts from the query.
    `seed` is that of the initial weights; the caller's random state is left as it was.
    """

    rates: Tensor

    def __init__(self, config: DenoiserConfig, seed: int = 0):
        super().__init__()
        self.config = c = config
        width = NOISE_WIDTH
        self.schedule = TangentSchedule(c.sigma_data, c.sigma_min, c.sigma_max)
        # Fourier rates for c_noise = ln(σ)/4, which spans about [-2.3, 0.5]
        self.register_buffer("rates", math.pi * torch.logspace(-1, 1.5, width // 2), persistent=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.null = nn.Parameter(torch.randn(c.d) / math.sqrt(c.d))  # unit-length, as z_q is
            self.rows_in = nn.Linear(c.d, c.hidden)
            self.noise = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU())
            sizes = c.d, c.hidden, c.mlp, c.heads, c.dropout, c.attention_dropout
            self.blocks = nn.ModuleList(Block(*sizes) for _ in range(c.layers))
            self.norm = nn.LayerNorm(c.hidden)
            self.rows_out = nn.Linear(c.hidden, c.d)
            zero(self.rows_out)
            if c.neighbours:  # says which token is the query, and which are contents
                self.kinds = nn.Parameter(torch.randn(2, c.d) / math.sqrt(c.d))

    @classmethod
    def from_settings(cls, d: int, settings: DiffusionSettings, seed: int = 0) -> "Denoiser":
        """A new denoiser for rows of width d with the sizes of the settings."""
        sizes = {name: getattr(settings, name) for name in DenoiserConfig.model_fields if name != "d"}
        return cls(DenoiserConfig(d=d, **sizes), seed)

    def precondition(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in, c_noise at σ > 0: Karras et al. 2022, Table 1, column EDM."""
        data = self.config.sigma_data
        total = sigma**2 + data**2
        return data**2 / total, sigma * data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4

    def context(self, z_q: Tensor, keep: Part = None) -> Context:
        """What the denoiser needs of the queries z_q (B, d), or (B, 1 + n, d) with the n contents nearest to each
        behind it.

        Attention sees these tokens and the learned null token. Where keep (B,) is False the null token stands in for
        each of them: the unconditional model of classifier-free guidance, of which the centre stays. Tokens of unit
        length are scaled by sqrt(d) to unit variance, as c_in scales the rows: smaller ones are learnt late.
        """
        tokens = z_q[:, None] if z_q.ndim == 2 else z_q
        if tokens.ndim != 3 or tokens.shape[2] != self.config.d or not tokens.shape[1]:
            raise ValueError(
                f"z_q has shape {tuple(z_q.shape)}: must be (B, {self.config.d}) or (B, n, {self.config.d})"
            )
        centre = tokens[:, :1] * self.config.around_query
        if self.config.neighbours:
            tokens = tokens + self.kinds[[0] + [1] * (tokens.shape[1] - 1)]
        null = self.null.expand_as(tokens[:, :1])
        if keep is not None:
            tokens = torch.where(keep[:, None, None], tokens, null)
        tokens = torch.cat([tokens, null], dim=1) * math.sqrt(self.config.d)
        folded = [block.cross.fold(tokens) for block in self.blocks]  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
        return Context(folded, centre)

    def forward(
        self, Z: Tensor, sigma: Tensor | float, z_q: Part = None, keep: Part = None, context: Context | None = None
    ) -> Tensor:
        """The denoised sets (B, L, d).

        Z: noisy sets (B, L, d). sigma: noise levels (B,), or one level for all, of shape ().
        z_q: queries (B, d), or (B, 1 + n, d) as in `context`, with keep (B,) saying which are not dropped; or their
        `context`. ValueError for others.
        """
        sigma = torch.as_tensor(sigma, dtype=Z.dtype, device=Z.device)
        if context is None:
            if Z.ndim != 3 or z_q is None or (*z_q.shape[:1], *z_q.shape[-1:]) != (len(Z), Z.shape[2]):
                found = f"Z has shape {tuple(Z.shape)} and z_q {z_q if z_q is None else tuple(z_q.shape)}"
                raise ValueError(f"{found}: must be (B, L, {self.config.d}) and (B, {self.config.d})")
            context = self.context(z_q, keep)
        if sigma.ndim:
            sigma = sigma[:, None, None]
        c_skip, c_out, c_in, c_noise = self.precondition(sigma)
        angles = c_noise.reshape(-1, 1, 1) * self.rates
        level = self.noise(torch.cat([angles.sin(), angles.cos()], dim=-1))  # (B or 1, 1, width)
        apart = Z - context.centre
        x = self.rows_in(c_in * apart)
        for block, folded in zip(self.blocks, context.folded):
            x = block(x, level, folded)
        return context.centre + c_skip * apart + c_out * self.rows_out(self.norm(x))

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors into the folder (made if missing)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(self.config.model_dump(), indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Denoiser":
        """The denoiser that `save` wrote, on the CPU, in evaluation mode. ValueError for files that are not those."""
        folder = Path(folder)
        config = read_json(folder / "config.json", DenoiserConfig)
        with torch.device("meta"):  # sizes alone: those of a damaged file may fit no memory
            shapes = {name: tuple(value.shape) for name, value in cls(config).state_dict().items()}
        weights = read_tensors(folder / "model.safetensors", shapes, "config.json")
        denoiser = cls(config)
        denoiser.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        return denoiser.eval()
