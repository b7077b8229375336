"""One step of a model whose negatives are shared by the batch: queries, positives and negatives, each encoded once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from components.towers.interfaces import (
    ItemBatch,
    Negatives,
    Sampler,
    SamplingContext,
    StepContext,
    TrainingBatch,
)


def encode_positives_and_negatives(
    encode: Callable[[ItemBatch], Tensor],
    queries: Tensor,
    batch: TrainingBatch,
    context: StepContext,
    sampler: Sampler,
) -> tuple[Tensor, Negatives]:
    """Positive vectors [B, d] and the batch's negatives [M, d].

    A product that is drawn several times, or is positive and negative, is encoded once.

    Args:
        encode: the item tower as it is in training.
        queries: query vectors [B, d], for samplers that look for hard negatives.
    """

    def without_gradient(rows: Tensor) -> Tensor:
        with torch.no_grad():
            return encode(context.items(rows))

    sampling = SamplingContext(
        catalogue_size=context.catalogue_size,
        positive_rows=batch.global_positive_rows,
        counts=context.counts,
        step=context.step,
        total_steps=context.total_steps,
        queries=queries.detach(),
        item_vectors=without_gradient,
    )
    sampled = sampler(sampling, context.generator)
    wanted = torch.cat([batch.positive_rows.cpu(), sampled.rows.cpu()])  # [B + M]
    distinct, index = torch.unique(wanted, return_inverse=True)
    vectors = encode(context.items(distinct))  # [U, d]
    index = index.to(vectors.device)
    positives = batch.positive_rows.shape[0]
    negatives = Negatives(
        vectors=vectors.index_select(0, index[positives:]),
        item_index=sampled.rows.to(vectors.device),
        log_q=None if sampled.log_q is None else sampled.log_q.to(vectors.device),
        source=None if sampled.source is None else sampled.source.to(vectors.device),
    )
    return vectors.index_select(0, index[:positives]), negatives
