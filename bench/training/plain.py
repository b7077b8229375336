"""The towers of a model trained as a textbook writes it: dense gradients, padded batches, negatives of each example."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from components.towers.interfaces import ItemBatch, StepContext, StepLoss, TrainingBatch
from components.towers.losses.sampled_softmax import softmax_loss
from components.towers.moving import padded_bags


@dataclass(frozen=True)
class Plain:
    """What is written plainly.

    dense: every row of a table has a gradient and is updated. padded: token sets are padded, and a search is encoded
    once for each product engaged in it. negatives: so many drawn for each example by itself, each encoded; 0 keeps the
    model's own negatives, shared by the batch.
    """

    dense: bool = False
    padded: bool = False
    negatives: int = 0


def plainly(kind: Any, how: Plain) -> Any:
    """The model class with the same towers and a plain step; over an example's own negatives the loss is a softmax."""

    class PlainModel(kind):  # type: ignore[misc]
        unit = "positive" if how.padded and kind.unit == "grouped" else kind.unit

        def loss(self, batch: TrainingBatch, context: StepContext) -> StepLoss:
            if how.padded:
                batch = replace(batch, query=padded_bags(batch.query))
                context = replace(context, items=_padded(context))
            return self._own(batch, context) if how.negatives else super().loss(batch, context)

        def _own(self, batch: TrainingBatch, context: StepContext) -> StepLoss:
            queries = self.query(batch.query)[batch.request]  # [B, d]
            count = queries.shape[0]
            drawn = torch.randint(context.catalogue_size, (count * how.negatives,), generator=context.generator)
            vectors = self.item(context.items(torch.cat([batch.positive_rows, drawn])))  # [B + B N, d]
            positive = (queries * vectors[:count]).sum(1)  # [B]
            own = vectors[count:].reshape(count, how.negatives, -1)  # [B, N, d]
            negative = torch.bmm(own, queries.unsqueeze(2)).squeeze(2)  # [B, N]
            scale = self.settings.temperature
            return StepLoss(softmax_loss(positive / scale, negative / scale, batch.weights))

    return PlainModel


def _padded(context: StepContext) -> Any:
    def items(rows: Tensor, exclude_queries: Tensor | None = None) -> ItemBatch:
        return padded_bags(context.items(rows, exclude_queries))

    return items
