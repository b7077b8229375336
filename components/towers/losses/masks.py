"""Which of the shared negatives may serve as a negative of which example."""

import torch
from torch import Tensor

from components.common.errors import BadInput
from components.towers.interfaces import Negatives


def allowed(
    negatives: Negatives,
    positive_index: Tensor | None,
    extra_positives: Tensor | None = None,
    same_item: bool = True,
) -> Tensor:
    """True where shared negative m may be a negative of example b.

    Args:
        negatives: the M shared negatives.
        positive_index: catalogue row of each example's positive, int64 [B]. None is refused when `same_item` is set.
        extra_positives: further catalogue rows that are positives of each example (the other clicked items of its
            request), int64 [B, E], padded with -1. None: there are none.
        same_item: whether a negative that is the example's own positive is masked.

    Returns:
        bool [B, M].

    Example:
        >>> shared = Negatives(torch.zeros(3, 4), item_index=torch.tensor([7, 8, 9]))
        >>> allowed(shared, torch.tensor([8]), torch.tensor([[9, -1]]))
        tensor([[ True, False, False]])
    """
    items = negatives.item_index  # [M]
    if not same_item and extra_positives is None:
        if positive_index is None:
            raise BadInput("positive_index is needed to know the batch size of the mask.")
        return torch.ones(positive_index.shape[0], items.shape[0], dtype=torch.bool, device=items.device)
    keep: Tensor | None = None
    if same_item:
        if positive_index is None:
            raise BadInput("same-item masking needs positive_index, the catalogue row of each example's positive.")
        keep = items[None, :] != positive_index[:, None]  # [B, M]
    if extra_positives is not None:
        # One column at a time: [B, E, M] would be the largest tensor of the step.
        for column in extra_positives.unbind(1):
            other = items[None, :] != column[:, None]  # [B, M]
            keep = other if keep is None else keep & other
    assert keep is not None
    return keep
