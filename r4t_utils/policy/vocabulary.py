"""A language model with a part of its vocabulary, which samples and trains faster and says the same of what is left.

Of a small model with a large vocabulary the last layer is much of the work. The first tokens of one, which byte-pair
encoding merged first, and those of texts like the ones to be said suffice for most of these, and can spell the rest.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

BYTE = re.compile("<0x[0-9A-F]{2}>")  # by which a tokenizer with a fallback spells what it has no token for
NAMED = ("bos_token_id", "eos_token_id", "pad_token_id")  # tokens that configurations name


def cut(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, size: int, texts: Iterable[str] = ()
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model, changed in place, and a tokenizer of its first `size` tokens, of those in `texts`, of those that these
    are merged from, of single characters (of ASCII alone and bytes, where those spell the rest), and of special ones.

    The logits of the tokens kept are the model's own, and a text that needs no other is encoded as before. Raises
    ValueError for a tokenizer that is not one of byte pairs.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    state = json.loads(backend.to_str()) if backend else {"model": {"type": "none"}}
    if (kind := state["model"]["type"]) != "BPE":
        raise ValueError(f"a tokenizer of type {kind} cannot be cut, only one of byte pairs (BPE): keep all its tokens")
    used = {token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"]}
    old = _kept(state, {*range(size), *used})
    new = {token: place for place, token in enumerate(old)}
    _shrink(model, old, new)
    return model, _renumbered(tokenizer, state, new)


def _kept(state: Mapping[str, Any], wanted: set[int]) -> list[int]:
    vocabulary, merges = state["model"]["vocab"], [tuple(_pair(merge)) for merge in state["model"]["merges"]]
    merged = {left + right for left, right in merges}
    needed = _spells if state["model"].get("byte_fallback") else lambda word: word not in merged
    words = {word for word, token in vocabulary.items() if token in wanted or needed(word)}
    for left, right in reversed(merges):  # what a token is merged from stands before it
        if left + right in words:
            words |= {left, right}
    return sorted({*(vocabulary[word] for word in words), *(token["id"] for token in state["added_tokens"])})


def _spells(word: str) -> bool:
    """Whether a word is a byte, or a character of ASCII: where a model has a token for a character, such as a digit, it
    has never seen the byte."""
    return bool(BYTE.fullmatch(word)) or len(word) == 1 and word.isascii()


def _pair(merge: str | list[str]) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def _shrink(model: PreTrainedModel, old: list[int], new: Mapping[int, int]) -> None:
    text, rows = model.config.get_text_config(), torch.as_tensor(old)
    both: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    for layer in both:
        for name in ("weight", "bias"):
            if (given := getattr(layer, name, None)) is not None and len(given) != len(old):
                setattr(layer, name, torch.nn.Parameter(given.detach()[rows.to(given.device)].clone()))
        for name in {"num_embeddings", "out_features"} & set(vars(layer)):
            setattr(layer, name, len(old))
        if getattr(layer, "padding_idx", None) is not None:
            layer.padding_idx = new.get(layer.padding_idx)
    text.vocab_size = len(old)
    model.tie_weights()
    for config in {id(config): config for config in (model.config, text, model.generation_config)}.values():
        for name in NAMED:
            given = getattr(config, name, None)
            setattr(config, name, [new[i] for i in given] if isinstance(given, list) else new.get(given))  # pyright: ignore


def _renumbered(tokenizer: PreTrainedTokenizerBase, state: dict, new: Mapping[int, int]) -> PreTrainedTokenizerFast:
    bpe = state["model"]
    known = bpe["vocab"] = {word: new[token] for word, token in bpe["vocab"].items() if token in new}
    bpe["merges"] = [merge for merge in bpe["merges"] if {*_pair(merge), "".join(_pair(merge))} <= known.keys()]
    for token in state["added_tokens"]:
        token["id"] = new[token["id"]]
    _renumber_template(state.get("post_processor"), new)
    named = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    kept = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        **named,
    )
    kept.chat_template = tokenizer.chat_template
    return kept


def _renumber_template(processor: dict | None, new: Mapping[int, int]) -> None:
    """Numbers the special tokens anew that a tokenizer puts around a text."""
    for inner in (processor or {}).get("processors", ()):
        _renumber_template(inner, new)
    for token in ((processor or {}).get("special_tokens") or {}).values():
        token["ids"] = [new[i] for i in token["ids"]]
