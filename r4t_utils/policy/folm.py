"""The fan-out language model (FOLM): prompts, parsing, the small policy, and batched sampling.

A completion carries the sub-queries as JSON between <queries> and </queries>. Two kinds of policy share all of this:
a pretrained instruction-tuned model, which is given the whole instruction through its chat template, and the small
policy of the cpu profile, whose own tokenizer has one token for each piece of the frame. The small policy numbers
its sub-queries (a JSON object where the large one writes a list), because a model this small cannot count to k.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from r4t_utils.machine import progress
from r4t_utils.policy import warmup
from r4t_utils.policy.trainer import Watch, bf16, device, quiet, trainer_defaults
from r4t_utils.settings import KEY_VALUE_HEADS

# Our wording of the paper's Appendix prompts: up to k queries that stay on topic, reasoning first, then JSON.
INSTRUCTION = {
    "oar": "You help a search engine explore a broad request. Write {k} search queries that each take the request in a "
           "direction of its own and stay on its topic: keep its words and change or add one to three of them.",
    "wscr": "You help a search engine put an outfit together. Write {k} search queries, each for one item, so that the "
            "items found make one outfit for the request: different garments and accessories that go together.",
}
FORMAT = ("\nThink inside <think></think> first. Then give the queries as a JSON list of strings, in this form: "
          '<queries>["...", "..."]</queries>\n\nRequest: {query}')

CLOSE = '"}</queries>'
TASK_TOKEN = {"oar": "<outfits>", "wscr": "<items>"}
MAX_WORDS = 12  # a longer "query" is prose
MADE_UP = 0.25  # share of warm-up queries made of random words, so that words are copied and not recalled


@dataclass(frozen=True)
class Fanout:
    """A parsed completion: its sub-queries (at most k), why it is malformed ("" where it is not), and which of the
    sub-queries stuttered, saying a word twice (none if empty)."""

    queries: list[str]
    fault: str
    stutters: tuple[bool, ...] = field(default=(), compare=False)


def parse(text: str, k: int) -> Fanout:
    """Read a completion; never raises.

    Well formed = a JSON list of k or more short strings, of which k are kept, or an object with such values, whatever
    their names (a small model counts "4", "4", "6"). A word that a sub-query says twice counts once, before anything
    else is judged: saying it again moves the embedding towards the topic, which a reward would pay for, and asks for
    nothing.
    """
    body = re.search(r"<queries>(.*?)</queries>", text, re.S)
    if not body:
        return Fanout([], "no <queries> block")
    try:
        listed = json.loads(body[1], object_pairs_hook=lambda pairs: [value for _, value in pairs])
    except (ValueError, RecursionError):
        return Fanout([], "not JSON")
    if not isinstance(listed, list) or not all(isinstance(q, str) for q in listed):
        return Fanout([], "not a list of strings")
    if any("\ud800" <= character <= "\udfff" for q in listed for character in q):
        return Fanout([], "not text")  # half a character: no encoder takes it
    queries = [" ".join(dict.fromkeys(q.split())) for q in listed]
    if not all(0 < len(q.split()) <= MAX_WORDS for q in queries):
        return Fanout([], "empty or overlong query")
    if len(queries) < k:
        return Fanout(queries, f"fewer than {k} queries")
    return Fanout(queries[:k], "", tuple(len(q.split()) > len(once.split()) for q, once in zip(listed, queries))[:k])


NEXT = '", '  # ends a sub-query; the number after it is a token of its own, which a small model gets right more often


def number(i: int) -> str:
    """What the small policy writes before sub-query i, counted from 0; one token."""
    return f'"{i + 1}": "' if i else '<queries>{"1": "'


def frame(queries: list[str], start: int = 0) -> str:
    """The completion that the small policy gives for these sub-queries, from number ``start`` on; ``parse`` undoes a
    whole one."""
    return NEXT.join(number(i) + query for i, query in enumerate(queries, start)) + CLOSE


class Folm:
    """A causal language model with its tokenizer, ready to be asked for fan-outs."""

    def __init__(self, model, tokenizer, settings):
        self.model, self.tokenizer, self.settings = model, tokenizer, settings

    def prompt(self, task: str, query: str) -> str:
        if self.tokenizer.chat_template is None:
            return f"{TASK_TOKEN[task]} {query}"
        content = INSTRUCTION[task].format(k=self.settings.k) + FORMAT.format(query=query)
        return self.tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False,
                                                  add_generation_prompt=True, enable_thinking=False)

    @torch.inference_mode()
    def complete(self, prompts: list[str], temperature: float, seed: int, batch_size: int = 256,
                 label: str = "") -> list[str]:
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
        tokens = self.tokenizer(prompts, padding=True, padding_side="left", add_special_tokens=False,
                                return_tensors="pt").to(self.model.device)
        ids = self.model.generate(**tokens, do_sample=True, temperature=temperature, top_k=0,
                                  top_p=self.settings.top_p, max_new_tokens=self.settings.max_new_tokens,
                                  pad_token_id=self.tokenizer.pad_token_id)
        completions = ids[:, tokens["input_ids"].shape[1]:]
        ends = torch.as_tensor([self.tokenizer.eos_token_id, self.tokenizer.pad_token_id], device=completions.device)
        ended = torch.isin(completions, ends).long().cumsum(1) > 0
        return [self.tokenizer.decode(row[~done]) for row, done in zip(completions, ended)]

    def fan_out(self, task: str, queries: list[str], n: int = 1, *, temperature: float | None = None, seed: int,
                label: str = "", batch_size: int = 256) -> list[list[Fanout]]:
        """n parsed fan-outs for each query: ``answer[i][j]``."""
        prompts = [self.prompt(task, query) for query in queries for _ in range(n)]
        temperature = self.settings.temperature if temperature is None else temperature
        texts = self.complete(prompts, temperature, seed, batch_size, label)
        parsed = [parse(text, self.settings.k) for text in texts]
        return [parsed[i : i + n] for i in range(0, len(parsed), n)]

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def trainable(self) -> "Folm":
        """The same policy, its weights open to training: all of them, or a new LoRA adapter of ``lora_rank``."""
        if not self.settings.lora_rank:
            return self
        from peft import LoraConfig, get_peft_model

        rank = self.settings.lora_rank
        adapter = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        return Folm(get_peft_model(self.model, adapter), self.tokenizer, self.settings)

    @classmethod
    def load(cls, folder, settings) -> "Folm":
        """A saved policy, or the pretrained one that ``folder`` names on the hub or on disk (LoRA adapters too).

        Raises ValueError where there is none.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        # Weights that are trained stay in float32: a step at rate 1e-7 is below the spacing of bfloat16.
        dtype = torch.bfloat16 if settings.lora_rank and bf16() else torch.float32
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(folder)
                model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"no policy can be loaded from {str(folder)!r} ({reason}); "
                             f"folm.policy={settings.policy!r} must be small, a local folder with a model, or the "
                             "id of one on the hub, which takes network access or a copy in the hub's cache; correct it"
                             ) from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return cls(model.to(device()), tokenizer, settings)


def zero_shot_policy(queries: dict[str, list[str]], settings, seed: int, folder: Path) -> str:
    """The untuned policy: where ``Folm.load`` finds it. The small one is warmed up here and saved in ``folder``."""
    if settings.policy != "small":
        return settings.policy
    policy, lessons = small_policy(queries, settings, seed)
    for name, lesson in lessons.items():
        warm_up(policy, lesson, settings, seed, folder, f"warm-up: {name}")
    policy.save(folder)
    return str(folder)


def small_policy(queries: dict[str, list[str]], settings, seed: int) -> tuple[Folm, dict]:
    """An untrained small Llama with its own tokenizer, and what its warm-up teaches it, in order.

    Args:
        queries: training queries of each task ("oar", "wscr"); the fan-outs use their words and general language.
    Returns:
        the policy, and {"copying": ..., "fan-outs": ...}, each a ``datasets.Dataset`` with columns prompt and
        completion. Copying comes first, on short made-up examples: a small model learns it late from fan-outs, where
        most words are anyone's guess, and until then it repeats words of the query at random.
    """
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM

    rng = np.random.default_rng(seed)
    words = sorted({word for task in queries for query in queries[task] for word in query.split()})
    lessons = {"copying": [], "fan-outs": []}
    last = min(2, settings.k)  # a copying example is the end of a completion, so that closing early is not learnt
    for i in range(settings.warmup_copies):
        query = " ".join(rng.choice(words, rng.integers(1, 6)))
        copies = frame([" ".join(warmup.kept_words(query))] * last, settings.k - last)
        lessons["copying"].append((f"{TASK_TOKEN[('oar', 'wscr')[i % 2]]} {query}", copies))
    for i in range(settings.warmup_fanouts):
        task = ("oar", "wscr")[i % 2]
        if rng.random() < MADE_UP:
            query = " ".join(rng.choice(words, rng.integers(1, 6)))
        else:
            query = queries[task][rng.integers(len(queries[task]))]
        lessons["fan-outs"].append((f"{TASK_TOKEN[task]} {query}",
                                    frame(warmup.fanout(task, query, settings.k, rng))))
    tokenizer = _tokenizer([text for rows in lessons.values() for row in rows for text in row], settings)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=settings.hidden,
        intermediate_size=settings.hidden,  # narrow: this task needs layers that look up, more than ones that know
        num_hidden_layers=settings.layers, num_attention_heads=settings.heads,
        num_key_value_heads=KEY_VALUE_HEADS,
        tie_word_embeddings=True, initializer_range=0.06,  # the usual 0.02 learns to copy a query's words far later
        max_position_embeddings=settings.max_prompt_tokens + settings.max_new_tokens,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))
    data = {name: Dataset.from_dict({"prompt": [p for p, _ in rows], "completion": [c for _, c in rows]})
            for name, rows in lessons.items() if rows}
    return Folm(model, tokenizer, settings), data


def _tokenizer(texts: list[str], settings):
    """Byte-pair encoding over words, with one token for each piece of the <queries> frame."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    pieces = [*(number(i) for i in range(settings.k)), NEXT, CLOSE, *TASK_TOKEN.values()]
    words = [re.sub("|".join(map(re.escape, pieces)), " ", text) for text in texts]
    tokenizer.train_from_iterator(words, trainers.BpeTrainer(
        vocab_size=settings.vocab_size - len(pieces), special_tokens=["<pad>", "<eos>", "<unk>"], show_progress=False,
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789-'&")))
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in pieces])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>",
                                   padding_side="left")


def warm_up(policy: Folm, data, settings, seed: int, folder: Path, label: str = "warm-up") -> list[dict]:
    """Supervised fine-tuning on one lesson of ``small_policy`` (loss on completions only). Returns logged losses."""
    from trl import SFTConfig, SFTTrainer

    with quiet():
        config = SFTConfig(
            output_dir=str(folder), num_train_epochs=settings.warmup_epochs, learning_rate=settings.warmup_lr,
            per_device_train_batch_size=settings.warmup_batch, lr_scheduler_type="cosine", warmup_steps=0.05,
            adam_beta2=0.98, completion_only_loss=True, logging_steps=10,
            max_length=settings.max_prompt_tokens + settings.max_new_tokens, **trainer_defaults(seed))
        trainer = SFTTrainer(policy.model, args=config, train_dataset=data, processing_class=policy.tokenizer)
        watch = Watch(trainer, label)
        trainer.train()
    return watch.rows
