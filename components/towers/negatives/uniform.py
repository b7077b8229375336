"""Uniform negatives: catalogue rows drawn with equal probability, one set shared by the whole batch."""

import math

import torch

from components.common.errors import BadSetting
from components.towers.interfaces import UNIFORM, Sampled, SamplingContext


class Uniform:
    """Draws rows of the whole catalogue with equal probability.

    Args:
        count: M, rows a draw. The catalogue's size C or more gives every row once.

    Inputs:

        | argument | field read | meaning |
        | --- | --- | --- |
        | context | catalogue_size | C, number of catalogue rows |
        | generator | | CPU generator; equal in all processes, so all draw the same rows |

    Returns `Sampled` with M rows, `log_q = log(M / C)`, source UNIFORM. Rows of one draw are distinct while C is below
    16 M; in a larger catalogue, where a repetition is rare, they are drawn with replacement and cost nothing in C.

    References:
        - MGDSPR (arXiv 2106.09297), the shared random negatives of its sampled softmax.
        - UEPPR (arXiv 2306.04833v2), negative source 2: covers the bottom of the ranking, which in-batch negatives
          never show because every one of them has been somebody's positive.

    Relations:
        - `InBatch` is free but only shows engaged products; `Popularity` lies between the two.
        - Cost: M item encodings a step, shared by the batch.

    Example:
        >>> context = SamplingContext(1000, torch.tensor([1]), torch.zeros(1000), step=0, total_steps=1)
        >>> Uniform(count=4)(context, torch.Generator().manual_seed(0)).rows.shape
        torch.Size([4])
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise BadSetting(f"the number of uniform negatives must be 1 or more, not {count}.")
        self.count = count

    def __call__(self, context: SamplingContext, generator: torch.Generator) -> Sampled:
        size = context.catalogue_size
        count = min(self.count, size)
        if size < 16 * count:
            rows = torch.randperm(size, generator=generator)[:count]  # [M]
        else:
            rows = torch.randint(size, (count,), generator=generator)  # [M]
        log_q = torch.full((count,), math.log(count / size))  # [M]
        return Sampled(rows, log_q, torch.full((count,), UNIFORM, dtype=torch.int8))
