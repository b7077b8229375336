"""What a product is beside its id and title, in the space of the behaviours: category, brand, shop, price level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.towers.interfaces import ItemBatch
from components.towers.parts.behaviour import CODE_START, ItemFields


class ItemSide(nn.Module):
    """`sum_f S_f e_f` over the coded fields of a product, from the very tables of the behaviours' side information.

    A shopper's brand, shop and price level can then meet a candidate's by inner product, also where nobody has ever
    clicked the candidate. MGDSPR gives side information to behaviours alone and its item tower id and title; with the
    billions of clicks behind its ids these say what brand and price level say here. Ours.

    Args:
        fields: tables of the codes, shared with the behaviours. S_f starts as `CODE_START` times the identity.
    """

    def __init__(self, fields: ItemFields, width: int) -> None:
        super().__init__()
        # A tuple, so that the tables are not registered a second time here.
        self.tables = fields.tables
        self.project = nn.Linear(len(fields.tables) * width, width, bias=False)
        with torch.no_grad():
            self.project.weight.copy_(CODE_START * torch.eye(width).repeat(1, len(fields.tables)))

    def forward(self, batch: ItemBatch) -> Tensor:
        """Vectors [M, d]."""
        parts = [table(batch.codes[:, column]) for column, table in enumerate(self.tables)]  # 5 x [M, d]
        return self.project(torch.cat(parts, dim=1))
