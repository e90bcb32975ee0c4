"""The fan-out language model (FOLM): a causal language model that is asked for fan-outs, in batches."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from r4t_utils.machine import progress
from r4t_utils.machine.checks import require_text
from r4t_utils.machine.device import bf16, device
from r4t_utils.policy import pretrained, sampling
from r4t_utils.policy.prompts import FORMAT, INSTRUCTION, SHORT, TASK_TOKEN, Fanout, parse
from r4t_utils.settings import FolmSettings

if TYPE_CHECKING:
    from peft import PeftModel

LINE = 24  # tokens of a first line, at most


class Folm:
    """A causal language model with its tokenizer, ready to be asked for fan-outs."""

    def __init__(
        self, model: "PreTrainedModel | PeftModel", tokenizer: PreTrainedTokenizerBase, settings: FolmSettings
    ):
        self.model, self.tokenizer, self.settings = model, tokenizer, settings

    def prompt(self, task: str, query: str) -> str:
        """The query as the policy is asked it. Raises ValueError for one without a character that can be seen."""
        require_text(query)
        if self.tokenizer.chat_template is None and self._known(TASK_TOKEN[task]):  # a small policy of ours
            return f"{TASK_TOKEN[task]} {query}"
        asked = SHORT[task] if self.settings.warmup_fanouts else INSTRUCTION[task] + FORMAT
        return self.chat([{"role": "user", "content": asked.format(k=self.settings.k, query=query)}])

    def _known(self, token: str) -> bool:
        return self.tokenizer.convert_tokens_to_ids(token) not in (None, self.tokenizer.unk_token_id)

    def chat(self, messages: list[dict[str, str]]) -> str:
        """The messages as the model was taught to read them, up to where its answer begins; thinking is off. A model
        that was not taught to converse goes on with a text."""
        if self.tokenizer.chat_template is None:
            return "".join([str(self.tokenizer.bos_token or ""), *(f"{said['content']}\n\n" for said in messages)])
        options: dict[str, Any] = {"add_generation_prompt": True, "enable_thinking": False}
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **options))

    @property
    def half(self) -> bool:
        """Whether it is sampled and trained in bfloat16. On a processor, the small policy gains nothing by that."""
        return bf16() and (self.settings.policy != "small" or device() == "cuda")

    def ends(self) -> list[int]:
        """The tokens after which an answer is over: Gemma's turns, for example, end with another than its texts."""
        configured = self.model.generation_config.eos_token_id
        configured = configured if isinstance(configured, list) else [configured]
        return sorted({token for token in [*configured, self.tokenizer.eos_token_id] if token is not None})

    def _line_ends(self) -> list[int]:
        """The tokens that end a line, or hold the end of one."""
        said = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        return [token for token, text in enumerate(said) if "\n" in text]

    @torch.inference_mode()
    def complete(
        self,
        prompts: list[str],
        temperature: float,
        seed: int,
        batch_size: int = 256,
        label: str = "",
        *,
        first_line: bool = False,
    ) -> list[str]:
        """One sampled completion for each prompt, or its first line (of LINE tokens at most), in order; the same seed
        gives the same ones."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        answers, generator = [""] * len(prompts), torch.Generator().manual_seed(seed)
        model, s, ends = sampled(self.model, self.half), self.settings, self.ends()
        longest = s.max_new_tokens
        if first_line:
            ends, longest = sorted({*ends, *self._line_ends()}), LINE
        how = {"max_new_tokens": longest, "temperature": temperature, "top_p": s.top_p}
        for rows in progress.track(batches, label) if label else batches:
            ids = self.tokenizer([prompts[i] for i in rows], add_special_tokens=False)["input_ids"]
            drawn = sampler(s)(model, ids, ends, **how, seed=int(torch.randint(2**62, (), generator=generator)))
            for i, row in zip(rows, drawn):
                answers[i] = str(self.tokenizer.decode([token for token in row if token not in ends]))
        return answers

    def fan_out(
        self,
        task: str,
        queries: list[str],
        n: int = 1,
        *,
        temperature: float | None = None,
        seed: int,
        label: str = "",
        batch_size: int = 256,
    ) -> list[list[Fanout]]:
        """n parsed fan-outs for each query: ``answer[i][j]``; at the settings' temperature where none is given."""
        prompts = [self.prompt(task, query) for query in queries for _ in range(n)]
        temperature = self.settings.temperature if temperature is None else temperature
        texts = self.complete(prompts, temperature, seed, batch_size, label)
        parsed = [parse(text, self.settings.k) for text in texts]
        return [parsed[i : i + n] for i in range(0, len(parsed), n)]

    def save(self, folder: Path) -> None:
        """Weights, with adapters merged, configuration and tokenizer: the same bytes wherever they are written."""
        if "local_files_only" in (recorded := self.tokenizer.init_kwargs):
            recorded["local_files_only"] = False  # from_pretrained keeps there what HF_HUB_OFFLINE says
        with progress.quiet():
            merged(self.model).save_pretrained(str(folder))
            self.tokenizer.save_pretrained(folder)

    def trainable(self) -> "Folm":
        """The same policy, its weights open to training: all of them, or a new LoRA adapter of ``lora_rank``."""
        if not (rank := self.settings.lora_rank):
            return self
        from peft import LoraConfig, get_peft_model  # of the extra "notebooks", which asking a policy does not need

        adapter = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        return Folm(get_peft_model(self.model, adapter), self.tokenizer, self.settings)

    @classmethod
    def load(cls, folder: str | Path, settings: FolmSettings) -> "Folm":
        """A saved policy, or the pretrained one that ``folder`` names on the hub or on disk (LoRA adapters too).

        Raises ValueError where there is none, or where it names no token that ends an answer.
        """
        # Weights that are trained stay in float32: a step at rate 1e-7 is below the spacing of bfloat16.
        dtype = torch.bfloat16 if settings.lora_rank and bf16() else torch.float32
        with pretrained.opened(str(folder)) as (where, how, options):
            try:
                with progress.quiet():
                    tokenizer = AutoTokenizer.from_pretrained(where, **how)
                    model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, **options)
            except (OSError, ValueError, ImportError) as error:
                raise _unreadable(str(folder), settings.policy, " ".join(str(error).split())) from error
        # A prompt holds all of its special tokens. TRL would begin it with another of those that start a text.
        if backend := getattr(tokenizer, "backend_tokenizer", None):
            backend.post_processor = None
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        policy = cls(model.to(device()), tokenizer, settings)  # pyright: ignore[reportArgumentType]
        if not policy.ends():
            why = "neither its tokenizer nor its generation settings name an end token, so no answer would ever end"
            raise ValueError(f"{str(folder)!r} is no policy: {why}; name another in folm.policy, or add its eos_token")
        return policy


def _unreadable(folder: str, policy: str, reason: str) -> ValueError:
    rule = f"folm.policy={policy!r} must be small, {', '.join(pretrained.SHIPPED)}, a local folder with a model"
    remedy = "or the id of one on the hub, which takes network access or a copy in the hub's cache; correct it"
    if "gated" in reason.lower() or "401" in reason or "403" in reason:
        remedy = "or the id of one on the hub; accept its licence there, and set HF_TOKEN to a token of yours"
    return ValueError(f"no policy can be loaded from {folder!r} ({reason}); {rule}, {remedy}")


def sampler(settings: FolmSettings) -> Callable[..., list[list[int]]]:
    """Who draws completions: `sampling.sample`, or vLLM under the same signature."""
    if settings.sampler == "own":
        return sampling.sample
    from r4t_utils.policy import vllm_sampling

    return vllm_sampling.sample


def merged(model: "PreTrainedModel | PeftModel") -> PreTrainedModel:
    """The model itself where it has no adapters, else a copy in which they are part of the weights."""
    return copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model  # pyright: ignore


def sampled(model: "PreTrainedModel | PeftModel", half: bool) -> PreTrainedModel:
    """A copy to sample from: adapters merged, in bfloat16 if `half`; the model stays as it is.

    A step of sampling reads every weight once, so half the bits take half the time, and adapters twice the products.
    """
    whole = merged(model)
    copied = copy.deepcopy(model) if whole is model else whole
    return copied.eval().to(torch.bfloat16 if half else torch.float32)  # pyright: ignore
