"""Checkpoints of a training with sharded tables: each process writes its rows, the leader all else.

The leader's file is replaced last and names the step, so whenever a training is killed, the file and the rows it names
are those of one step. Another number of processes may go on: each takes its rows from whatever files hold them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import Tensor

from components.towers.checkpoints import load_tensors, progress_of, save_tensors
from components.towers.parallel import World
from components.towers.sharding import ShardedTable, block_of

_PARTS = "parts"
"""Key of the progress that says how many processes wrote rows; absent where no table is sharded."""


def save_state(
    path: Path,
    tensors: Mapping[str, Tensor],
    progress: Mapping[str, Any],
    tables: Mapping[str, ShardedTable],
    processes: World,
) -> None:
    """Writes a checkpoint that all processes see in one folder; with `tables` all processes must call it.

    Args:
        progress: a JSON object with the "step". tables: of the tensors that are the rows of this process, their table.
    """
    if not tables:
        if processes.leads:
            save_tensors(path, dict(tensors), dict(progress))
        return
    layout = {name: [table.first, table.rows] for name, table in tables.items()}
    own = _rows(path, progress["step"], processes.rank, processes.size)
    save_tensors(own, {name: tensors[name] for name in tables}, layout)
    dist.barrier()
    if processes.leads:
        whole = {name: tensor for name, tensor in tensors.items() if name not in tables}
        save_tensors(path, whole, {**progress, _PARTS: processes.size})
        current = {_rows(path, progress["step"], rank, processes.size) for rank in range(processes.size)}
        for other in set(path.parent.glob(f"{path.stem}-rows-*.safetensors")) - current:
            other.unlink()
    dist.barrier()


def load_state(path: Path, processes: World) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_state` wrote: tensors, of sharded tables the rows of this process, and the progress."""
    tensors, progress = load_tensors(path)
    parts = progress.pop(_PARTS, 0)
    for part in range(parts):
        rows = _rows(path, progress["step"], part, parts)
        with safe_open(rows, framework="pt") as file:
            for name, (start, total) in progress_of(file).items():
                held = file.get_slice(name)
                stop = start + held.get_shape()[0]
                first, last = block_of(total, processes.rank, processes.size)
                found = held[max(first, start) - start : max(min(last, stop), start) - start]
                tensors[name] = torch.cat([tensors[name], found]) if name in tensors else found
    return tensors, progress


def _rows(path: Path, step: int, rank: int, size: int) -> Path:
    return path.with_name(f"{path.stem}-rows-{step}-{rank}of{size}.safetensors")
