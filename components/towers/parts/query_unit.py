"""The multi-granular semantic unit: a query as six vectors (MGDSPR section 3.2.1, Eqs. 2 to 8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.towers.interfaces import QueryBatch
from components.towers.parts.attention import TransformerBlock, attention_over_past
from components.towers.parts.tokens import TokenTable
from components.towers.ragged import Bags, Padded

ROWS: tuple[str, ...] = ("gram_1", "gram_2", "segments", "segment_sequence", "past_queries", "mix")
"""The rows of the unit, in order."""


class QueryUnit(nn.Module):
    """Q_mgs [B, 6, d] of a query text and the shopper's past queries.

    Args:
        tokens: the table shared with the item tower.
        gram_1, gram_2, segment: names of the text units of Eqs. 2, 3 and 4.
        layers, heads: of the transformer over the segments (Eq. 5; depth is not in the paper).
        limit: longest query in segments; positions behind it share the last one.

    The row of past queries (Eq. 6) is zero without history: the mean vector of each past query's segments is attended
    to by this query's. q_mix (Eq. 7) is the sum of the five rows before it.
    """

    def __init__(
        self, tokens: TokenTable, width: int, units: tuple[str, str, str], layers: int, heads: int, limit: int
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.gram_1, self.gram_2, self.segment = units
        self.positions = nn.Embedding(limit, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(layers))
        nn.init.zeros_(self.positions.weight)

    def forward(self, batch: QueryBatch) -> Tensor:
        """The six rows, [B, 6, d]."""
        gram_1 = self.tokens.mean(batch.text[self.gram_1])  # Eq. 2, [B, d]
        gram_2 = self.tokens.mean(batch.text[self.gram_2])  # Eq. 3, [B, d]
        segments = self.tokens.mean(batch.text[self.segment])  # Eq. 4, [B, d]
        sequence = self._sequence(batch.text[self.segment])  # Eq. 5, [B, d]
        past = self._past(segments, batch)  # Eq. 6, [B, d]
        mix = gram_1 + gram_2 + segments + sequence + past  # Eq. 7, [B, d]
        return torch.stack([gram_1, gram_2, segments, sequence, past, mix], dim=1)  # Eq. 8, [B, 6, d]

    def _sequence(self, segments: Bags) -> Tensor:
        padded = segments if isinstance(segments, Padded) else segments.pad()
        places = torch.arange(padded.values.shape[1], device=padded.values.device)
        places = places.clamp_max(self.positions.num_embeddings - 1)
        x = self.tokens.lookup(padded) + self.positions(places)  # [B, T, d]
        for block in self.blocks:
            x = block(x, padded.mask)
        real = padded.mask.unsqueeze(-1).to(x.dtype)  # [B, T, 1]
        return (x * real).sum(1) / real.sum(1).clamp_min(1.0)

    def _past(self, segments: Tensor, batch: QueryBatch) -> Tensor:
        if batch.past is None or batch.past_text is None:
            return torch.zeros_like(segments)
        means = self.tokens.mean(batch.past_text[self.segment])  # [U, d]
        return attention_over_past(segments, means[batch.past.values], batch.past.mask)


class SegmentMean(nn.Module):
    """The query as the mean of its segments alone, [B, 1, d]: what stands for the unit when it is switched off.

    The paper's ablation does not say what replaces the unit; the segment mean is the plainest of its rows.
    """

    def __init__(self, tokens: TokenTable, segment: str) -> None:
        super().__init__()
        self.tokens, self.segment = tokens, segment

    def forward(self, batch: QueryBatch) -> Tensor:
        """One row, [B, 1, d]."""
        return self.tokens.mean(batch.text[self.segment]).unsqueeze(1)
