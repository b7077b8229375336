"""Weights of the sources of negatives that move linearly during training, from easy to hard."""

from collections.abc import Mapping

from components.common.errors import BadSetting
from components.towers.interfaces import DYNAMIC_HARD, IN_BATCH, UNIFORM

START = {UNIFORM: 1.0, IN_BATCH: 0.0, DYNAMIC_HARD: 0.0}
END = {UNIFORM: 0.2, IN_BATCH: 0.4, DYNAMIC_HARD: 0.4}


class LinearSchedule:
    """Moves each source's weight linearly from its start to its end while training goes from `first` to `last`.

    Args:
        start: source code -> weight up to `first`. The default is uniform negatives only.
        end: source code -> weight from `last` on. The default has little uniform and much hard.
        first, last: shares of the training between which the weights move, `0 <= first < last <= 1`.

    Inputs: `weights(progress)`, the share of the training that is done, as in `SamplingContext.progress`.

    Returns source code -> weight, for `MultiPartHinge(source_weights=...)`.

    References:
        - UEPPR (arXiv 2306.04833v2), negative mining: the loss is a weighted sum over the three sources, the weights
          move linearly, uniform only at first, then uniform falls and hard rises. Values and lengths are not given;
          these are ours.

    Relations:
        - Constant weights (the ablation without a schedule) are `start == end`.
        - A source of weight 0 need not be sampled.

    Example:
        >>> LinearSchedule({0: 1.0, 1: 0.0}, {0: 0.5, 1: 1.0}).weights(0.5)
        {0: 0.75, 1: 0.5}
    """

    def __init__(
        self,
        start: Mapping[int, float] | None = None,
        end: Mapping[int, float] | None = None,
        first: float = 0.0,
        last: float = 1.0,
    ) -> None:
        self.start = dict(START if start is None else start)
        self.end = dict(END if end is None else end)
        if self.start.keys() != self.end.keys():
            raise BadSetting("the schedule of negatives must name the same sources at its start and its end.")
        if any(weight < 0 for weight in (*self.start.values(), *self.end.values())):
            raise BadSetting("weights of the sources of negatives must be 0 or more.")
        if not 0 <= first < last <= 1:
            raise BadSetting(f"the schedule of negatives needs 0 <= first < last <= 1, not {first} and {last}.")
        self.first, self.last = first, last

    def weights(self, progress: float) -> dict[int, float]:
        """Source code -> weight at a share of the training, 0 to 1."""
        share = min(1.0, max(0.0, (progress - self.first) / (self.last - self.first)))
        return {source: (1 - share) * weight + share * self.end[source] for source, weight in self.start.items()}
