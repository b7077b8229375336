"""How rows become one vector: attention from a learned [CLS] row, or their mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.towers.parts.attention import SelfAttention, TransformerBlock


class ClsFusion(nn.Module):
    """`H_qu = Self_Att([CLS; rows])` at position 0 (MGDSPR Eq. 15).

    Args:
        layers: attention layers; the last one is plain multi-head attention asked by [CLS] alone, those before it are
            whole transformer blocks. The paper does not give the depth.
    """

    def __init__(self, width: int, heads: int, layers: int = 1) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        # Small against the rows: at first [CLS] asks, but adds next to nothing to what comes out.
        nn.init.normal_(self.cls, std=0.1 * width**-0.5)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(layers - 1))
        self.attention = SelfAttention(width, heads)

    def forward(self, rows: Tensor) -> Tensor:
        """rows [B, G, d] -> [B, d]."""
        x = torch.cat([self.cls.expand(rows.shape[0], -1, -1), rows], dim=1)  # [B, 1 + G, d]
        for block in self.blocks:
            x = block(x)
        return self.attention(x, first=True).squeeze(1)


class MeanFusion(nn.Module):
    """The mean of the rows: what stands for the fusion when it is switched off (not stated in the paper).

    Rows that are zero count: of a shopper without behaviours a lone query row comes out at a quarter of its length. It
    changes no ranking, but an inner product starts small against its temperature.
    """

    def forward(self, rows: Tensor) -> Tensor:
        """rows [B, G, d] -> [B, d]."""
        return rows.mean(1)
