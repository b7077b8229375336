"""Several samplers as one."""

import torch
from torch import Tensor

from components.common.errors import BadSetting
from components.towers.interfaces import Sampled, Sampler, SamplingContext


class Combine:
    """Draws with every sampler and joins the rows, in the order of the samplers.

    Args:
        samplers: one or more.

    Inputs: as each sampler.

    Returns `Sampled`; `log_q` is None unless every sampler gives one. Each row's `log_q` is that of the sampler that
    drew it: the expected count of a row drawn by two samplers is not added up, so their negatives count as two
    independent estimates of the softmax sum.

    References: JD's DPSR (SIGIR 2020) mixes random and in-batch negatives; the mixture here is the plain union.

    Relations:
        - `MultiPartHinge` weighs the sources apart by `source`; `SampledSoftmax` takes them all alike.
        - Cost: the sum of the samplers'.

    Example:
        >>> from components.towers.negatives.in_batch import InBatch
        >>> from components.towers.negatives.uniform import Uniform
        >>> context = SamplingContext(100, torch.tensor([4, 2]), torch.ones(100), step=0, total_steps=1)
        >>> Combine(InBatch(), Uniform(3))(context, torch.Generator().manual_seed(0)).rows.shape
        torch.Size([5])
    """

    def __init__(self, *samplers: Sampler) -> None:
        if not samplers:
            raise BadSetting("at least one sampler of negatives is needed.")
        self.samplers = samplers

    def __call__(self, context: SamplingContext, generator: torch.Generator) -> Sampled:
        drawn = [sampler(context, generator) for sampler in self.samplers]
        rows = torch.cat([part.rows for part in drawn])  # [M]
        return Sampled(rows, _joined([part.log_q for part in drawn]), _joined([part.source for part in drawn]))


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if len(present) == len(parts) else None
