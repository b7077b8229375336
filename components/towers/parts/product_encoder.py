"""UEPPR's product encoder P: token groups, location, scalars, title transformer and graph, to one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.towers.interfaces import ItemBatch
from components.towers.parts.feed_forward import GroupsFeedForward
from components.towers.parts.graph import GraphBranch
from components.towers.parts.location import LocationEncoder
from components.towers.parts.scalars import QuantileTransform
from components.towers.parts.text_transformer import TitleTransformer
from components.towers.parts.tokens import TokenTable


class ProductEncoder(nn.Module):
    """`P(p) = FFN+BatchNorm( [ token groups ; codes ; location ; scalars ; transformer(title) ; graph ] )`

    Args:
        tokens: token table shared with the query side.
        units: text units of the title, each a group of its own.
        groups: further token groups ("category", "attributes", "description", "brand"). Noisy fields stay apart:
            averaging a description with the title hurts.
        code_tables: vectors of leaf category, brand and shop by their column; the shop's is shared with the query side.
        location, scalars, transformer, graph: the branches, or None where settings or data leave them out.
        hidden: width of the hidden layer.

    There is no product id among the features, so a new product is encoded as well as its data allow.

    References: UEPPR (arXiv 2306.04833v2), product encoder and Eq. 2 (token groups).
    """

    def __init__(
        self,
        tokens: TokenTable,
        units: tuple[str, ...],
        groups: tuple[str, ...],
        code_tables: dict[int, nn.Embedding],
        hidden: int,
        location: LocationEncoder | None = None,
        scalars: QuantileTransform | None = None,
        transformer: TitleTransformer | None = None,
        graph: GraphBranch | None = None,
        transformer_unit: str = "stems",
    ) -> None:
        super().__init__()
        self.tokens, self.units, self.groups = tokens, units, groups
        self.codes = nn.ModuleDict({str(column): table for column, table in code_tables.items()})
        self.location, self.scalars, self.transformer, self.graph = location, scalars, transformer, graph
        self.transformer_unit = transformer_unit
        width = tokens.table.embedding_dim
        widths, start = [width] * len(units), [1.0] * len(units)
        for size, weight in (
            *((width, 0.0) for _ in groups),
            *((table.embedding_dim, 0.0) for table in code_tables.values()),
            *(((location.width, 0.0),) if location else ()),
            *(((scalars.width, 0.0),) if scalars else ()),
            *(((width, 0.0),) if transformer else ()),
            *(((width, 1.0),) if graph else ()),
        ):
            widths.append(size)
            start.append(weight)
        self.head = GroupsFeedForward(widths, start, hidden, width, batch_norm=True)

    def forward(self, batch: ItemBatch, salt: int | None = None) -> Tensor:
        """Vectors [M, d], not normalised; `salt` as in the graph branch."""
        parts = [self.tokens.mean(batch.text[unit]) for unit in self.units]  # [M, d] each
        parts += [self.tokens.mean(batch.fields[name]) for name in self.groups]  # [M, d] each
        parts += [table(batch.codes[:, int(column)]) for column, table in self.codes.items()]  # [M, d] each
        if self.location is not None and batch.location is not None:
            parts.append(self.location(batch.location))  # [M, location width]
        if self.scalars is not None and batch.scalars is not None:
            parts.append(self.scalars(batch.scalars))  # [M, 2 s]
        if self.transformer is not None:
            parts.append(self.transformer(batch.text[self.transformer_unit]))  # [M, d]
        if self.graph is not None:
            parts.append(self.graph(batch, salt))  # [M, d]
        return self.head(parts)


def code_tables(sizes: dict[str, int], names: dict[int, str], width: int, sparse: bool) -> dict[int, nn.Embedding]:
    """A table per coded field that the data has; row 0 (unknown) starts as zero."""
    tables = {}
    for column, name in names.items():
        if sizes[name] > 1:
            tables[column] = nn.Embedding(sizes[name], width, sparse=sparse)
            nn.init.normal_(tables[column].weight, std=width**-0.5)
            with torch.no_grad():
                tables[column].weight[0] = 0.0
    return tables
