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
    if positive_index is None and extra_positives is None:
        raise BadInput("positive_index is needed to know the batch size of the mask.")
    of_batch = positive_index if positive_index is not None else extra_positives
    assert of_batch is not None
    items = negatives.item_index  # [M]
    keep = torch.ones(of_batch.shape[0], items.shape[0], dtype=torch.bool, device=items.device)
    found = hidden(negatives, positive_index, extra_positives, same_item)
    if found is not None:
        keep[found] = False
    return keep


def hidden(
    negatives: Negatives,
    positive_index: Tensor | None,
    extra_positives: Tensor | None = None,
    same_item: bool = True,
) -> tuple[Tensor, Tensor] | None:
    """Rows b and columns m, int64 [hits] each, where `allowed` is False; None where nothing is masked at all."""
    if not same_item and extra_positives is None:
        return None
    if same_item and positive_index is None:
        raise BadInput("same-item masking needs positive_index, the catalogue row of each example's positive.")
    own = [positive_index.unsqueeze(1)] if same_item and positive_index is not None else []
    own += [] if extra_positives is None else [extra_positives]
    return _places(negatives.item_index, torch.cat(own, dim=1))


def _places(items: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(row b, place m) of every `items[m]` int64 [M] that is one of `wanted[b]` int64 [B, E].

    By bisection: comparing everything with everything is E passes over the largest tensor of a step.
    """
    ascending, order = items.sort()
    wanted = wanted.contiguous()
    first = torch.searchsorted(ascending, wanted)  # [B, E]
    count = (torch.searchsorted(ascending, wanted, right=True) - first).flatten()  # [B E]
    found = torch.repeat_interleave(torch.arange(count.shape[0], device=items.device), count)  # [hits]
    place = torch.arange(found.shape[0], device=items.device) - (count.cumsum(0) - count)[found]  # [hits] 0, 1, ..
    return found // wanted.shape[1], order[first.flatten()[found] + place]
