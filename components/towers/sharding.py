"""An embedding table whose rows lie in blocks over the processes of a training, for tables larger than one of them.

Process r holds rows `[r b, (r + 1) b)`, `b = ceil(rows / processes)`, with their gradients and optimiser state. A
lookup asks each row of its owner; after the backward pass `return_gradients` sends the gradients the same way back,
where the sparse optimiser of the unsharded table updates them. So the rows end as those of an unsharded table.

TorchRec's own sharded modules are not used as a whole: their fused kernel updates rows inside the backward pass, before
the norm over all gradients that MGDSPR clips by is known, and its dense kernel has a gradient as large as the table.
What they send rows with is, as `components.towers.torchrec_exchange`; without that package `Exchange` does the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from components.towers.checkpoints import id_of, model_state
from components.towers.parallel import World
from components.towers.settings import TowerSettings

_PIECE = 1 << 22
"""Numbers that are drawn or sent at a time."""


class RowExchange(Protocol):
    """Row numbers int64 [U], ascending and distinct, and a lookup of own rows -> the rows' vectors [U, d].

    Gradients flow through the vectors back to the owners. Every process must call it, as often as the others.
    """

    def __call__(self, ids: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor: ...


class Exchange:
    """A `RowExchange` by torch.distributed's all-to-all: numbers there, vectors back. `block`: rows of one process."""

    def __init__(self, block: int) -> None:
        self.block = block

    def __call__(self, ids: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor:
        rank, size = dist.get_rank(), dist.get_world_size()
        # Ascending numbers: those of one owner lie together, in the owners' order.
        edges = torch.searchsorted(ids, torch.arange(size + 1, device=ids.device) * self.block)
        asked = edges.diff()  # [processes]
        wanted = torch.empty_like(asked)  # [processes]
        dist.all_to_all_single(wanted, asked)
        there, back = asked.tolist(), wanted.tolist()
        rows = ids.new_empty(sum(back))
        dist.all_to_all_single(rows, ids, back, there)
        vectors = own(rows - rank * self.block)  # [W, d]
        return _SentBack.apply(vectors, back, there)  # [U, d]


class _SentBack(torch.autograd.Function):
    """Vectors to those who asked for them; in the backward pass their gradients from there."""

    @staticmethod
    def forward(context: Any, vectors: Tensor, out: list[int], into: list[int]) -> Tensor:
        context.splits = out, into
        return _passed(vectors, out, into)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        out, into = context.splits
        return _passed(gradient.contiguous(), into, out), None, None


def _passed(vectors: Tensor, out: list[int], into: list[int]) -> Tensor:
    received = vectors.new_empty((sum(into), vectors.shape[1]))
    dist.all_to_all_single(received, vectors, into, out)
    return received


class ShardedTable(nn.Embedding):
    """An `nn.Embedding` of `rows` x `width` of which this process holds its block as `weight`.

    Args:
        exchange: how rows are asked of their owners, given the rows of one block.

    Every process must look up as often as the others, with whatever numbers; none too is one.
    """

    def __init__(
        self, rows: int, width: int, processes: World, exchange: Callable[[int], RowExchange] = Exchange
    ) -> None:
        first, last = block_of(rows, processes.rank, processes.size)
        # As many random numbers as the whole table draws, so that all that is drawn afterwards is the same.
        _draw(rows * width)
        super().__init__(last - first, width, sparse=True, _weight=torch.zeros(last - first, width))
        self.rows, self.first, self.last = rows, first, last
        self._exchange = exchange(block_of(rows, 0, processes.size)[1])
        self._lookups: list[tuple[Tensor, Tensor]] = []

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors [..., d] of row numbers int64 [...]."""
        distinct, place = torch.unique(ids, return_inverse=True)
        fetched = self._exchange(distinct, super().forward)  # [U, d]
        vectors = fetched.detach()
        if torch.is_grad_enabled():
            # The backward pass ends here: whether and when it reaches a lookup may differ between processes, and a
            # process that waits for another's gradients would wait for ever.
            vectors.requires_grad_()
            self._lookups.append((fetched, vectors))
        return nn.functional.embedding(place, vectors)

    def return_gradients(self) -> None:
        """Sends the gradients of all lookups since the last call to the rows' owners, into `weight.grad` (sparse)."""
        for fetched, vectors in self._lookups:
            torch.autograd.backward(fetched, torch.zeros_like(vectors) if vectors.grad is None else vectors.grad)
        self._lookups.clear()

    def gathered(self, values: Tensor) -> Tensor | None:
        """Rows [block, ...] of every process as one tensor [rows, ...] in the leader's main memory; None elsewhere.

        It travels in pieces, so that nobody but the leader ever holds more than a block.
        """
        rank, size = dist.get_rank(), dist.get_world_size()
        piece = max(1, _PIECE // max(1, values[0:1].numel()))
        whole = torch.empty((self.rows, *values.shape[1:]), dtype=values.dtype) if rank == 0 else None
        for owner in range(size):
            first, last = block_of(self.rows, owner, size)
            for start in range(first, last, piece):
                stop = min(last, start + piece)
                if owner == rank:
                    part = values[start - first : stop - first].contiguous()
                    if rank:
                        dist.send(part, 0)
                elif rank == 0:
                    part = values.new_empty((stop - start, *values.shape[1:]))
                    dist.recv(part, owner)
                if whole is not None:
                    whole[start:stop] = part
        return whole


def block_of(rows: int, rank: int, size: int) -> tuple[int, int]:
    """First row, and the one behind the last, that process `rank` of `size` holds of a table of `rows`."""
    block = -(-rows // size)
    return min(rows, rank * block), min(rows, (rank + 1) * block)


def sharded_tables(model: nn.Module) -> dict[str, ShardedTable]:
    """The sharded tables of a model by the name of their weight in `checkpoints.model_state`."""
    tables = {id_of(module.weight): module for module in model.modules() if isinstance(module, ShardedTable)}
    if not tables:
        return {}
    return {name: tables[id_of(tensor)] for name, tensor in model_state(model).items() if id_of(tensor) in tables}


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """`checkpoints.model_state` in main memory with whole tables; empty in all processes but the leader.

    Every process must call it.
    """
    tables = sharded_tables(model)
    state = {
        name: tables[name].gathered(tensor.detach()) if name in tables else tensor.detach().cpu()
        for name, tensor in model_state(model).items()
    }
    return {} if dist.get_rank() else {name: tensor for name, tensor in state.items() if tensor is not None}


def id_table(rows: int, settings: TowerSettings) -> nn.Embedding:
    """The table of product ids, [rows, dimension]: sharded if the settings ask for it, several processes train
    (`parallel.world`) and it has `shard_above_megabytes` or more."""
    width = settings.dimension
    together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    large = rows * width * 4 >= settings.shard_above_megabytes * 2**20
    if settings.table_sharding == "none" or not together or not large:
        return nn.Embedding(rows, width, sparse=settings.sparse_gradients)
    processes = World(dist.get_rank(), dist.get_world_size())
    if settings.table_sharding == "row":
        return ShardedTable(rows, width, processes)
    from components.towers.torchrec_exchange import TorchRecExchange

    return ShardedTable(rows, width, processes, TorchRecExchange)


def _draw(count: int) -> None:
    """Draws `count` normal numbers as one tensor of them would, and forgets them."""
    while count:
        part = count if count < 2 * _PIECE else _PIECE
        torch.empty(part).normal_()
        count -= part
