"""A model with a part of its vocabulary says the same of what is left, whatever its family."""

import copy

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from r4t_utils.policy.folm import Folm
from r4t_utils.policy.sampling import sample
from r4t_utils.policy.vocabulary import cut

TEXT = [f"{a} {b} {c}" for a in ("summer", "winter") for b in ("festival", "wedding") for c in ("dress", "dresses")] * 9
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, True),
    "llama, a head of its own": (LlamaForCausalLM, LlamaConfig, False),
    "qwen": (Qwen3ForCausalLM, Qwen3Config, True),
    "gemma": (Gemma3ForCausalLM, Gemma3TextConfig, True),
}
SIZE = 270


def byte_pairs() -> PreTrainedTokenizerFast:
    """A tokenizer of byte pairs whose special tokens are its last, with one before every text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens(["<bos>", "<eos>", "<pad>"])
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", made.token_to_id("<bos>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", chat_template="{{ messages }}"
    )


def whole(family):
    made, config, tied = FAMILIES[family]
    tokenizer = byte_pairs()
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 64, "tie_word_embeddings": tied}
    torch.manual_seed(0)
    model = made(config(vocab_size=len(tokenizer), **sizes, **ids)).eval()
    model.generation_config.eos_token_id = [ids["eos_token_id"], ids["bos_token_id"]]
    return model, tokenizer


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_of_what_is_kept_are_the_same(family):
    model, tokenizer = whole(family)
    words, full = tokenizer.convert_ids_to_tokens(range(len(tokenizer))), copy.deepcopy(model)
    small, fewer = cut(model, tokenizer, SIZE)
    assert 259 <= len(fewer) < len(tokenizer) and small.config.vocab_size == len(fewer)
    old = torch.tensor([words.index(word) for word in fewer.convert_ids_to_tokens(range(len(fewer)))])
    ids = torch.arange(0, len(fewer), 7)
    with torch.no_grad():
        torch.testing.assert_close(small(ids[None]).logits, full(old[ids][None]).logits[:, :, old])
    tied = small.get_input_embeddings().weight is small.get_output_embeddings().weight
    assert tied == FAMILIES[family][2]


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_keep_their_meaning(family):
    small, fewer = cut(*whole(family), SIZE)
    ids = fewer("summer dress")["input_ids"]
    assert ids[0] == fewer.bos_token_id and fewer.decode(ids, skip_special_tokens=True) == "summer dress"
    assert small.generation_config.eos_token_id == [fewer.eos_token_id, fewer.bos_token_id]
    assert small.config.pad_token_id == fewer.pad_token_id and fewer.chat_template == "{{ messages }}"


FULL, FEWER = byte_pairs(), cut(*whole("llama"), SIZE)[1]
KEPT = set(FEWER.get_vocab())


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from(sorted({word for text in TEXT for word in text.split()}))).map(" ".join))
def test_any_text_can_be_said_and_one_of_kept_tokens_is_encoded_as_before(text):
    text = text.encode(errors="ignore").decode()
    pieces = FEWER.convert_ids_to_tokens(FEWER(text, add_special_tokens=False)["input_ids"])
    assert FEWER.convert_tokens_to_string(pieces) == text
    before = FULL.convert_ids_to_tokens(FULL(text, add_special_tokens=False)["input_ids"])
    assert set(before) - KEPT or pieces == before


def test_texts_keep_their_tokens():
    text = "winter wedding dresses"
    pieces = FULL.convert_ids_to_tokens(FULL(text)["input_ids"])
    assert set(pieces) - KEPT
    small, fewer = cut(*whole("llama"), SIZE, [text])
    assert fewer.convert_ids_to_tokens(fewer(text)["input_ids"]) == pieces
    assert small.config.vocab_size == len(fewer) < len(FULL)


def test_what_bytes_can_spell_needs_no_token_of_its_own():
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "h", "a", "t", "ha", "hat", "漢", "é", "7"]
    made = Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, [("h", "a"), ("ha", "t")], byte_fallback=True)
    )
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="<unk>")
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    _, fewer = cut(LlamaForCausalLM(config), tokenizer, 0, ["hat ", "é"])
    assert set(words) - set(fewer.get_vocab()) == {"漢"}
    ids = fewer("hat 漢é7", add_special_tokens=False)["input_ids"]
    assert fewer.decode(ids) == "hat 漢é7" and len(ids) == 2 + 3 + 1 + 1  # a digit, which no text had, is no byte


def test_a_cut_policy_is_sampled_saved_and_loaded(tmp_path):
    policy = Folm(*cut(*whole("gemma"), SIZE), tiny.settings().folm)
    prompts = [policy.tokenizer("summer dress", add_special_tokens=False)["input_ids"]] * 3
    drawn = sample(policy.model, prompts, policy.ends(), max_new_tokens=8, temperature=0.0, seed=0)
    policy.save(tmp_path)
    loaded = Folm.load(tmp_path, policy.settings)
    assert drawn == sample(loaded.model, prompts, loaded.ends(), max_new_tokens=8, temperature=0.0, seed=0)
    assert len(loaded.tokenizer) == loaded.model.config.vocab_size == len(policy.tokenizer)


def test_all_tokens_may_stay_and_another_kind_of_tokenizer_is_refused():
    model, tokenizer = whole("qwen")
    small, same = cut(model, tokenizer, len(tokenizer))
    assert small.config.vocab_size == len(same) == len(tokenizer)
    assert same("winter wedding")["input_ids"] == tokenizer("winter wedding")["input_ids"]
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(ValueError, match="type WordLevel cannot be cut, only one of byte pairs"):
        cut(model, words, 5)
