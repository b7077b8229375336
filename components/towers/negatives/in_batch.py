"""In-batch negatives: the positives of the other examples of the batch, at no extra encoding."""

import math

import torch

from components.towers.interfaces import IN_BATCH, Sampled, SamplingContext


class InBatch:
    """Uses the positives of the whole batch (of all processes) as negatives of each other.

    Args: none.

    Inputs:

        | argument | field read | meaning |
        | --- | --- | --- |
        | context | positive_rows | catalogue rows of the positives of all processes, [B] |
        | context | counts | how often each catalogue row is a training positive, [C] |
        | generator | | not used |

    Returns `Sampled` with the same B rows in the same order, `log_q = log(B * count of the row / all counts)`, source
    IN_BATCH. Their vectors are the positive vectors: nothing need be encoded twice. An example's own positive is among
    them; the losses mask it wherever it stands, so also when two examples share a positive.

    References:
        - UEPPR (arXiv 2306.04833v2), negative source 1. Log-q: Yi et al., RecSys 2019: a product is in the batch as
          often as it is engaged with.

    Relations:
        - `hardest` keeps only those most similar to the query. `Uniform` covers what nobody engaged with.
        - Cost: none beyond the scores [B, B].

    Example:
        >>> context = SamplingContext(5, torch.tensor([4, 2]), torch.ones(5), step=0, total_steps=1)
        >>> InBatch()(context, torch.Generator()).rows
        tensor([4, 2])
    """

    def __call__(self, context: SamplingContext, generator: torch.Generator) -> Sampled:
        rows = context.positive_rows  # [B]
        share = context.counts[rows].double().clamp_min(1.0) / max(1.0, float(context.counts.sum()))  # [B]
        log_q = (share.log() + math.log(rows.shape[0])).float()  # [B]
        return Sampled(rows, log_q, torch.full(rows.shape, IN_BATCH, dtype=torch.int8, device=rows.device))
