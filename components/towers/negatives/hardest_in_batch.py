"""The hardest of the negatives that are already scored: the other queries' positives most similar to this query."""

import torch
from torch import Tensor


@torch.no_grad()
def hardest(scores: Tensor, keep: Tensor, count: int) -> Tensor:
    """Marks each example's `count` highest scoring allowed negatives.

    Args:
        scores: score of each example with each shared negative, [B, M].
        keep: which negatives are allowed (not the example's own positive), bool [B, M].
        count: how many to take; an example with fewer allowed ones takes those.

    Returns:
        bool [B, M], at most `count` True a row, always within `keep`.

    No gradient flows through the choice; it flows through the chosen scores, which the loss reads itself.

    References:
        - UEPPR (arXiv 2306.04833v2), negative source 1: of the in-batch negatives, those most similar to the query
          instead of a uniform draw. Que2Search (KDD 2021) takes the single hardest.

    Relations:
        - `InBatch` supplies the candidates; `DynamicHard` looks beyond the batch.
        - Cost: one top-k over a matrix the loss has anyway.

    Example:
        >>> hardest(torch.tensor([[0.9, 0.1, 0.5]]), torch.tensor([[False, True, True]]), count=1)
        tensor([[False, False,  True]])
    """
    count = min(count, scores.shape[1])
    masked = scores.masked_fill(~keep, float("-inf"))  # [B, M]
    columns = masked.topk(count, dim=1).indices  # [B, count]
    chosen = torch.zeros_like(keep).scatter_(1, columns, True)  # [B, M]
    return chosen & keep
