"""Training the denoiser: Eq. 9 with rows permuted, queries dropped, Adam, warm-up cosine and an EMA.

All randomness of step n (batch, noise, permutation, dropout) follows from (seed, n) alone, whatever was evaluated or
sampled in between.
"""

import copy
import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from r4t_utils.diffusion.denoiser import Denoiser, Part
from r4t_utils.machine.checks import require_same
from r4t_utils.machine.progress import Bar
from r4t_utils.settings import DiffusionSettings

LEVELS = 8  # noise levels at which the loss is reported
PROBE_SETS = 64  # sets behind that loss

Data = Tensor | np.ndarray
Counts = Data | list[int] | None


def set_loss(denoiser: Denoiser, Z: Tensor, z_q: Tensor, sigma: Tensor, noise: Tensor, keep: Part = None) -> Tensor:
    """Eq. 9 for each set: λ(σ) ‖D(Z + σn; σ, z_q) - Z‖² / (L d), shape (B,).

    Dividing by the size of a set moves no minimum; unit rows that are shrunk towards 0 then score 1, whatever σ.

    Z: clean sets (B, L, d). z_q (B, d), or (B, 1 + n, d) as in `Denoiser.context`. sigma (B,). noise (B, L, d).
    keep (B,): queries not dropped.
    """
    error = denoiser(Z + sigma[:, None, None] * noise, sigma, z_q, keep) - Z
    return denoiser.schedule.weight(sigma) * error.square().mean(dim=(1, 2))


def learning_rate(step: int, peak: float, warmup: int, steps: int) -> float:
    """Linear from 0 to `peak` over `warmup` steps, then half a cosine down to 0 at `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def ema_decay(step: int, decay: float) -> float:
    """Decay of the weight average after update `step` (from 0): min(decay, (1 + step) / (10 + step)).

    The ramp forgets the initial weights in short runs; it ends after some 9 / (1 - decay) updates.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(ema: Denoiser, denoiser: Denoiser, decay: float) -> None:
    """ema <- decay · ema + (1 - decay) · denoiser, for every weight."""
    for average, weight in zip(ema.parameters(), denoiser.parameters()):
        average.lerp_(weight, 1 - decay)


class PairSampler:
    """Draws uniformly from the data set {(z_q, Z)}: several fan-outs of a query, each query stored once.

    targets: (Q, F, L, d), or (Q, L, d) for one fan-out of each query. z_q: (Q, d), or (Q, 1 + n, d).
    counts: how many of a query's F fan-outs are valid (the first ones), (Q,); all of them if None.
    Raises ValueError for data of other shapes or not finite, counts outside 0..F, or no valid fan-out.
    """

    def __init__(self, targets: Data, z_q: Data, counts: Counts = None):
        targets, self.z_q = torch.as_tensor(targets), torch.as_tensor(z_q)
        self.targets = targets[:, None] if targets.ndim == 3 else targets
        if self.targets.ndim != 4 or self.targets.shape[0] != len(self.z_q):
            found = f"targets have shape {tuple(targets.shape)} and z_q {tuple(self.z_q.shape)}"
            raise ValueError(f"{found}: must be (Q, F, L, d) or (Q, L, d), and (Q, d)")
        Q, F = self.targets.shape[:2]
        counts = torch.full((Q,), F) if counts is None else torch.as_tensor(counts)
        if counts.shape != (Q,) or not ((counts >= 0) & (counts <= F)).all():
            raise ValueError(f"counts must hold one number from 0 to F={F} for each of the {Q} queries")
        valid = torch.arange(F) < counts[:, None]
        if not (self.targets.isfinite().all((2, 3)) | ~valid).all() or not self.z_q.isfinite().all():
            raise ValueError("targets or z_q hold values that are not finite; synthesise pairs anew")
        self.pairs = valid.nonzero()
        if not len(self.pairs):
            raise ValueError("no query has a valid fan-out; synthesise pairs first")

    def __call__(self, size: int) -> tuple[Tensor, Tensor]:
        q, f = self.pairs[torch.randint(len(self.pairs), (size,))].unbind(1)
        return self.targets[q, f], self.z_q[q]


def train(
    denoiser: Denoiser,
    targets: Data,
    z_q: Data,
    settings: DiffusionSettings,
    *,
    counts: Counts = None,
    seed: int = 0,
    eval_every: int = 0,
    on_eval: Callable[[int, Denoiser], dict] | None = None,
    label: str = "diffusion",
    checkpoint: Path | None = None,
) -> dict[str, list[dict[str, float]]]:
    """Train the denoiser in place; afterwards it holds the averaged (EMA) weights, in evaluation mode.

    targets, z_q, counts: the data, as `PairSampler` takes them, and refuses them with ValueError.
    eval_every: steps between evaluations, of which there is always one after the last step.
    on_eval: called with (step, averaged denoiser) at each evaluation; what it returns is kept.
    checkpoint: a file that is written at each evaluation, and that a process which follows a killed one goes on from.

    Returns "loss": rows step, loss; "loss_by_sigma": rows step, sigma, loss (averaged weights, fixed batch and noise);
    "evaluated": what on_eval returned.
    Raises FloatingPointError where the loss is not finite; ValueError for a checkpoint of other settings.
    """
    batch = PairSampler(targets, z_q, counts)
    place = next(denoiser.parameters()).device
    ema = copy.deepcopy(denoiser).eval().requires_grad_(False)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=settings.peak_lr, fused=True)
    state = {"denoiser": denoiser, "ema": ema, "optimiser": optimiser}
    told = settings.model_dump() | {"seed": seed}
    start, history = 0, {"loss": [], "loss_by_sigma": [], "evaluated": []}
    if checkpoint and checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=place, weights_only=True)
        require_same(checkpoint, saved["told"], told, "name another file, or remove it")
        start, history = saved["step"], saved["history"]
        for name, part in state.items():
            part.load_state_dict(saved[name])

    forked = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), Bar(settings.steps, label) as bar:
        _seed(seed, -1)
        Z, queries = (part.to(place, torch.float32) for part in batch(PROBE_SETS))
        noise = torch.randn_like(Z)
        bar.update(start)
        for step in range(start, settings.steps):
            _seed(seed, step)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, settings.peak_lr, settings.warmup_steps, settings.steps)
            denoiser.train()
            loss = _step_loss(denoiser, batch(settings.batch_size), settings.condition_drop, place)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            update_ema(ema, denoiser, ema_decay(step, settings.ema))
            done, value = step + 1, loss.item()
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss is {value} at step {done}; lower peak_lr={settings.peak_lr}")
            history["loss"].append({"step": done, "loss": value})
            bar.update(1, loss=value)
            if done == settings.steps or (eval_every and done % eval_every == 0):
                history["loss_by_sigma"] += [{"step": done, **row} for row in _losses(ema, Z, queries, noise)]
                if on_eval:
                    history["evaluated"].append(on_eval(done, ema))
                if checkpoint:
                    weights = {name: part.state_dict() for name, part in state.items()}
                    _save(checkpoint, {"step": done, "history": history, "told": told, **weights})
    denoiser.load_state_dict(ema.state_dict())
    denoiser.eval()
    return history


def _save(file: Path, state: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(file)  # whole or not at all


def _step_loss(denoiser: Denoiser, batch: tuple[Tensor, Tensor], drop: float, place: torch.device) -> Tensor:
    Z, z_q = (part.to(place, torch.float32) for part in batch)
    order = torch.rand(Z.shape[:2], device=place).argsort(dim=1)  # a set has no order: permute its rows
    Z = Z.gather(1, order[:, :, None].expand_as(Z))
    sigma = denoiser.schedule.training_sigma(len(Z)).to(place)
    keep = torch.rand(len(Z), device=place) >= drop
    return set_loss(denoiser, Z, z_q, sigma, torch.randn_like(Z), keep).mean()


@torch.no_grad()
def _losses(denoiser: Denoiser, Z: Tensor, z_q: Tensor, noise: Tensor) -> list[dict[str, float]]:
    """The loss in the middles of LEVELS equal parts of the range ln σ."""
    low, high = math.log(denoiser.schedule.sigma_min), math.log(denoiser.schedule.top)
    middles = (torch.arange(LEVELS, device=Z.device) + 0.5) / LEVELS
    levels = torch.exp(low + (high - low) * middles)
    each = (set_loss(denoiser, Z, z_q, level.expand(len(Z)), noise).mean() for level in levels)
    return [{"sigma": level.item(), "loss": loss.item()} for level, loss in zip(levels, each)]


def _seed(seed: int, step: int) -> None:
    """Seed torch for one step. Hashed, since torch's CPU generator looks at 32 bits of its seed only."""
    digest = hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=4).digest()
    torch.manual_seed(int.from_bytes(digest, "little"))
