"""The small policy of the cpu profile: a Llama with its own tokenizer, and the two lessons that warm it up."""

import re

import numpy as np
import torch
from datasets import Dataset
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from r4t_utils.data.language import Language
from r4t_utils.policy import warmup
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.prompts import CLOSE, NEXT, TASK_TOKEN, frame, number
from r4t_utils.settings import KEY_VALUE_HEADS, FolmSettings


def small_policy(
    queries: dict[str, list[str]], settings: FolmSettings, seed: int, language: Language
) -> tuple[Folm, dict[str, Dataset]]:
    """An untrained small Llama with its own tokenizer, and what its warm-up teaches it, in order.

    ``queries`` are the training queries of each task ("oar", "wscr"): the fan-outs use their words and those of
    ``language``, the corpus's. The lessons, "copying" and "fan-outs", have columns prompt and completion. Copying comes
    first, on short made-up examples: a small model learns it late from fan-outs, where most words are anyone's guess,
    and until then it repeats words of the query at random.
    """
    rng = np.random.default_rng(seed)
    words = sorted({word for task in queries for query in queries[task] for word in query.split()})
    lessons = {"copying": [], "fan-outs": []}
    last = min(2, settings.k)  # a copying example is the end of a completion, so that closing early is not learnt
    for i in range(settings.warmup_copies):
        query = " ".join(rng.choice(words, rng.integers(1, 6)))
        copies = frame([" ".join(language.kept_words(query)[: language.longest])] * last, settings.k - last)
        lessons["copying"].append({"prompt": f"{TASK_TOKEN[('oar', 'wscr')[i % 2]]} {query}", "completion": copies})
    for i in range(settings.warmup_fanouts):
        task = ("oar", "wscr")[i % 2]
        given, made_up = queries[task], rng.random() < 0.25  # so that words are copied and not recalled
        query = " ".join(rng.choice(words, rng.integers(1, 6))) if made_up else given[rng.integers(len(given))]
        answer = frame(warmup.fanout(task, query, settings.k, rng, language))
        lessons["fan-outs"].append({"prompt": f"{TASK_TOKEN[task]} {query}", "completion": answer})
    tokenizer = _tokenizer([text for rows in lessons.values() for row in rows for text in row.values()], settings)
    torch.manual_seed(seed)
    # Narrow: this task needs layers that look up, more than ones that know.
    width = {"hidden_size": settings.hidden, "intermediate_size": settings.hidden, "num_hidden_layers": settings.layers}
    heads = {"num_attention_heads": settings.heads, "num_key_value_heads": KEY_VALUE_HEADS}
    weights = {"tie_word_embeddings": True, "initializer_range": 0.06}  # the usual 0.02 learns to copy far later
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    length = settings.max_prompt_tokens + settings.max_new_tokens
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=length, **width, **heads, **weights, **ends)
    data = {name: Dataset.from_list(rows) for name, rows in lessons.items() if rows}
    return Folm(LlamaForCausalLM(config), tokenizer, settings), data


def _tokenizer(texts: list[str], settings: FolmSettings) -> PreTrainedTokenizerFast:
    """Byte-pair encoding over words, with one token for each piece of the <queries> frame."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    pieces = [*(number(i) for i in range(settings.k)), NEXT, CLOSE, *TASK_TOKEN.values()]
    words = [re.sub("|".join(map(re.escape, pieces)), " ", text) for text in texts]
    special, alphabet = ["<pad>", "<eos>", "<unk>"], list("abcdefghijklmnopqrstuvwxyz0123456789-'&")
    size = settings.vocab_size - len(pieces)
    bpe = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(words, bpe)
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in pieces])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
