"""The layers of the denoiser: a transformer block, its folded cross-attention, adaptive normalisation."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

NOISE_WIDTH = 128  # width of the embedding of σ


def zero(layer: nn.Linear) -> None:
    """Zero weights and biases, so that at first D = c_skip Z, the best linear guess, at every σ."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


class Block(nn.Module):
    """x + self-attention over the rows + cross-attention to the query + MLP. Sizes as in `DenoiserConfig`.

    The noise level gives one scale and shift for each block, applied after the parameter-free normalisations of the
    self-attention and of the MLP (adaptive layer normalisation).
    """

    def __init__(self, d: int, hidden: int, mlp: int, heads: int, dropout: float, attention_dropout: float):
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.film = nn.Linear(NOISE_WIDTH, 2 * hidden)
        zero(self.film)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.cross = CrossAttention(d, hidden, heads, attention_dropout)
        self.up, self.down = nn.Linear(hidden, mlp), nn.Linear(mlp, hidden)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, level: Tensor, folded: tuple[Tensor, Tensor]) -> Tensor:
        scale, shift = self.film(level).chunk(2, dim=-1)
        x = x + self.drop(self.attend(_adapt(x, scale, shift)))
        x = x + self.drop(self.cross(self.norm(x), *folded))
        return x + self.drop(self.down(F.gelu(self.up(_adapt(x, scale, shift)))))

    def attend(self, x: Tensor) -> Tensor:
        """Self-attention among the L rows of each set."""
        B, L, hidden = x.shape
        q, k, v = self.qkv(x).view(B, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.attention_dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.out(y.transpose(1, 2).reshape(B, L, hidden))


class CrossAttention(nn.Module):
    """Multi-head attention from the rows to a few tokens of width d, computed the short way round.

    q·k = (x W_q)·k = x·(W_q k) and (Σ a v) W_o = Σ a (v W_o), so W_q and W_o act on the tokens (two a query) rather
    than on the rows (L a query), and not at all between sampling steps: the same numbers for a fifth of the work. A
    bias on q or k would cancel in the softmax with a bias on k, or is the same for all tokens.
    """

    def __init__(self, d: int, hidden: int, heads: int, attention_dropout: float):
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.q = nn.Linear(hidden, hidden, bias=False)
        self.kv = nn.Linear(d, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden)

    def fold(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the tokens (B, K, d) as the rows see them: two (B, K·heads, hidden)."""
        B, K, _ = tokens.shape
        heads, width = self.heads, self.q.in_features // self.heads
        k, v = self.kv(tokens).view(B * K, 2, heads, width).permute(1, 2, 0, 3)  # (heads, B·K, width)
        keys = k @ self.q.weight.view(heads, width, -1) / math.sqrt(width)
        values = v @ self.out.weight.T.view(heads, width, -1)
        return (keys.transpose(0, 1).reshape(B, K * heads, -1), values.transpose(0, 1).reshape(B, K * heads, -1))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """x (B, L, hidden) -> (B, L, hidden), with the folded keys and values."""
        B, L, _ = x.shape
        scores = (x @ keys.transpose(1, 2)).view(B, L, -1, self.heads)
        weights = F.dropout(scores.softmax(dim=2), self.attention_dropout, self.training)
        return weights.flatten(2) @ values + self.out.bias


def _adapt(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Layer normalisation of x (B, L, hidden) with gain 1 + scale and offset shift, (B or 1, 1, hidden)."""
    if len(scale) == 1:  # one noise level for the whole batch, as in sampling: a single kernel
        return F.layer_norm(x, x.shape[-1:], 1 + scale.view(-1), shift.view(-1))
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
