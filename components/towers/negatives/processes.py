"""What all processes of a data-parallel run must agree on, exchanged; the values themselves in a single process."""

import torch
from torch import Tensor, distributed


def gathered(values: Tensor) -> Tensor:
    """`values` [B, ...] of every process behind each other, in the order of the processes: [B * processes, ...].

    Every process must call it with the same shape. No gradient flows through it. The backend decides which device the
    tensor must lie on (nccl: cuda).
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return values
    everyone = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everyone, values.contiguous())
    return torch.cat(everyone)
