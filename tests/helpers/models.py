"""Tiny language models of the kinds that a policy may be, with random weights, and prompts in token ids."""

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

V, PAD = 40, 0
SIZES = {"vocab_size": V, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "initializer_range": 0.3}
ENDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": PAD, "tie_word_embeddings": False}
KINDS = {
    "llama": (LlamaForCausalLM, LlamaConfig),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig),
}
PROMPTS = [[5, 6, 7], [5, 6, 8, 9, 10], [5, 6], [5, 6, 8, 9, 10], [5, 6, 11, 12], [5, 6, 7, 8, 9, 10, 11]]


def model(kind="llama", **more):
    torch.manual_seed(0)
    made, config = KINDS[kind]
    return made(config(**(SIZES | ENDS | more))).eval()
