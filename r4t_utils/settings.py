"""Every setting of a run, its type and its rule. The values live in notebooks/profiles/*.yaml."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

MINILM_LAYERS = 6
LETTERS = 64  # tokens of the small policy for letters, digits, marks and the frame of an answer, numbers apart
KEY_VALUE_HEADS = 2  # of the small policy, shared by its attention heads: the cache's size bounds sampling on a CPU


class SettingsError(ValueError):
    """A profile, parameter or override that names nothing known, or a value that breaks its rule."""


def _float(value: object) -> object:
    """YAML reads 1e-3, without a point, as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _rises(values: tuple[int, ...]) -> tuple[int, ...]:
    if list(values) != sorted(set(values)):
        raise ValueError("must increase")
    return values


Natural = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=8)]
Real = Annotated[float, BeforeValidator(_float)]
Weight = Annotated[Real, Field(ge=0)]
Guidance = Annotated[Real, Field(ge=0, le=20)]  # the paper has 0.1; twenty is far above what anyone uses
Positive = Annotated[Real, Field(gt=0)]
Rate = Annotated[Real, Field(gt=0, le=1)]
Share = Annotated[Real, Field(ge=0, le=1)]
Dropout = Annotated[Real, Field(ge=0, le=0.9)]
Temperature = Annotated[Real, Field(gt=0, le=10)]
Text = Annotated[str, Field(pattern=r"\S")]
Sizes = Annotated[
    tuple[Count, ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    Field(min_length=1),
    AfterValidator(_rises),
]


class Section(BaseModel):
    """Settings that belong together; unknown names, wrong types and values out of range are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class CorpusSettings(Section):
    n_outfits: Annotated[int, Field(ge=20)]
    n_oar_queries: Annotated[int, Field(ge=20)]
    n_wscr_queries: Annotated[int, Field(ge=20)]
    max_outfits: Natural  # 0 = all outfits of a real data set


class EncoderSettings(Section):
    finetune_steps: Natural  # 0 = leave the sentence encoder as it is
    finetune_layers: Annotated[int, Field(ge=1, le=MINILM_LAYERS)]  # the upper ones
    finetune_batch: Annotated[int, Field(ge=2)]
    finetune_items: Count
    finetune_rate: Rate
    finetune_temperature: Temperature
    d: Annotated[int, Field(ge=2, le=384)]  # the sentence encoder has no more
    prefixes: Sizes
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Rate
    temperature: Temperature

    @model_validator(mode="after")
    def _whole_vector_last(self):
        prefixes, rule = list(self.prefixes), f"must rise and end at encoder.d={self.d}"
        return _need(self, prefixes[-1] == self.d, f"encoder.prefixes={prefixes} {rule}")


class FolmSettings(Section):
    policy: Text  # "small", a hub id or a local directory
    lora_rank: Natural  # 0 = train every weight
    hidden: Width
    layers: Count
    heads: Count
    vocab_size: Natural
    warmup_copies: Natural
    warmup_fanouts: Natural
    warmup_epochs: Natural
    warmup_batch: Count
    warmup_lr: Rate
    k: Annotated[int, Field(ge=1, le=100)]
    max_prompt_tokens: Annotated[int, Field(ge=4)]
    max_new_tokens: Annotated[int, Field(ge=4)]
    temperature: Temperature
    top_p: Rate
    sampler: Literal["own", "vllm"]

    @property
    def warmed_up(self) -> bool:
        """Whether the zero-shot policy is one that is trained here, and not a pretrained one as it came."""
        return self.policy == "small" or self.warmup_fanouts > 0

    @model_validator(mode="after")
    def _heads_fit(self):
        lessons = "must be 1 or more where the policy is warmed up (folm.policy=small, or folm.warmup_fanouts above 0)"
        _need(self, self.warmup_epochs > 0 or not self.warmed_up, f"folm.warmup_epochs={self.warmup_epochs} {lessons}")
        if self.policy != "small":
            return self
        even = (
            f"folm.hidden={self.hidden} must be a multiple of 2 * folm.heads = {2 * self.heads}: rotary positions turn"
        )
        _need(self, self.hidden % (2 * self.heads) == 0, f"{even} the coordinates of a head in pairs")
        least, why = LETTERS + self.k, f"{LETTERS} are for letters and marks, and folm.k={self.k} for numbers"
        _need(self, self.vocab_size >= least, f"folm.vocab_size={self.vocab_size} must be {least} or more: {why}")
        shared = f"{KEY_VALUE_HEADS}, the key-value heads of policy=small"
        return _need(self, self.heads % KEY_VALUE_HEADS == 0, f"folm.heads={self.heads} must be a multiple of {shared}")


class RlSettings(Section):
    steps: Count
    group: Annotated[int, Field(ge=2)]  # Eq. 6 needs a spread within the group
    prompts_per_step: Count
    micro_batch: Count  # completions in one forward pass; a matter of memory alone
    steps_per_generation: Count
    num_iterations: Count
    learning_rate: Rate
    clip: Rate
    beta1: Weight
    beta2: Weight
    reference_kl: Weight
    lambda_g: Share
    lambda_d: Share
    lambda_a: Share
    diversity: Literal["vendi", "vendi_over_k"]
    alignment: Literal["text", "found"]
    terms: Literal["as_is", "standardised", "product"]
    credit: Literal["set", "sub_query"]
    repeats: Literal["once", "printed"]
    pool_fraction: Rate  # of the items, that the k directions of WSCR may return together: R(Q) of Eq. 5
    temperature: Temperature

    @model_validator(mode="after")
    def _weights_and_passes(self):
        weights = self.lambda_g + self.lambda_d + self.lambda_a
        _need(self, weights > 0, "rl.lambda_g, rl.lambda_d and rl.lambda_a must not all be 0")
        alone = self.credit == "set" or self.terms == "as_is"
        _need(self, alone, f"rl.credit=sub_query shares out Eq. 1; it needs rl.terms=as_is, not {self.terms}")
        completions = self.prompts_per_step * self.group
        whole = completions % min(self.micro_batch, completions) == 0
        rule = f"must divide rl.prompts_per_step * rl.group = {completions}"
        return _need(self, whole, f"rl.micro_batch={self.micro_batch} {rule}")


class SynthesisSettings(Section):
    fanouts_per_query: Count
    temperature: Temperature
    slots: Annotated[int, Field(ge=1, le=100)]
    targets: Literal["contents", "sub_queries"]  # rows of an OAR target; WSCR's are sub-queries
    batch_size: Count


class DiffusionSettings(Section):
    hidden: Width
    mlp: Width
    heads: Count
    layers: Count
    dropout: Dropout
    attention_dropout: Dropout
    sigma_data: Positive
    sigma_min: Positive
    sigma_max: Annotated[Real, Field(ge=1)]  # in standard deviations of the data; sampling starts here
    neighbours: Natural
    around_query: bool
    condition_drop: Share
    ema: Share
    peak_lr: Rate
    warmup_steps: Natural
    steps: Count
    batch_size: Count
    guidance: Guidance
    sampler: Literal["sde", "ode", "dpm"]
    sampling_steps: Count

    @model_validator(mode="after")
    def _sizes_and_levels_fit(self):
        heads = f"must be a multiple of diffusion.heads={self.heads}"
        _need(self, self.hidden % self.heads == 0, f"diffusion.hidden={self.hidden} {heads}")
        top = self.sigma_max * self.sigma_data
        product = f"sigma_max * sigma_data = {self.sigma_max} * {self.sigma_data} = {top:.4g}"
        _need(self, self.sigma_min < top, f"diffusion.sigma_min={self.sigma_min} must be below {product}")
        longest = f"must not exceed steps={self.steps}"
        return _need(self, self.warmup_steps <= self.steps, f"diffusion.warmup_steps={self.warmup_steps} {longest}")


class Merging(Section):
    """How the ranked lists of a fan-out become one set (`space/merging.py`), and the plain query's share in it."""

    rule: Literal["fill", "round_robin", "fusion", "top1"]
    query_weight: Annotated[Real, Field(ge=0, lt=1)]


class EvaluationSettings(Section):
    best_of: Count
    runs: Annotated[int, Field(ge=2)]
    bootstrap: Annotated[int, Field(ge=500)]  # with fewer, Holm's correction leaves every claim undecided
    alpha: Share

    @model_validator(mode="after")
    def _enough_samples(self):
        samples = f"must not exceed evaluation.runs={self.runs}, the samples that it chooses from"
        return _need(self, self.best_of <= self.runs, f"evaluation.best_of={self.best_of} {samples}")


class LatencySettings(Section):
    batch_sizes: Sizes
    repeats: Count
    warmup: Natural

    @model_validator(mode="after")
    def _claim_is_judged(self):
        judged = "must hold a size of 64 or less, at which C9 is judged"
        return _need(self, self.batch_sizes[0] <= 64, f"latency.batch_sizes={list(self.batch_sizes)} {judged}")


class Settings(Section):
    """Everything a run can be told besides profile, data set, data folder and seed."""

    corpus: CorpusSettings
    encoder: EncoderSettings
    folm: FolmSettings
    rl: RlSettings
    synthesis: SynthesisSettings
    diffusion: DiffusionSettings
    merging: Merging
    evaluation: EvaluationSettings
    latency: LatencySettings

    @model_validator(mode="after")
    def _a_fanout_fits(self):
        k, outfits, slots = self.folm.k, self.corpus.n_outfits, self.synthesis.slots
        _need(self, k <= outfits, f"folm.k={k} must not exceed corpus.n_outfits={outfits}")
        rows = f"must not exceed synthesis.slots={slots}, the rows to take a fan-out from"
        _need(self, k <= slots, f"folm.k={k} {rows}")
        credit = "rl.credit=sub_query needs folm.k of 2 or more: what a set loses without its only sub-query is no set"
        return _need(self, k > 1 or self.rl.credit == "set", credit)


SECTIONS: dict[str, Any] = {name: field.annotation for name, field in Settings.model_fields.items()}

# By pydantic's name of a fault; the braces are filled from its context.
RULES = {
    "missing": "is missing",
    "extra_forbidden": "is not known",
    "model_type": "is not a mapping",
    "list_type": "is not a list",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "finite_number": "must be finite",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "string_type": "is not text",
    "string_unicode": "holds half a surrogate pair",
    "string_pattern_mismatch": "is not text",
    "tuple_type": "is not a list of whole numbers, such as [1,2,4]",
    "too_short": "is an empty list",
    "value_error": "{error}",
}


def _need(settings: Any, holds: bool, message: str) -> Any:
    if not holds:
        raise ValueError(f"{message}; change one of them")
    return settings


def fault(error: Any) -> str:
    """One fault that pydantic found, in words: the name, the value (where there is a telling one) and the rule."""
    name, kind = ".".join(map(str, error["loc"])) or "the whole", error["type"]
    value = "" if kind in ("missing", "extra_forbidden") else f"={error['input']!r:.200}"
    return f"{name}{value} {RULES.get(kind, 'is not allowed').format(**error.get('ctx', {}))}"


def explained(error: ValidationError, source: str) -> SettingsError:
    """What is wrong with settings read from `source`: every wrong name, or the first value with its rule."""
    first = error.errors()[0]
    place, misnamed = first["loc"], ("missing", "extra_forbidden", "model_type")
    if first["type"] in misnamed:
        faults = "; ".join(fault(e) for e in error.errors() if e["type"] in misnamed)
        names = SECTIONS[str(place[0])].model_fields if len(place) > 1 else SECTIONS
        return SettingsError(f"{source}: {faults}; the names are {', '.join(names)}; restore the file")
    ties_two = first["type"] == "value_error" and len(place) < 2  # such a rule names its settings itself
    return SettingsError(str(first.get("ctx", {})["error"]) if ties_two else f"{fault(first)}; change it")
