"""The denoiser D(Z; σ, z_q): a set transformer on L continuous tokens with EDM preconditioning.

The paper names a "Coherent Transformer" and gives sizes and a parameter count but no layout. The layout below
is a plain pre-norm transformer; each block has

    self-attention over the L rows  (normalisation scaled and shifted by the noise level, see `Block`)
    cross-attention to z_q
    an MLP of width `mlp`

With Table 3's sizes (d = 128, hidden 1024, MLP 1024, 16 heads, 6 layers) and the noise embedding of width 128
that is stock in swirl-dynamics it has 53,876,352 parameters; the paper says 53.9 M.

There is no position information: a target is a set (its rows are permuted in training), so D is
permutation-equivariant over rows, and what tells rows apart at sampling is their noise alone.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from r4t_utils.diffusion.layers import NOISE_WIDTH, Block
from r4t_utils.diffusion.schedule import TangentSchedule


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of the denoiser and the noise range it is trained on; defaults are Table 3."""

    d: int = 128
    hidden: int = 1024
    mlp: int = 1024
    heads: int = 16
    layers: int = 6
    dropout: float = 0.1
    attention_dropout: float = 0.1
    sigma_data: float = 0.088
    sigma_min: float = 1e-4
    sigma_max: float = 80.0

    def __post_init__(self):
        for name in ("d", "hidden", "mlp", "heads", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.hidden % self.heads:
            raise ValueError(f"hidden={self.hidden} is not a multiple of heads={self.heads}; change one")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be in [0, 1)")
        TangentSchedule(self.sigma_data, self.sigma_min, self.sigma_max)  # checks the three levels


class Denoiser(nn.Module):
    """D(Z; σ, z_q) = c_skip Z + c_out F(c_in Z; c_noise, z_q), which predicts the clean set Z_0.

    Args:
        config: sizes and noise range.
        seed: of the initial weights; the caller's random state is left as it was.
    """

    def __init__(self, config: DenoiserConfig = DenoiserConfig(), seed: int = 0):
        super().__init__()
        self.config = config
        self.schedule = TangentSchedule(config.sigma_data, config.sigma_min, config.sigma_max)
        # Fourier rates for c_noise = ln(σ)/4, which spans about [-2.3, 0.5]
        self.register_buffer("rates", math.pi * torch.logspace(-1, 1.5, NOISE_WIDTH // 2), persistent=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.null = nn.Parameter(torch.randn(config.d) / math.sqrt(config.d))  # unit-length, as z_q is
            self.rows_in = nn.Linear(config.d, config.hidden)
            self.noise = nn.Sequential(
                nn.Linear(NOISE_WIDTH, 2 * NOISE_WIDTH), nn.SiLU(), nn.Linear(2 * NOISE_WIDTH, NOISE_WIDTH), nn.SiLU()
            )
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
            self.norm = nn.LayerNorm(config.hidden)
            self.rows_out = nn.Linear(config.hidden, config.d)
        for layer in (self.rows_out, *(block.film for block in self.blocks)):
            nn.init.zeros_(layer.weight)  # so that at first D = c_skip Z, the best linear guess, at every σ
            nn.init.zeros_(layer.bias)

    @classmethod
    def from_settings(cls, d: int, diffusion, seed: int = 0) -> "Denoiser":
        """A new denoiser for rows of width d with the sizes of the settings section `diffusion`."""
        names = [name for name in DenoiserConfig.__dataclass_fields__ if name != "d"]
        return cls(DenoiserConfig(d=d, **{name: getattr(diffusion, name) for name in names}), seed)

    def precondition(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in, c_noise at σ > 0: Karras et al. 2022, Table 1, column EDM."""
        data = self.config.sigma_data
        total = sigma**2 + data**2
        return data**2 / total, sigma * data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4

    def context(self, z_q: Tensor, keep: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """What the cross-attention of each block needs from the queries z_q (B, d); the same at every σ.

        Attention sees two tokens: the query and the learned null token. Where keep (B,) is False the null
        token stands in for the query as well: the unconditional model of classifier-free guidance. Tokens of
        unit length are scaled by sqrt(d) to unit variance, as c_in scales the rows: smaller ones are learnt late.
        """
        if z_q.ndim != 2 or z_q.shape[1] != self.config.d:
            raise ValueError(f"z_q has shape {tuple(z_q.shape)}: must be (B, {self.config.d})")
        null = self.null.expand_as(z_q)
        if keep is not None:
            z_q = torch.where(keep[:, None], z_q, null)
        tokens = torch.stack([z_q, null], dim=1) * math.sqrt(self.config.d)
        return [block.cross.fold(tokens) for block in self.blocks]

    def forward(
        self,
        Z: Tensor,
        sigma: Tensor,
        z_q: Tensor | None = None,
        keep: Tensor | None = None,
        context: list | None = None,
    ) -> Tensor:
        """The denoised set (B, L, d).

        Args:
            Z: noisy sets (B, L, d). sigma: noise levels (B,), or one level for all, of shape ().
            z_q: queries (B, d), with keep (B,) saying which are not dropped; or their `context`.
        """
        if Z.ndim != 3 or Z.shape[2] != self.config.d:
            raise ValueError(f"Z has shape {tuple(Z.shape)}: must be (B, L, {self.config.d})")
        sigma = torch.as_tensor(sigma, dtype=Z.dtype, device=Z.device)
        if sigma.shape not in ((), (Z.shape[0],)):
            raise ValueError(f"sigma has shape {tuple(sigma.shape)}: must be () or ({Z.shape[0]},)")
        if context is None:
            if z_q is None or len(z_q) != len(Z):
                raise ValueError(f"z_q must have one row for each of the {len(Z)} sets of Z")
            context = self.context(z_q, keep)
        if sigma.ndim:
            sigma = sigma[:, None, None]
        c_skip, c_out, c_in, c_noise = self.precondition(sigma)
        angles = c_noise.reshape(-1, 1, 1) * self.rates
        level = self.noise(torch.cat([angles.sin(), angles.cos()], dim=-1))  # (B or 1, 1, width)
        x = self.rows_in(c_in * Z)
        for block, folded in zip(self.blocks, context):
            x = block(x, level, folded)
        return c_skip * Z + c_out * self.rows_out(self.norm(x))

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors into the folder (made if missing)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Denoiser":
        """The denoiser that `save` wrote, on the CPU and in evaluation mode."""
        folder = Path(folder)
        if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
            raise ValueError(f"{folder} holds no denoiser (config.json, model.safetensors); train one first")
        denoiser = cls(DenoiserConfig(**json.loads((folder / "config.json").read_text())))
        denoiser.load_state_dict(load_file(folder / "model.safetensors"))
        return denoiser.eval()
