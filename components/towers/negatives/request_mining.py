"""Multi-stage mining: of each request some ordered, some clicked and some shown items, drawn anew each step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from components.common.errors import BadSetting
from components.towers.ragged import Ragged

_LEVEL_OF_STAGE = (0, 1, 1, 1, 2)  # shown; click, favourite and cart count as clicked; ordered


@dataclass(frozen=True)
class Mined:
    """rows int64 [B, G]: catalogue rows, -1 padded; stages int64 [B, G]: 0 shown to 4 ordered, -1 padded."""

    rows: Tensor
    stages: Tensor


class RequestMining:
    """Draws at most so many items of each stage of a request; the random ones come from a sampler of negatives.

    Args:
        ordered, clicked, shown: items kept of a request at each stage. Favourites and carts count as clicked. 0 leaves
            a stage out.

    Inputs:

        | argument | shape | meaning |
        | --- | --- | --- |
        | listed | Ragged, B rows | catalogue rows shown or engaged in each request, each once |
        | stages | int8, aligned with listed.values | highest stage of each |
        | example | int64 [B] | number of each request in the training data |
        | salt | int | of the step; another salt draws other items |

    Returns `Mined` with G = the longest row. The draw hashes (example, row, salt), so it is the same however the batch
    is spread over processes.

    References:
        - MMSE (arXiv 2303.11009): its abstract names ordered, clicked, unclicked and randomly sampled items per query.
          How many of each, and how they are drawn, is ours: only the abstract is known.

    Relations:
        - `StageRanking` compares what is mined; `SampledSoftmax` takes ordered and clicked ones as positives.
        - Cost: a sort over the listed items of the batch.

    Example:
        >>> listed = Ragged.from_lists([[7, 8, 9], [5]])
        >>> mined = RequestMining(1, 1, 1)(listed, torch.tensor([4, 1, 0, 2]), torch.tensor([0, 1]), salt=3)
        >>> mined.rows.tolist(), mined.stages.tolist()
        ([[7, 8, 9], [5, -1, -1]], [[4, 1, 0], [2, -1, -1]])
    """

    def __init__(self, ordered: int = 2, clicked: int = 3, shown: int = 4) -> None:
        if min(ordered, clicked, shown) < 0 or ordered + clicked < 1:
            raise BadSetting("mining needs counts of 0 or more, and at least one ordered or clicked item a request.")
        self.quota = (shown, clicked, ordered)

    def __call__(self, listed: Ragged, stages: Tensor, example: Tensor, salt: int) -> Mined:
        device = listed.values.device
        owner = listed.row_of_value  # [N]
        stages = stages.long()
        level = torch.tensor(_LEVEL_OF_STAGE, device=device)[stages]  # [N]
        key = hashed(example[owner], listed.values, salt)  # [N]
        # By request, then the highest stage first, then at random.
        order = torch.argsort(key)
        order = order[torch.argsort(owner[order] * 3 + (2 - level[order]), stable=True)]
        group = owner[order] * 3 + (2 - level[order])  # [N] ascending
        sizes = torch.bincount(group, minlength=3 * len(listed))
        place = torch.arange(len(group), device=device) - (sizes.cumsum(0) - sizes)[group]  # [N] within its stage
        keep = place < torch.tensor(self.quota, device=device)[level[order]]
        chosen = order[keep]
        counts = torch.bincount(owner[chosen], minlength=len(listed))
        kept = Ragged(chosen, torch.cat([counts.new_zeros(1), counts.cumsum(0)])).pad()
        rows = listed.values[kept.values] if len(listed.values) else kept.values
        of_stage = stages[kept.values] if len(listed.values) else kept.values
        return Mined(rows.masked_fill(~kept.mask, -1), of_stage.masked_fill(~kept.mask, -1))


def hashed(first: Tensor, second: Tensor, salt: int) -> Tensor:
    """A number in [0, 1) for each pair of int64 and the salt, without generator state: float64 of their shape."""
    mixed = (first * 0x9E3779B1 + second * 0x85EBCA77 + salt * 0xC2B2AE3D) & 0xFFFFFFFF
    for factor in (0x7FEB352D, 0x846CA68B):
        mixed = ((mixed ^ (mixed >> 16)) * factor) & 0xFFFFFFFF
    return (mixed ^ (mixed >> 16)).double() / 2**32
