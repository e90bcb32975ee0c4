"""Drawing many completions at once from a causal language model: what `generate` does, without what it wastes.

Keys and values lie in arrays of their final size, so that no step copies them. A prompt that several rows share is read
once, and so are the tokens that all prompts begin with. Rows that have ended leave the batch. The nucleus is sampled
without sorting the vocabulary.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from transformers import AttentionInterface, AttentionMaskInterface, Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import eager_mask

from r4t_utils.machine.checks import whole

if TYPE_CHECKING:
    from peft import PeftModel

GROUPED = "grouped"  # the name of `_grouped` among the attentions of transformers
LEAVE = 0.1  # share of the rows that have ended at which the others are copied together


@torch.inference_mode()
def sample(
    model: "PreTrainedModel | PeftModel",
    prompts: Sequence[Sequence[int]],
    ends: Collection[int],
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float = 1.0,
    seed: int,
) -> list[list[int]]:
    """A completion for each prompt, in token ids: through the first of `ends`, or `max_new_tokens` without one.

    The distribution is that of ``generate`` with the same temperature (0: the likeliest token) and nucleus `top_p`, in
    (0, 1]. The same model, prompts and seed give the same completions. Raises ValueError for an empty prompt and for
    numbers out of range.
    """
    require(prompts, max_new_tokens, temperature, top_p)
    if not prompts:
        return []
    device = model.device
    generator, last = torch.Generator(device).manual_seed(seed), torch.as_tensor(sorted(ends), device=device)
    rows = torch.arange(len(prompts), device=device)
    written = rows.new_full((len(prompts), max_new_tokens), -1)
    done = torch.zeros_like(rows, dtype=torch.bool)
    with _attending(model):
        batch, logits = _read(model, prompts, max_new_tokens)
        for step in range(max_new_tokens):
            token = draw(logits, temperature, top_p, generator)
            written[rows[~done], step] = token[~done]
            done |= torch.isin(token, last)
            if step + 1 == max_new_tokens or done.all():
                break
            if done.float().mean() >= LEAVE:
                left = (~done).nonzero()[:, 0]
                batch.take(left)
                rows, token, done = rows[left], token[left], done[left]
            logits = batch.read(token[:, None])
    return [row[:length] for row, length in zip(written.tolist(), (written >= 0).sum(1).tolist())]


def require(prompts: Sequence[Sequence[int]], max_new_tokens: int, temperature: float, top_p: float) -> None:
    """Raises ValueError for what `sample` cannot do."""
    whole("max_new_tokens", max_new_tokens, 1)
    if not (0 <= temperature < float("inf") and 0 < top_p <= 1):
        raise ValueError(f"temperature={temperature!r} must be 0 or more, and top_p={top_p!r} above 0 and at most 1")
    if not all(map(len, prompts)):
        raise ValueError("a prompt is empty: a completion needs a token to start from; give every prompt one")


def draw(logits: torch.Tensor, temperature: float, top_p: float, generator: torch.Generator) -> torch.Tensor:
    """A token (n,) for each row of logits (n, V): the likeliest at temperature 0, else a sample of the nucleus.

    A token is in the nucleus if less than `top_p` of the distribution lies on likelier ones. It is drawn by inverting
    the cumulative distribution, and drawn again where it is outside: at most 1 - `top_p` of the draws are.
    """
    if temperature == 0:
        return logits.argmax(-1)
    p = (logits.float() / temperature).softmax(-1)
    below, rows = p.cumsum(-1), torch.arange(len(p), device=p.device)
    token = torch.empty_like(rows)
    while len(rows):
        u = torch.rand(len(rows), 1, generator=generator, device=p.device) * below[:, -1:]
        drawn = torch.searchsorted(below, u, right=True).clamp_(max=p.shape[-1] - 1)
        token[rows] = drawn[:, 0]
        if top_p == 1:
            break
        outside = (p * (p > p.gather(1, drawn))).sum(-1) >= top_p
        rows, p, below = rows[outside], p[outside], below[outside]
    return token


class _Batch:
    """Rows that are being completed: the model, what it has read of each row, and which positions are padding."""

    def __init__(self, model: "PreTrainedModel | PeftModel", length: int):
        self.model = model
        self.rooms = [_Room(length) for _ in range(model.config.get_text_config().num_hidden_layers)]
        self.cache = Cache(layers=[*self.rooms])
        self.real = torch.ones(1, length, dtype=torch.long, device=model.device)

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """Appends tokens (rows, t) and returns the logits (rows, V) of what follows the last of them."""
        start = self.rooms[0].filled
        real = self.real[:, : start + tokens.shape[1]]
        positions = (real.cumsum(1)[:, start:] - 1).clamp(min=0)
        seen = {"attention_mask": real, "position_ids": positions, "past_key_values": self.cache}
        # Chosen by index, the last states lie together; as a slice they do not, and torch then copies the whole head
        # for each row: 57 MB a row for SmolLM2.
        last = torch.tensor([tokens.shape[1] - 1], device=tokens.device)
        return self.model(input_ids=tokens, use_cache=True, logits_to_keep=last, **seen).logits[:, -1]

    def take(self, rows: torch.Tensor) -> None:
        """Goes on with these rows, in this order; a row may be taken several times."""
        self.real = self.real[rows]
        for room in self.rooms:
            room.take(rows)


def _read(
    model: "PreTrainedModel | PeftModel", prompts: Sequence[Sequence[int]], more: int
) -> tuple[_Batch, torch.Tensor]:
    """The prompts, read: a batch with room for `more` tokens per row, and the logits (n, V) of the first of them."""
    each = {prompt: i for i, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
    shortest, longest = min(map(len, each)), max(map(len, each))
    columns = zip(*(prompt[: shortest - 1] for prompt in each))  # so that each has a token of its own left to read
    shared = next((i for i, column in enumerate(columns) if len(set(column)) > 1), shortest - 1)
    batch = _Batch(model, longest + more)
    if 0 < (getattr(model.config.get_text_config(), "sliding_window", None) or 0) < longest + more:
        shared = 0  # a window counts padding too, where it lies between tokens
    if shared:
        batch.read(torch.as_tensor([prompts[0][:shared]], device=model.device))
    own = torch.zeros(len(each), longest - shared, dtype=torch.long)
    batch.take(torch.zeros(len(each), dtype=torch.long, device=model.device))
    for prompt, i in each.items():  # padding lies between what all share and what is the prompt's own
        padding = longest - len(prompt)
        batch.real[i, shared : shared + padding] = 0
        own[i, padding:] = torch.as_tensor(prompt[shared:])
    logits = batch.read(own.to(model.device))
    rows = torch.as_tensor([each[tuple(prompt)] for prompt in prompts], device=model.device)
    batch.take(rows)
    return batch, logits[rows]


class _Room(DynamicLayer):
    """Keys and values of one layer, in arrays of the final size (rows, heads, length, d)."""

    def __init__(self, length: int):
        super().__init__()
        self.length, self.filled = length, 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes new keys and values (rows, heads, t, d) behind those that are there; returns views of all."""
        new = key_states, value_states
        if not self.is_initialized:
            self.lazy_initialization(*new)
            self.arrays = [self._room_for(x) for x in new]
        start, self.filled = self.filled, self.filled + key_states.shape[2]
        for array, x in zip(self.arrays, new):
            array[:, :, start : self.filled] = x
        return self._shown()

    def take(self, rows: torch.Tensor) -> None:
        """Keeps these rows, in this order; a row may be taken several times."""
        if not self.is_initialized:
            return
        kept = [array[:, :, : self.filled].index_select(0, rows) for array in self.arrays]
        if len(rows) > len(self.arrays[0]):
            self.arrays = [self._room_for(x) for x in kept]
        self.arrays = [array[: len(rows)] for array in self.arrays]
        for array, x in zip(self.arrays, kept):
            array[:, :, : self.filled] = x
        self._shown()

    def _room_for(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(*x.shape[:2], self.length, x.shape[3])

    def _shown(self) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = (array[:, :, : self.filled] for array in self.arrays)
        return self.keys, self.values


def _grouped(module, query, key, value, attention_mask, scaling, **kwargs) -> tuple[torch.Tensor, None]:
    """Attention of few queries to many keys: heads that share keys and values are rows of one matrix product.

    query (b, heads, t, d), key and value (b, shared, T, d), attention_mask (b, 1, t, T), added -> (b, t, heads, d).
    """
    b, heads, t, d = query.shape
    scores = (query * scaling).reshape(b, key.shape[1], -1, d) @ key.transpose(2, 3)
    scores = scores.view(b, heads, t, -1) + attention_mask
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    found = weights.view(b, key.shape[1], -1, key.shape[2]) @ value
    return found.view(b, heads, t, -1).transpose(1, 2), None


AttentionInterface.register(GROUPED, _grouped)
AttentionMaskInterface.register(GROUPED, eager_mask)


@contextmanager
def _attending(model: "PreTrainedModel | PeftModel") -> Iterator[None]:
    """Lets a model on a CPU attend by `_grouped`: torch's own kernel takes three times as long there in bfloat16."""
    before = model.config._attn_implementation
    if before != "sdpa" or model.device.type != "cpu":
        yield
        return
    model.set_attn_implementation(GROUPED)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
