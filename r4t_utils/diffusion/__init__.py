"""Stage 3 of the paper: the set diffusion model that a fan-out policy is compiled into (Section 2.5)."""

from r4t_utils.diffusion.denoiser import Denoiser, DenoiserConfig
from r4t_utils.diffusion.samplers import SAMPLERS, nfe, sample, solve
from r4t_utils.diffusion.schedule import TangentSchedule
from r4t_utils.diffusion.training import PairSampler, ema_decay, learning_rate, set_loss, train, update_ema

__all__ = ["SAMPLERS", "Denoiser", "DenoiserConfig", "PairSampler", "TangentSchedule", "ema_decay", "learning_rate",
           "nfe", "sample", "set_loss", "solve", "train", "update_ema"]
