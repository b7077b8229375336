"""Attention over padded sequences: multi-head self-attention, and the zero slot of MGDSPR's behaviour attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.common.errors import BadSetting


class SelfAttention(nn.Module):
    """Multi-head attention over a masked sequence; rows without any unmasked place give zeros.

    Args:
        width: d. heads: 8 in MGDSPR, so 16 numbers a head at width 128.

    Value and output projections start as the identity, which is orthogonal (MGDSPR initialises orthogonally) and keeps
    the vectors in the space of the token table: before the first step the output is an average of its input.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise BadSetting(f"the width {width} must be a multiple of the number of attention heads, {heads}.")
        self.heads = heads
        self.query_key = nn.Linear(width, 2 * width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width)
        with torch.no_grad():
            nn.init.orthogonal_(self.query_key.weight)
            nn.init.eye_(self.value.weight)
            nn.init.eye_(self.output.weight)
            self.output.bias.zero_()

    def forward(self, x: Tensor, mask: Tensor | None = None, first: bool = False) -> Tensor:
        """x [B, T, d], mask bool [B, T] (True where real) -> [B, T, d]; with `first` only place 0, [B, 1, d]."""
        width = x.shape[-1]
        asking = x[:, :1] if first else x
        weight = self.query_key.weight
        query = self._split(nn.functional.linear(asking, weight[:width]))  # [B, h, T or 1, d/h]
        key = self._split(nn.functional.linear(x, weight[width:]))  # [B, h, T, d/h]
        value = self._split(self.value(x))  # [B, h, T, d/h]
        bias = None
        if mask is not None:
            # A large negative number instead of -inf: a row without any behaviour stays finite.
            bias = torch.where(mask, 0.0, -1e4)[:, None, None, :].to(query.dtype)  # [B, 1, 1, T]
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # [B, h, T or 1, d/h]
        result = self.output(mixed.transpose(1, 2).reshape(asking.shape))
        return result if mask is None else result * mask.any(1)[:, None, None]

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class ResidualSelfAttention(SelfAttention):
    """`x + MultiHead(x)`, whose second part starts at zero: a sequence starts as itself.

    MGDSPR writes plain multi-head attention over the behaviours (Eqs. 11 and 12) and does not say whether what goes in
    is added. Without it a fresh layer makes every place the mean of the sequence, and the query that attends to the
    places afterwards has nothing to choose from.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        nn.init.zeros_(self.output.weight)

    def forward(self, x: Tensor, mask: Tensor | None = None, first: bool = False) -> Tensor:
        """x [B, T, d], mask bool [B, T] (True where real) -> [B, T, d]; with `first` only place 0, [B, 1, d]."""
        return (x[:, :1] if first else x) + super().forward(x, mask, first)


class TransformerBlock(nn.Module):
    """Self-attention and a feed-forward layer, both residual, normalised before (pre-norm).

    The papers do not say which form they use. The last layer of each half starts at zero, so the block starts as the
    identity: a sequence starts as its tokens, and attention is learned on top.
    """

    def __init__(self, width: int, heads: int, hidden: int = 0) -> None:
        super().__init__()
        hidden = hidden or 2 * width
        self.before_attention, self.before_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        last = nn.Linear(hidden, width)
        self.forward_layers = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), last)
        with torch.no_grad():
            self.attention.output.weight.zero_()
            last.weight.zero_()
            last.bias.zero_()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [B, T, d] -> [B, T, d]."""
        x = x + self.attention(self.before_attention(x), mask)
        return x + self.forward_layers(self.before_forward(x))


def zero_attention_weights(queries: Tensor, rows: Tensor, mask: Tensor, sharpness: Tensor | float = 1.0) -> Tensor:
    """`softmax(sharpness Q . [0; rows]^T)` without the zero row's column, [B, G, T].

    queries [B, G, d], rows [B, T, d], mask bool [B, T].

    The zero row (Ai et al. 2019; MGDSPR section 3.2.2) scores 0: weights sum to less than 1 where no behaviour fits.
    The product is not scaled by the width, as in MGDSPR; `sharpness` multiplies it, 1 in the paper.
    """
    scores = (queries * sharpness) @ rows.transpose(1, 2)  # [B, G, T]
    scores = scores.masked_fill(~mask[:, None, :], -1e4)
    zero = torch.zeros_like(scores[..., :1])
    return torch.softmax(torch.cat([zero, scores], dim=-1), dim=-1)[..., 1:]


def zero_attention(queries: Tensor, rows: Tensor, mask: Tensor, sharpness: Tensor | float = 1.0) -> Tensor:
    """`softmax(sharpness Q . Z^T) . Z` with `Z = [0; rows]`, MGDSPR Eqs. 11 to 13: -> [B, G, d].

    The paper prints the second `Z` transposed too; only this form has matching shapes.
    """
    return zero_attention_weights(queries, rows, mask, sharpness) @ rows


def attention_over_past(query: Tensor, past: Tensor, mask: Tensor) -> Tensor:
    """`softmax(q . P^T) . P`, MGDSPR Eq. 6, unscaled: query [B, d], past [B, k, d], mask [B, k] -> [B, d].

    Zero where a shopper has no past queries.
    """
    scores = (past @ query.unsqueeze(-1)).squeeze(-1)  # [B, k]
    weights = torch.softmax(scores.masked_fill(~mask, -1e4), dim=-1)  # [B, k]
    return (weights.unsqueeze(1) @ past).squeeze(1) * mask.any(1, keepdim=True)
