"""Popularity negatives: catalogue rows drawn in proportion to how often they were engaged with, with log-q."""

import math

import torch
from torch import Tensor

from components.common.errors import BadSetting
from components.towers.interfaces import Sampled, SamplingContext
from components.towers.negatives.sources import POPULARITY


class Popularity:
    """Draws rows with probability proportional to `(engagements + smoothing)^power`, with replacement.

    Args:
        count: M, rows a draw.
        power: 1 follows the log, 0 is uniform, 0.75 lies between.
        smoothing: added to every count so that a product without engagement can be drawn too, above 0.

    Inputs:

        | argument | field read | meaning |
        | --- | --- | --- |
        | context | counts | how often each catalogue row is a training positive, [C] |
        | generator | | CPU generator |

    Returns `Sampled` with M rows, `log_q = log(M * share of the row)`, source POPULARITY.

    References:
        - Power 0.75: Mikolov et al., NeurIPS 2013. Log-q of such a sampler: Bengio and Senecal 2008; Yi et al.,
          RecSys 2019.

    Relations:
        - `Uniform` is `power=0`; `InBatch` is `power=1` without smoothing and without extra encodings.
        - Use it with `SampledSoftmax(log_q_correction=True)`: popular products are drawn often as negatives, and
          without the correction are pushed down for it.
        - Cost: a binary search a row, O(M log C), after one pass over the counts.

    Example:
        >>> context = SamplingContext(3, torch.tensor([0]), torch.tensor([8, 1, 0]), step=0, total_steps=1)
        >>> Popularity(count=5)(context, torch.Generator().manual_seed(0)).rows.shape
        torch.Size([5])
    """

    def __init__(self, count: int, power: float = 0.75, smoothing: float = 1.0) -> None:
        if count < 1 or not smoothing > 0:
            raise BadSetting(f"popularity negatives need count and smoothing above 0, not {count} and {smoothing}.")
        self.count = count
        self.power = power
        self.smoothing = smoothing
        self._counts: Tensor | None = None
        self._cumulative = torch.zeros(0)

    def __call__(self, context: SamplingContext, generator: torch.Generator) -> Sampled:
        if self._counts is not context.counts:  # the counts of a run never change
            weights = (context.counts.double().cpu() + self.smoothing) ** self.power  # [C]
            self._counts, self._cumulative = context.counts, torch.cumsum(weights / weights.sum(), 0)
        cumulative = self._cumulative
        points = torch.rand(self.count, generator=generator, dtype=torch.float64) * cumulative[-1]  # [M]
        rows = torch.searchsorted(cumulative, points, right=True).clamp_max(len(cumulative) - 1)  # [M]
        shares = cumulative[rows] - torch.where(rows > 0, cumulative[(rows - 1).clamp_min(0)], 0.0)  # [M]
        log_q = (shares.log() + math.log(self.count)).float()  # [M]
        return Sampled(rows, log_q, torch.full((self.count,), POPULARITY, dtype=torch.int8))
