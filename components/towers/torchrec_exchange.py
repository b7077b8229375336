"""How the rows of a sharded table travel by TorchRec: its row-wise distribution of ids, and of vectors back.

Needs the optional extra `sharded`. On the CPU TorchRec's kernels come from `fbgemm-gpu-cpu` in place of `fbgemm-gpu`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from components.common.errors import Unavailable


class TorchRecExchange:
    """A `sharding.RowExchange` by TorchRec's RwSparseFeaturesDist and RwSequenceEmbeddingDist.

    Args:
        block: rows of one process.

    Raises:
        Unavailable: TorchRec is not installed.
    """

    def __init__(self, block: int) -> None:
        try:
            from torchrec.distributed.comm_ops import set_gradient_division
            from torchrec.distributed.sharding.rw_sequence_sharding import RwSequenceEmbeddingDist
            from torchrec.distributed.sharding.rw_sharding import RwSparseFeaturesDist
        except (ImportError, OSError) as error:
            raise Unavailable(
                f"towers.table_sharding=torchrec needs TorchRec (the optional extra sharded): {error}; install it, or "
                "set towers.table_sharding=row."
            ) from error
        # A process's loss is weighed by its part of the batch already: gradients are sums, not means.
        set_gradient_division(False)
        self.rows = block * dist.get_world_size()
        self._make = RwSparseFeaturesDist, RwSequenceEmbeddingDist
        self._there: RwSparseFeaturesDist | None = None

    def __call__(self, ids: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor:
        from torchrec.distributed.sharding.sequence_sharding import SequenceShardingContext
        from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

        if self._there is None:  # now the device is known
            features, vectors = self._make
            self._there = features(dist.group.WORLD, 1, [self.rows], device=ids.device, is_sequence=True)
            self._back = vectors(dist.group.WORLD, 1, ids.device)
        asked = KeyedJaggedTensor(["id"], ids, lengths=torch.tensor([ids.shape[0]], device=ids.device))
        sent = self._there(asked).wait()
        wanted = sent.wait()
        context = SequenceShardingContext(
            input_splits=sent._input_splits["values"],
            output_splits=sent._output_splits["values"],
            sparse_features_recat=sent._recat,
            unbucketize_permute_tensor=self._there.unbucketize_permute_tensor,
            lengths_after_input_dist=wanted.lengths().view(-1, wanted.stride()),
            features_before_input_dist=asked,
        )
        return self._back(own(wanted.values()), context).wait()  # [U, d]
