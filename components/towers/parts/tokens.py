"""The token table that both towers share, and means over token sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from components.towers.ragged import Bags, Padded, Ragged


def bag_mean(table: nn.Embedding, bags: Bags, token_weight: nn.Embedding | None = None) -> Tensor:
    """Mean (or weighted mean) of the rows of `table` in each bag, [R, d]; an empty bag is the zero vector."""
    total, weight = bag_sum(table, bags, token_weight)
    return total / weight.clamp_min(1e-6).unsqueeze(-1)


def bag_sum(table: nn.Embedding, bags: Bags, token_weight: nn.Embedding | None = None) -> tuple[Tensor, Tensor]:
    """(Weighted) sum of the rows of `table` in each bag, [R, d], and the sum of their weights, [R].

    Args:
        table: [V, d]; row 0 stands for "nothing" and is zero.
        bags: R bags of row numbers.
        token_weight: [V, 1]; with it the sum is `sum_t w_t e_t`, without it every weight is 1. Weights are taken by
            their absolute value, so that none can turn its token around.
    """
    if isinstance(bags, Padded):
        weight = bags.mask.to(table.weight.dtype)  # [R, T]
        if token_weight is not None:
            weight = weight * token_weight(bags.values).squeeze(-1).abs()  # [R, T]
        return (table(bags.values) * weight.unsqueeze(-1)).sum(1), weight.sum(1)
    if isinstance(table, TokenRows) and table.sparse:
        weights = None if token_weight is None else token_weight.weight
        return _BagSum.apply(table.weight, weights, bags, table, token_weight)
    # Only the distinct rows are looked up: of a sharded table each is asked for once.
    distinct, index = torch.unique(bags.values, return_inverse=True)  # [U], [N]
    vectors = table(distinct)  # [U, d]
    if token_weight is None:
        total = nn.functional.embedding_bag(index, vectors, bags.offsets, mode="sum", include_last_offset=True)
        return total, bags.lengths.to(total.dtype)
    weight = token_weight(distinct).squeeze(-1).abs()[index]  # [N]
    total = nn.functional.embedding_bag(
        index, vectors, bags.offsets, mode="sum", include_last_offset=True, per_sample_weights=weight
    )  # [R, d]
    scale = torch.zeros(len(bags), dtype=weight.dtype, device=weight.device).index_add(0, bags.row_of_value, weight)
    return total, scale


class TokenRows(nn.Embedding):
    """An `nn.Embedding` that takes sparse gradients of one backward pass together at its end.

    Autograd adds one to the next, and with each copies all that came before; a step looks a table up two dozen times.
    """

    def __init__(self, rows: int, width: int, sparse: bool = True) -> None:
        super().__init__(rows, width, sparse=sparse)
        self._pieces: list[tuple[Tensor, Tensor]] = []

    def collect(self, rows: Tensor, values: Tensor) -> None:
        """In a backward pass: a gradient of rows int64 [n], [n, d]. `weight.grad` has it once the pass is over."""
        if not self._pieces:
            torch.autograd.Variable._execution_engine.queue_callback(self._add_up)
        self._pieces.append((rows, values))

    def _add_up(self) -> None:
        rows, values = (torch.cat(parts) for parts in zip(*self._pieces, strict=True))
        self._pieces.clear()
        gradient = torch.sparse_coo_tensor(rows.unsqueeze(0), values, self.weight.shape, check_invariants=False)
        self.weight.grad = gradient if self.weight.grad is None else self.weight.grad + gradient


class _BagSum(torch.autograd.Function):
    """`bag_sum` of ragged bags over a `TokenRows`; its gradient holds each row once.

    The gradient of row t is `w_t g_t`, of its weight `sign(w_t) (g_t . e_t + h_t)`, where g_t and h_t sum the gradients
    of the bags that hold t: a bag sum the other way round, by the sorted tokens. The cost of a step is that of its
    tokens, for any table size.
    """

    @staticmethod
    def forward(
        context: Any, table: Tensor, weight: Tensor | None, bags: Ragged, rows: TokenRows, weights: TokenRows | None
    ) -> tuple[Tensor, Tensor]:
        context.bags, context.tables = bags, (rows, weights)
        context.save_for_backward(table, weight)
        if weight is None:
            context.mark_non_differentiable(lengths := bags.lengths.to(table.dtype))
            return _bag_sums(table, bags.values, bags.offsets), lengths  # [R, d], [R]
        each = weight[bags.values].squeeze(-1).abs()  # [N]
        scale = torch.zeros(len(bags), dtype=each.dtype, device=each.device).index_add_(0, bags.row_of_value, each)
        return _bag_sums(table, bags.values, bags.offsets, each), scale

    @staticmethod
    def backward(context: Any, of_total: Tensor, of_scale: Tensor | None) -> tuple[None, ...]:
        table, weight = context.saved_tensors
        bags, (rows, weights) = context.bags, context.tables
        tokens, holders = _holders(bags)  # [N], [N]
        distinct, counts = torch.unique_consecutive(tokens, return_counts=True)  # [U], [U]
        ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])  # [U + 1]
        gradient = _bag_sums(of_total, holders, ends)  # [U, d]
        own = None if weight is None else weight[distinct]  # [U, 1]
        if context.needs_input_grad[0]:
            rows.collect(distinct, gradient if own is None else gradient * own.abs())
        if own is not None and context.needs_input_grad[1]:
            of_weight = (gradient * table[distinct]).sum(1, keepdim=True)  # [U, 1]
            if of_scale is not None:
                of_weight += _bag_sums(of_scale.unsqueeze(1), holders, ends)
            weights.collect(distinct, of_weight * own.sign())
        return None, None, None, None, None


def _holders(bags: Ragged) -> tuple[Tensor, Tensor]:
    """Every token of the bags in ascending order, int64 [N], and the bag that holds it, [N]."""
    tokens, holders = bags.values.long(), bags.row_of_value
    order = _ascending(tokens.numpy()) if tokens.device.type == "cpu" else tokens.sort(stable=True).indices
    return tokens.index_select(0, order), holders.index_select(0, order)


def _ascending(numbers: NDArray[np.int64]) -> Tensor:
    """Where the numbers [N], 0 or more, stand in ascending order, int64 [N]; equal ones as they come.

    By 16 bits at a time, which NumPy sorts by counting: half the time of any comparison of int64.
    """
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    for shift in range(16, int(numbers.max(initial=0)).bit_length(), 16):
        order = order[np.argsort((numbers[order] >> shift).astype(np.uint16), kind="stable")]
    return torch.from_numpy(order)


def _bag_sums(vectors: Tensor, values: Tensor, offsets: Tensor, weights: Tensor | None = None) -> Tensor:
    return nn.functional.embedding_bag(
        values, vectors, offsets, mode="sum", include_last_offset=True, per_sample_weights=weights
    )


class TokenTable(nn.Module):
    """Token vectors of all units in one table, shared by query and item tower.

    Args:
        tokens: V, rows with the hash buckets; row 0 is "nothing".
        width: d.
        weighted: learn a weight per token (initialised by `set_weights`, e.g. with IDF) and average with it.
        sparse: gradients touch only the rows of the batch, so that a step costs the same for any V.

    References:
        Shared table and averages: UEPPR Eq. 2 and the Amazon 2019 model it follows; MGDSPR Eqs. 2 to 4, 16 (means).
    """

    def __init__(self, tokens: int, width: int, weighted: bool = False, sparse: bool = True) -> None:
        super().__init__()
        self.table = TokenRows(tokens, width, sparse)
        self.weight = TokenRows(tokens, 1, sparse) if weighted else None
        with torch.no_grad():
            nn.init.normal_(self.table.weight, std=width**-0.5)
            self.table.weight[0] = 0.0
            if self.weight is not None:
                self.weight.weight.fill_(1.0)

    def set_weights(self, weights: Tensor) -> None:
        """Initial weight of each token, float [V]; no effect without `weighted`."""
        if self.weight is not None:
            with torch.no_grad():
                self.weight.weight.copy_(weights.reshape(-1, 1))

    def silence(self, rows: Tensor) -> None:
        """Starts the tokens of these rows at the zero vector."""
        with torch.no_grad():
            self.table.weight[rows] = 0.0

    def start_at(self, vectors: Tensor) -> None:
        """Starts every token at its row of `vectors` [V, d]; row 0 stays zero."""
        with torch.no_grad():
            self.table.weight.copy_(vectors)
            self.table.weight[0] = 0.0

    def mean(self, bags: Bags) -> Tensor:
        """(Weighted) mean of each bag, [R, d]; zero for an empty bag."""
        return bag_mean(self.table, bags, self.weight)

    def total(self, bags: Bags) -> tuple[Tensor, Tensor]:
        """(Weighted) sum of each bag, [R, d], and the sum of its weights, [R]."""
        return bag_sum(self.table, bags, self.weight)

    def weights_of(self, bags: Ragged) -> Tensor:
        """Sum of the weights of each bag, [R], without gradient and without looking vectors up."""
        with torch.no_grad():
            weight = self.weights_at(bags.values)
            return torch.zeros(len(bags), dtype=weight.dtype).index_add(0, bags.row_of_value, weight)

    def weights_at(self, tokens: Tensor) -> Tensor:
        """Weight of each token, [N], without gradient; 1 in a table that learns none."""
        with torch.no_grad():
            if self.weight is None:
                return torch.ones(tokens.shape[0])
            return self.weight(tokens.long()).squeeze(-1).abs()

    def lookup(self, padded: Padded) -> Tensor:
        """Vectors [R, T, d] of a padded sequence; masked places are zero."""
        return self.table(padded.values) * padded.mask.unsqueeze(-1)
