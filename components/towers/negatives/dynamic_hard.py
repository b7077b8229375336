"""Dynamic hard negatives: a large random draw scored with the current parameters, of which the hardest are kept."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from components.common.errors import BadInput, BadSetting
from components.towers.interfaces import DYNAMIC_HARD, Sampled, SamplingContext
from components.towers.losses.scores import InnerProduct, Score
from components.towers.negatives.processes import gathered


class DynamicHard:
    """Draws a large pool of catalogue rows, scores it without gradient, and returns the rows most similar to a query.

    Each query keeps its `per_query` highest scoring rows of the pool that are not its own positives; the union over the
    batch is shared by the batch. The training step then encodes these few rows again, with gradient.

    Args:
        pool: rows drawn and scored without gradient.
        per_query: K, rows kept for each query.
        chunk: rows encoded at a time, which bounds the memory of the scoring pass.
        score: how vectors become scores.

    Inputs:

        | argument | shape | meaning |
        | --- | --- | --- |
        | context | | reads `catalogue_size`, `queries` [B, d] and `item_vectors`, the item tower without gradient |
        | generator | | CPU generator, draws the pool; equal in all processes |
        | positives | int64 [B, E], -1 padded | rows never kept for the query whose positives they are |

    Returns `Sampled` with at most B * K distinct rows in ascending order, no log_q (how often a row is expected depends
    on the parameters), source DYNAMIC_HARD. In a data-parallel run each process chooses for its own queries and all
    get the union.

    References:
        - UEPPR (arXiv 2306.04833v2), negative source 3: draw a large batch, score it without a gradient step, keep the
          top-K, train on them with the rest. Pool size and K are not in the paper. That K counts per query, and not
          over the whole batch where one broad query would take every place, is ours.

    Relations:
        - `hardest` does the same among negatives that are scored anyway, so it is free and less hard.
        - `MixedHardNegatives` makes hard negatives from easy ones without another encoding.
        - Cost: `pool` encodings without gradient a step. Make `item_vectors` inside `frozen`: batch normalisation and
          dropout must neither see nor disturb this pass.

    Example:
        >>> vectors = torch.eye(4)
        >>> tower = lambda rows: vectors[rows]
        >>> context = SamplingContext(4, torch.tensor([0]), torch.ones(4), 0, 1, vectors[2:3], tower)
        >>> DynamicHard(pool=400, per_query=1)(context, torch.Generator().manual_seed(0)).rows
        tensor([2])
    """

    def __init__(self, pool: int = 4096, per_query: int = 1, chunk: int = 4096, score: Score | None = None) -> None:
        if pool < 1 or per_query < 1 or chunk < 1:
            raise BadSetting("dynamic hard negatives need a pool, a per_query and a chunk of 1 or more.")
        self.pool = pool
        self.per_query = per_query
        self.chunk = chunk
        self.score = score or InnerProduct()

    @torch.no_grad()
    def __call__(
        self, context: SamplingContext, generator: torch.Generator, positives: Tensor | None = None
    ) -> Sampled:
        if context.queries is None or context.item_vectors is None:
            raise BadInput("dynamic hard negatives need the query vectors and the item tower in the sampling context.")
        if self.pool >= context.catalogue_size:
            rows = torch.arange(context.catalogue_size)  # [P]
        else:
            # A repeated row would take two of a query's places.
            rows = torch.randint(context.catalogue_size, (self.pool,), generator=generator).unique()  # [P]
        vectors = torch.cat([context.item_vectors(part) for part in rows.split(self.chunk)])  # [P, d]
        scores = self.score.all(context.queries.detach(), vectors)  # [B, P]
        if positives is not None:
            drawn = rows.to(scores.device)
            for column in positives.to(scores.device).unbind(1):
                scores = scores.masked_fill(drawn[None, :] == column[:, None], float("-inf"))
        best, places = scores.topk(min(self.per_query, scores.shape[1]), dim=1)  # [B, K], [B, K]
        kept = rows.to(scores.device)[places].masked_fill(torch.isinf(best), -1)  # [B, K]
        kept = gathered(kept).unique().cpu()
        kept = kept[kept >= 0]
        return Sampled(kept, None, torch.full(kept.shape, DYNAMIC_HARD, dtype=torch.int8))


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """The module in evaluation mode and without gradient; each submodule's own mode is restored afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield module
    finally:
        for part, mode in modes.items():
            part.training = mode
