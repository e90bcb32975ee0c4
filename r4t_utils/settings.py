"""Every setting of a run, its type and its rule. The values live in notebooks/profiles/*.yaml."""

import dataclasses
import math
from dataclasses import dataclass

KEY_VALUE_HEADS = 2  # of the small policy, shared by its attention heads: the cache's size bounds sampling on a CPU


class SettingsError(ValueError):
    """A profile, parameter or override that names nothing known, or a value that breaks its rule."""


def _within(low=-math.inf, high=math.inf, above=None):
    """A number in [low, high], or in (above, high]."""
    return dataclasses.field(metadata={"low": low, "high": high, "above": above})


def _one_of(*choices):
    return dataclasses.field(metadata={"choices": choices})


@dataclass(frozen=True)
class CorpusSettings:
    n_outfits: int = _within(20)
    n_oar_queries: int = _within(20)
    n_wscr_queries: int = _within(20)
    max_outfits: int = _within(0)  # 0 = all outfits of a real data set


@dataclass(frozen=True)
class EncoderSettings:
    d: int = _within(2, 384)  # the sentence encoder has no more
    prefixes: tuple[int, ...] = _within(1)
    epochs: int = _within(1)
    batch_size: int = _within(2)
    learning_rate: float = _within(above=0, high=1)
    temperature: float = _within(above=0, high=10)


@dataclass(frozen=True)
class FolmSettings:
    policy: str  # "small", a hub id or a local directory
    lora_rank: int = _within(0)  # 0 = train every weight
    hidden: int = _within(8)
    layers: int = _within(1)
    heads: int = _within(1)
    vocab_size: int = _within(64)
    warmup_copies: int = _within(0)
    warmup_fanouts: int = _within(0)
    warmup_epochs: int = _within(0)
    warmup_batch: int = _within(1)
    warmup_lr: float = _within(above=0, high=1)
    k: int = _within(1, 100)
    max_prompt_tokens: int = _within(4)
    max_new_tokens: int = _within(4)
    temperature: float = _within(above=0, high=10)
    top_p: float = _within(above=0, high=1)


@dataclass(frozen=True)
class RlSettings:
    steps: int = _within(1)
    group: int = _within(2)  # Eq. 6 needs a spread within the group
    prompts_per_step: int = _within(1)
    micro_batch: int = _within(1)  # completions in one forward pass; a matter of memory alone
    steps_per_generation: int = _within(1)
    num_iterations: int = _within(1)
    learning_rate: float = _within(above=0, high=1)
    clip: float = _within(above=0, high=1)
    beta1: float = _within(0)
    beta2: float = _within(0)
    reference_kl: float = _within(0)
    lambda_g: float = _within(0, 1)
    lambda_d: float = _within(0, 1)
    lambda_a: float = _within(0, 1)
    diversity: str = _one_of("vendi", "vendi_over_k")
    repeats: str = _one_of("once", "printed")
    temperature: float = _within(above=0, high=10)


@dataclass(frozen=True)
class SynthesisSettings:
    fanouts_per_query: int = _within(1)
    temperature: float = _within(above=0, high=10)
    slots: int = _within(1, 100)
    batch_size: int = _within(1)


@dataclass(frozen=True)
class DiffusionSettings:
    hidden: int = _within(8)
    mlp: int = _within(8)
    heads: int = _within(1)
    layers: int = _within(1)
    dropout: float = _within(0, 0.9)
    attention_dropout: float = _within(0, 0.9)
    sigma_data: float = _within(above=0)
    sigma_min: float = _within(above=0)
    sigma_max: float = _within(1)  # in standard deviations of the data; sampling starts here
    condition_drop: float = _within(0, 1)
    ema: float = _within(0, 1)
    peak_lr: float = _within(above=0, high=1)
    warmup_steps: int = _within(0)
    steps: int = _within(1)
    batch_size: int = _within(1)
    guidance: float = _within(0)
    sampler: str = _one_of("sde", "ode", "dpm")
    sampling_steps: int = _within(1)


@dataclass(frozen=True)
class EvaluationSettings:
    best_of: int = _within(1)
    pool_fraction: float = _within(above=0, high=1)
    runs: int = _within(2)
    bootstrap: int = _within(100)
    alpha: float = _within(0, 1)


@dataclass(frozen=True)
class LatencySettings:
    batch_sizes: tuple[int, ...] = _within(1)
    repeats: int = _within(1)
    warmup: int = _within(0)


@dataclass(frozen=True)
class Settings:
    """Everything a run can be told besides profile, data set, data folder and seed."""

    corpus: CorpusSettings
    encoder: EncoderSettings
    folm: FolmSettings
    rl: RlSettings
    synthesis: SynthesisSettings
    diffusion: DiffusionSettings
    evaluation: EvaluationSettings
    latency: LatencySettings

    def section_dict(self, names=None) -> dict:
        """The named sections (all by default) as plain nested dicts, for hashing and recording."""
        names = [f.name for f in dataclasses.fields(self)] if names is None else names
        return {
            name: {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in dataclasses.asdict(getattr(self, name)).items()
            }
            for name in names
        }


SECTIONS = {f.name: f.type for f in dataclasses.fields(Settings)}


def _rises(values) -> bool:
    return list(values) == sorted(set(values))


def check_consistency(s: Settings) -> None:
    """Rules that tie two settings together; SettingsError for the first that is broken."""
    completions = s.rl.prompts_per_step * s.rl.group
    top = s.diffusion.sigma_max * s.diffusion.sigma_data  # sigma_max counts in standard deviations of the data
    rules = [
        (
            _rises(s.encoder.prefixes) and s.encoder.prefixes[-1] == s.encoder.d,
            f"encoder.prefixes={list(s.encoder.prefixes)} must rise and end at encoder.d={s.encoder.d}",
        ),
        (
            s.folm.policy != "small" or s.folm.hidden % (2 * s.folm.heads) == 0,
            f"folm.hidden={s.folm.hidden} must be a multiple of 2 * folm.heads = {2 * s.folm.heads}: rotary positions "
            "turn the coordinates of a head in pairs",
        ),
        (
            s.folm.policy != "small" or s.folm.heads % KEY_VALUE_HEADS == 0,
            f"folm.heads={s.folm.heads} must be a multiple of {KEY_VALUE_HEADS}, the key-value heads of policy=small",
        ),
        (
            s.diffusion.hidden % s.diffusion.heads == 0,
            f"diffusion.hidden={s.diffusion.hidden} must be a multiple of diffusion.heads={s.diffusion.heads}",
        ),
        (
            s.diffusion.sigma_min < top,
            f"diffusion.sigma_min={s.diffusion.sigma_min} must be below "
            f"sigma_max * sigma_data = {s.diffusion.sigma_max} * {s.diffusion.sigma_data} = {top:.4g}",
        ),
        (
            s.diffusion.warmup_steps <= s.diffusion.steps,
            f"diffusion.warmup_steps={s.diffusion.warmup_steps} must not exceed steps={s.diffusion.steps}",
        ),
        (
            s.rl.lambda_g + s.rl.lambda_d + s.rl.lambda_a > 0,
            "rl.lambda_g, rl.lambda_d and rl.lambda_a must not all be 0",
        ),
        (
            completions % min(s.rl.micro_batch, completions) == 0,
            f"rl.micro_batch={s.rl.micro_batch} must divide rl.prompts_per_step * rl.group = {completions}",
        ),
        (s.folm.k <= s.corpus.n_outfits, f"folm.k={s.folm.k} must not exceed corpus.n_outfits={s.corpus.n_outfits}"),
        (
            s.folm.k <= s.synthesis.slots,
            f"folm.k={s.folm.k} must not exceed synthesis.slots={s.synthesis.slots}, the rows to take a fan-out from",
        ),
        (_rises(s.latency.batch_sizes), f"latency.batch_sizes={list(s.latency.batch_sizes)} must increase"),
        (
            s.latency.batch_sizes[0] <= 64,
            f"latency.batch_sizes={list(s.latency.batch_sizes)} must hold a size of 64 or less, at which C9 is judged",
        ),
    ]
    for holds, message in rules:
        if not holds:
            raise SettingsError(f"{message}; change one of them")
