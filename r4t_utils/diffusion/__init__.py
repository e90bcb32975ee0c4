"""Stage 3 of the paper: the set diffusion model that a fan-out policy is compiled into (Section 2.5)."""

from .denoiser import Denoiser, DenoiserConfig
from .samplers import SAMPLERS, nfe, sample, solve
from .schedule import TangentSchedule
from .training import PairSampler, ema_decay, learning_rate, set_loss, train, update_ema

__all__ = ["SAMPLERS", "Denoiser", "DenoiserConfig", "PairSampler", "TangentSchedule", "ema_decay", "learning_rate",
           "nfe", "sample", "set_loss", "solve", "train", "update_ema"]
