"""The query-product graph seen from a product: the mean of queries that led to it, without gradient."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from components.towers.interfaces import ItemBatch
from components.towers.parts.item_tower import dropped
from components.towers.ragged import Bags, Padded


class GraphBranch(nn.Module):
    """Averages the token averages of each product's sampled neighbour queries.

    `graph(p) = stop_grad( mean_{q in neighbours(p)} avg(tokens of q) )`

    The queries are encoded with the query tower's own parameters, but no gradient flows back through this branch:
    sharing them made the towers over-fit, and stopping the gradient cured it. The batch has already left out of a
    positive's neighbours the query it is to be found by (`Catalogue.batch(exclude_queries=...)`), which would give the
    label away.

    Args:
        encode: unit name -> bags of N queries to [N, w], the query tower's token average.
        width: w.
        stop_gradient: False lets the gradient through, for the ablation.
        dropout: share of products that train without their graph. Not in the paper: without it an empty graph marks a
            product as one that nobody ever wanted, and a new product is pushed away for being new.

    Inputs: an `ItemBatch` with `graph` (M bags of rows of `graph_text`) and `graph_text` (N distinct queries).

    Returns float32 [M, w]; zero for a product that no query led to, and where the batch has no graph.

    References: UEPPR (arXiv 2306.04833v2), graph encoder: one-hop sampled neighbours, shared parameters, stopped
    gradient, target query excluded.
    """

    def __init__(
        self,
        encode: Callable[[Mapping[str, Bags]], Tensor],
        width: int,
        stop_gradient: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        # In a tuple, so that the query tower's parameters are not registered a second time here.
        self._encode = (encode,)
        self.width = width
        self.stop_gradient = stop_gradient
        self.dropout = dropout

    def forward(self, batch: ItemBatch, salt: int | None = None) -> Tensor:
        """Vectors [M, w]; with a salt (training) the graph of some products is dropped, the same in every process."""
        if batch.graph is None or batch.graph_text is None:
            return torch.zeros(batch.ids.shape[0], self.width, device=batch.ids.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.stop_gradient):
            vectors = self._mean(batch.graph, batch.graph_text)
        if salt is None or not self.dropout or batch.rows is None:
            return vectors
        return vectors * ~dropped(batch.rows, salt, self.dropout).unsqueeze(1)

    def _mean(self, graph: Bags, graph_text: Mapping[str, Bags]) -> Tensor:
        queries = self._encode[0](graph_text)  # [N, w]
        if isinstance(graph, Padded):
            found = graph.mask.to(queries.dtype)  # [M, K]
            total = (queries[graph.values] * found.unsqueeze(2)).sum(1)  # [M, w]
            return total / found.sum(1, keepdim=True).clamp_min(1.0)
        total = torch.zeros(len(graph), self.width, dtype=queries.dtype, device=queries.device)
        total = total.index_add(0, graph.row_of_value, queries[graph.values])  # [M, w]
        return total / graph.lengths.clamp_min(1).unsqueeze(1)
