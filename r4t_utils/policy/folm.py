"""The fan-out language model (FOLM): a causal language model that is asked for fan-outs, in batches."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from r4t_utils.machine import progress
from r4t_utils.machine.device import bf16, device
from r4t_utils.policy.prompts import FORMAT, INSTRUCTION, TASK_TOKEN, Fanout, parse
from r4t_utils.settings import FolmSettings

if TYPE_CHECKING:
    from peft import PeftModel


class Folm:
    """A causal language model with its tokenizer, ready to be asked for fan-outs."""

    def __init__(
        self, model: "PreTrainedModel | PeftModel", tokenizer: PreTrainedTokenizerBase, settings: FolmSettings
    ):
        self.model, self.tokenizer, self.settings = model, tokenizer, settings

    def prompt(self, task: str, query: str) -> str:
        if self.tokenizer.chat_template is None:
            return f"{TASK_TOKEN[task]} {query}"
        chat = [{"role": "user", "content": INSTRUCTION[task].format(k=self.settings.k) + FORMAT.format(query=query)}]
        options: dict[str, Any] = {"add_generation_prompt": True, "enable_thinking": False}
        return str(self.tokenizer.apply_chat_template(chat, tokenize=False, **options))

    @torch.inference_mode()
    def complete(
        self, prompts: list[str], temperature: float, seed: int, batch_size: int = 256, label: str = ""
    ) -> list[str]:
        """One sampled completion for each prompt, in order; the same seed gives the same completions."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        answers = [""] * len(prompts)
        was_training = self.model.training
        self.model.eval()
        with torch.random.fork_rng(devices=[self.model.device] if self.model.device.type == "cuda" else []):
            torch.manual_seed(seed)
            for rows in progress.track(batches, label) if label else batches:
                for i, text in zip(rows, self._generate([prompts[i] for i in rows], temperature)):
                    answers[i] = text
        self.model.train(was_training)
        return answers

    def _generate(self, prompts: list[str], temperature: float) -> list[str]:
        batch = {"padding": True, "padding_side": "left", "add_special_tokens": False, "return_tensors": "pt"}
        tokens = self.tokenizer(prompts, **batch).to(self.model.device)
        s, pad = self.settings, self.tokenizer.pad_token_id
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": s.top_p}
        ids = self.model.generate(**tokens, **sampling, max_new_tokens=s.max_new_tokens, pad_token_id=pad)  # pyright: ignore[reportCallIssue]
        completions = ids[:, tokens["input_ids"].shape[1] :]
        ends = torch.as_tensor([self.tokenizer.eos_token_id, pad], device=completions.device)
        ended = torch.isin(completions, ends).long().cumsum(1) > 0
        return [str(self.tokenizer.decode(row[~done])) for row, done in zip(completions, ended)]

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
        """Weights, configuration and tokenizer: the same bytes wherever they are written."""
        if "local_files_only" in (recorded := self.tokenizer.init_kwargs):
            recorded["local_files_only"] = False  # from_pretrained keeps there what HF_HUB_OFFLINE says
        with progress.quiet():
            self.model.save_pretrained(str(folder))
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

        Raises ValueError where there is none.
        """
        # Weights that are trained stay in float32: a step at rate 1e-7 is below the spacing of bfloat16.
        dtype = torch.bfloat16 if settings.lora_rank and bf16() else torch.float32
        try:
            with progress.quiet():
                tokenizer = AutoTokenizer.from_pretrained(folder)
                model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        except (OSError, ValueError, ImportError) as error:
            reason = " ".join(str(error).split())
            rule = f"folm.policy={settings.policy!r} must be small, a local folder with a model"
            remedy = "or the id of one on the hub, which takes network access or a copy in the hub's cache; correct it"
            raise ValueError(f"no policy can be loaded from {str(folder)!r} ({reason}); {rule}, {remedy}") from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return cls(model.to(device()), tokenizer, settings)  # pyright: ignore[reportArgumentType]
