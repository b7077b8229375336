"""Data parallel training under torchrun: who this process is, and the sum of gradients, sparse ones included.

Every process takes its part of the global batch and weighs its loss by the part's share, so the summed gradient is
that of one process with the whole batch. Sparse gradients travel as rows and values; a table is never sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """rank of `size` processes; local_rank picks the device."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0


@contextmanager
def world(device_type: str) -> Iterator[World]:
    """Joins the processes torchrun started (its environment variables say so); alone without them."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    if device_type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=timedelta(minutes=30))
    try:
        yield World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        dist.destroy_process_group()


def sum_gradients(parameters: Iterable[Tensor], processes: World) -> None:
    """Replaces each gradient by its sum over the processes. All must call it with the same parameters, in order."""
    if processes.size == 1:
        return
    parameters = list(parameters)
    # What has a gradient may differ between processes (an empty window, say): the union takes part.
    kind = torch.tensor(
        [0 if p.grad is None else 2 if p.grad.is_sparse else 1 for p in parameters],
        dtype=torch.int64,
        device=parameters[0].device,
    )
    dist.all_reduce(kind, op=dist.ReduceOp.MAX)
    kinds = kind.tolist()
    dense = [p for p, k in zip(parameters, kinds, strict=True) if k == 1]
    for parameter in dense:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if dense:
        flat = torch.cat([p.grad.reshape(-1) for p in dense])  # type: ignore[union-attr]
        dist.all_reduce(flat)
        for parameter, part in zip(dense, flat.split([p.numel() for p in dense]), strict=True):
            parameter.grad = part.reshape(parameter.shape)
    for parameter, k in zip(parameters, kinds, strict=True):
        if k == 2:
            parameter.grad = _sum_sparse(parameter, processes.size)


def _sum_sparse(parameter: Tensor, size: int) -> Tensor:
    gradient = parameter.grad
    if gradient is None:
        rows = torch.zeros(0, dtype=torch.int64, device=parameter.device)
        values = parameter.new_zeros((0, *parameter.shape[1:]))
    else:
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
    counts = [torch.zeros(1, dtype=torch.int64, device=parameter.device) for _ in range(size)]
    dist.all_gather(counts, torch.tensor([rows.shape[0]], device=parameter.device))
    longest = max(int(count) for count in counts)
    all_rows, all_values = _gather(rows, longest, size), _gather(values, longest, size)
    pieces = [(r[: int(c)], v[: int(c)]) for r, v, c in zip(all_rows, all_values, counts, strict=True)]
    return torch.sparse_coo_tensor(
        torch.cat([piece[0] for piece in pieces]).unsqueeze(0),
        torch.cat([piece[1] for piece in pieces]),
        parameter.shape,
        check_invariants=False,
    ).coalesce()


def _gather(part: Tensor, longest: int, size: int) -> list[Tensor]:
    padded = part.new_zeros((longest, *part.shape[1:]))
    padded[: part.shape[0]] = part
    gathered = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(gathered, padded)
    return gathered


def norm_over_processes(norms: list[Tensor]) -> Tensor:
    """The common norm, a scalar, of what has these norms in this process and others in the other processes."""
    squares = torch.stack(norms).square().sum()
    dist.all_reduce(squares)
    return squares.sqrt()


def same_everywhere(value: float, processes: World) -> float:
    """The leader's value, in every process."""
    if processes.size == 1:
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    holder = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(holder, 0)
    return float(holder)
