"""The shopper as one vector that does not depend on the query, and products in the same space."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.towers.interfaces import Behaviour, ItemBatch
from components.towers.parts.attention import SelfAttention, zero_attention, zero_attention_weights
from components.towers.parts.behaviour import PRODUCT, ItemFields, by_length
from components.towers.parts.item_tower import dropped
from components.towers.ragged import Padded


class ShopperEncoder(nn.Module):
    """`u = sum over the windows of softmax(c . [0; R]^T) . [0; R]`, R the self-attended clicks, c a learned row.

    The windows are the real-time and the short-term one. A past product and a candidate are the same fields through
    the same tables, so a shopper lies near what resembles the past from the first step on: brand, shop, category, the
    product itself.

    Args:
        fields: how a product's fields become a vector, shared with `candidates`.
        heads: of the self-attention.

    References: MGDSPR (arXiv 2106.09297) Eqs. 9 to 12 for fields, self-attention and zero slot; asked by a learned row
    instead of the query, so that shopper and query stay apart until their similarities are added. Ours.
    """

    def __init__(self, fields: ItemFields, width: int, heads: int) -> None:
        super().__init__()
        self.fields = fields
        self.attention = SelfAttention(width, heads)
        self.asking = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, behaviour: Behaviour) -> Tensor:
        """Shopper vectors [B, d]; zero without any recent click."""
        products = self.fields.products(behaviour)  # [U, d]
        asking = self.asking.expand(behaviour.real_time.mask.shape[0], -1, -1)  # [B, 1, d]

        def seen(asking: Tensor, window: Padded) -> Tensor:
            return zero_attention(asking, self._rows(products, window), window.mask)  # [B, 1, d]

        real, short = (by_length(seen, asking, window) for window in (behaviour.real_time, behaviour.short_term))
        return (real + short).squeeze(1)

    def weights(self, behaviour: Behaviour) -> tuple[Tensor, Tensor]:
        """Share of attention each real-time and each short-term click gets in its window, [B, T] each."""
        products = self.fields.products(behaviour)  # [U, d]
        asking = self.asking.expand(behaviour.real_time.mask.shape[0], -1, -1)  # [B, 1, d]
        real, short = (
            zero_attention_weights(asking, self._rows(products, window), window.mask).squeeze(1)
            for window in (behaviour.real_time, behaviour.short_term)
        )
        return real, short

    def _rows(self, products: Tensor, window: Padded) -> Tensor:
        """Self-attended clicks of a window, [B, T, d]."""
        return self.attention(products[window.values[..., PRODUCT]], window.mask)

    def candidates(self, batch: ItemBatch, salt: int | None = None, id_dropout: float = 0.0) -> Tensor:
        """Products in the shopper's space, [M, d]; with a salt (training) ids are dropped as in the item tower.

        Otherwise having no id would mark a product as one that nobody ever clicked.
        """
        ids = batch.ids.long()
        if salt is not None and id_dropout:
            ids = ids * ~dropped(ids, salt, id_dropout)
        values = torch.cat([ids.unsqueeze(1), batch.codes], dim=1).unsqueeze(1)  # [M, 1, 6]
        mask = torch.ones_like(values[..., 0], dtype=torch.bool)  # [M, 1]
        return self.fields(Padded(values, mask)).squeeze(1)
