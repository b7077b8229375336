"""UEPPR's query and user encoder Q: the query among the shopper's recent searches and shops, to one vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from components.towers.interfaces import SHOP, QueryBatch
from components.towers.parts.attention import TransformerBlock
from components.towers.parts.feed_forward import GroupsFeedForward
from components.towers.parts.location import LocationEncoder
from components.towers.parts.scalars import QuantileTransform
from components.towers.parts.tokens import TokenTable
from components.towers.ragged import Bags

QUERY, SEARCH, CLICKED_SHOP = 0, 1, 2
"""What a place of the event sequence is; rows of the table of kinds."""


class QueryUserEncoder(nn.Module):
    """`Q(q, u) = FFN( [ query tokens ; h ; user text averages ; location ; scalars ] )`

    with `h` the place of the query in `Transformer_1layer([q, us_1 .. us_m, uc_1 .. uc_n])`: q the averaged query
    tokens, us_j those of a recent search, uc_j the vector of a recently clicked shop.

    Args:
        tokens: token table shared with the product side.
        units: text units of queries; each is a group of its own beside h, and q and us_j are their sums.
        word_unit: the one among them that is words.
        shops: shop table shared with the product side, or None where the data has no shops.
        hidden, heads: width of the head's hidden layer; attention heads.
        layers: of the event transformer, one in the paper; 0 leaves the history out.
        users: whether the log has shoppers. location, scalars: the branches, or None.

    Which pooling the paper takes of the transformer is not given; the query's own place is ours. Without history it is
    a function of the query alone.

    References: UEPPR (arXiv 2306.04833v2), query and user encoder.
    """

    def __init__(
        self,
        tokens: TokenTable,
        units: tuple[str, ...],
        word_unit: str,
        shops: nn.Embedding | None,
        hidden: int,
        heads: int,
        layers: int,
        users: bool,
        location: LocationEncoder | None = None,
        scalars: QuantileTransform | None = None,
    ) -> None:
        super().__init__()
        self.tokens, self.units, self.shops = tokens, units, shops
        self.location, self.scalars = location, scalars
        width = tokens.table.embedding_dim
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(layers if users else 0))
        self.kinds = nn.Embedding(3, width)
        nn.init.zeros_(self.kinds.weight)
        self.with_user = bool(layers and users)
        # Words say more of a short query than its letters do: they start with twice the weight.
        widths, start = [width] * len(units), [2.0 if unit == word_unit else 1.0 for unit in units]
        for size in (
            *((width, width, width) if self.with_user else ()),
            *((location.width,) if location else ()),
            *((scalars.width,) if scalars else ()),
        ):
            widths.append(size)
            start.append(0.0)
        self.head = GroupsFeedForward(widths, start, hidden, width, batch_norm=False)

    def forward(self, batch: QueryBatch) -> Tensor:
        """Vectors [B, d], not normalised."""
        parts = [self.tokens.mean(batch.text[unit]) for unit in self.units]  # [B, d] each
        if self.with_user:
            parts.append(self.events(batch))  # [B, d]
            parts.append(self._titles(batch.clicked_titles, parts[0]))  # [B, d]
            parts.append(self._titles(batch.bought_titles, parts[0]))  # [B, d]
        if self.location is not None and batch.location is not None:
            parts.append(self.location(batch.location))  # [B, location width]
        if self.scalars is not None and batch.scalars is not None:
            parts.append(self.scalars(batch.scalars))  # [B, 2 s]
        return self.head(parts)

    def averages(self, text: Mapping[str, Bags]) -> Tensor:
        """Averaged tokens of texts, summed over the units: [N, d]."""
        return torch.stack([self.tokens.mean(text[unit]) for unit in self.units]).sum(0)

    def events(self, batch: QueryBatch) -> Tensor:
        """h [B, d]: the query's place after the event transformer."""
        x, mask = self.sequence(batch)
        for block in self.blocks:
            x = block(x, mask)
        return x[:, 0]

    def click_weights(self, batch: QueryBatch) -> Tensor | None:
        """Attention the query's place pays to the shop of each real-time click in the first layer, mean over heads:
        [B, n]. None where the data has no shops or the batch no behaviours."""
        if self.shops is None or batch.behaviour is None or not self.with_user:
            return None
        x, mask = self.sequence(batch)
        block = self.blocks[0]
        assert isinstance(block, TransformerBlock)
        attention = block.attention
        query, key = attention.query_key(block.before_attention(x)).chunk(2, dim=-1)  # [B, T, d] each
        split = (*x.shape[:2], attention.heads, -1)
        scores = torch.einsum("bhd,bthd->bht", query.reshape(split)[:, 0], key.reshape(split))  # [B, h, T]
        scores = scores / (x.shape[-1] / attention.heads) ** 0.5
        shares = torch.softmax(scores.masked_fill(~mask.unsqueeze(1), -1e4), dim=-1).mean(1)  # [B, T]
        return shares[:, -batch.behaviour.real_time.mask.shape[1] :]

    def sequence(self, batch: QueryBatch) -> tuple[Tensor, Tensor]:
        """[q, us_1 .. us_m, uc_1 .. uc_n] as [B, 1 + m + n, d], and which places are real."""
        kinds = self.kinds.weight
        rows = [(self.averages(batch.text) + kinds[QUERY]).unsqueeze(1)]  # [B, 1, d]
        masks = [torch.ones_like(rows[0][:, :, 0], dtype=torch.bool)]  # [B, 1]
        if batch.past is not None and batch.past_text is not None:
            searches = self.averages(batch.past_text)  # [U, d]
            rows.append(searches[batch.past.values] + kinds[SEARCH])  # [B, m, d]
            masks.append(batch.past.mask)
        if self.shops is not None and batch.behaviour is not None:
            window = batch.behaviour.real_time
            shops = window.values[..., 1 + SHOP]  # [B, n]
            rows.append(self.shops(shops) + kinds[CLICKED_SHOP])  # [B, n, d]
            masks.append(window.mask & (shops > 0))
        return torch.cat(rows, dim=1), torch.cat(masks, dim=1)

    def _titles(self, titles: Mapping[str, Bags] | None, like: Tensor) -> Tensor:
        return torch.zeros_like(like) if titles is None else self.averages(titles)
