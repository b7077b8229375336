"""Ranking loss inside one request: an item of a later stage must score above an item of an earlier one."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.common.errors import BadSetting
from components.towers.interfaces import Negatives
from components.towers.losses.scores import InnerProduct, Score

ORDERED, CLICKED, SHOWN = 4, 1, 0
PAIRS = ("ordered>clicked", "ordered>shown", "clicked>shown", "shown>random")
"""The stage pairs that are compared; a favourite or a cart counts as clicked."""


class StageRanking(nn.Module):
    """Compares the mined items of a request with each other (a local comparison), stage pair by stage pair.

    `L = mean_requests sum_{(A,B)} mean_{a in A, b in B} hinge_or_bpr(s(a) - s(b))`

    over the pairs (ordered, clicked), (ordered, shown), (clicked, shown) and (shown, random). A pair that a request
    does not hold adds 0. The hinge is `max(0, margin_AB - s(a) + s(b))`, BPR is `log(1 + e^{-(s(a) - s(b)) / tau})`.

    Args:
        pairs: which of `PAIRS` are compared.
        kind: "hinge" or "bpr".
        margins: margin of each pair for the hinge; one that is not named has `margin`.
        margin: margin of the other pairs, in units of the score.
        temperature: `tau`, the scale of BPR, in units of the score.
        random_count: at most so many of the shared negatives stand for "random"; they come in random order.
        score: how vectors become scores.

    Inputs:

        | argument | shape | meaning |
        | --- | --- | --- |
        | query_vectors | [B, d] | one request each |
        | item_vectors | [B, G, d] | the request's mined items |
        | stages | int64 [B, G] | 0 shown, 1 clicked, 2 favourite, 3 cart, 4 ordered; -1 is padding |
        | negatives | Negatives, M rows | random items shared by the batch; None leaves "shown>random" out |
        | positive_index | int64 [B, L], -1 padded | rows of all items of the request: none counts as random |
        | weights | [B] | weight of each request; None is 1 |

    Returns a scalar, the weighted mean over the batch; 0 where no request holds two stages.

    References:
        - MMSE (arXiv 2303.11009): its abstract names four kinds of item (ordered, clicked, unclicked, random) and a
          ranking loss with local comparison. Only the abstract is known: the pairs, the hinge, BPR, the margins and
          the averaging are ours.
        - BPR: Rendle et al., UAI 2009.

    Relations:
        - The global side of the same objective is `SampledSoftmax`; shown items belong here and not in its
          denominator, because they are mostly relevant.
        - Cost: [B, G, G] and [B, G, random_count] scores; G is the mined items a request, about a dozen.

    Example:
        >>> loss = StageRanking(pairs=("ordered>shown",), margin=0.5)
        >>> items = torch.tensor([[[0.7], [0.4]]])
        >>> loss(torch.ones(1, 1), items, torch.tensor([[4, 0]]))
        tensor(0.2000)
    """

    def __init__(
        self,
        pairs: tuple[str, ...] = PAIRS,
        kind: str = "hinge",
        margins: Mapping[str, float] | None = None,
        margin: float = 0.1,
        temperature: float = 0.1,
        random_count: int = 64,
        score: Score | None = None,
    ) -> None:
        super().__init__()
        unknown = [name for name in (*pairs, *(margins or {})) if name not in PAIRS]
        if unknown:
            raise BadSetting(f"unknown stage pair {unknown[0]!r}; known are {', '.join(PAIRS)}.")
        if kind not in ("hinge", "bpr"):
            raise BadSetting(f"the ranking loss is 'hinge' or 'bpr', not {kind!r}.")
        if not temperature > 0 or random_count < 1:
            raise BadSetting("the ranking loss needs a temperature above 0 and a random_count of 1 or more.")
        self.pairs = tuple(pairs)
        self.kind = kind
        self.margins = {name: (margins or {}).get(name, margin) for name in PAIRS}
        self.temperature = temperature
        self.random_count = random_count
        self.score = score or InnerProduct()

    def forward(
        self,
        query_vectors: Tensor,
        item_vectors: Tensor,
        stages: Tensor,
        negatives: Negatives | None = None,
        positive_index: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The loss of one batch, a scalar; see the class for shapes."""
        scores = self.score.grid(query_vectors, item_vectors)  # [B, G]
        level = {
            "ordered": stages >= ORDERED,
            "clicked": (stages >= CLICKED) & (stages < ORDERED),
            "shown": stages == SHOWN,
        }  # bool [B, G] each
        total = scores.sum(1) * 0.0  # [B]
        for name in self.pairs:
            above, below = name.split(">")
            if below == "random":
                if negatives is None or negatives.vectors.shape[0] == 0:
                    continue
                others = self.score.all(query_vectors, negatives.vectors[: self.random_count])  # [B, R]
                is_other = self._random_mask(negatives, positive_index, others)
            else:
                others, is_other = scores, level[below]  # [B, G]
            total = total + self._compare(name, scores, level[above], others, is_other)
        if weights is None:
            return total.mean()
        return (total * weights).sum() / weights.sum().clamp_min(1e-12)

    def _compare(self, name: str, scores: Tensor, is_above: Tensor, others: Tensor, is_below: Tensor) -> Tensor:
        """Mean over the item pairs of each request, [B]; 0 where it holds none."""
        difference = scores.unsqueeze(2) - others.unsqueeze(1)  # [B, G, G or R]
        if self.kind == "hinge":
            violation = (self.margins[name] - difference).clamp_min(0.0)
        else:
            violation = functional.softplus(-difference / self.temperature)
        pairs = (is_above.unsqueeze(2) & is_below.unsqueeze(1)).to(violation.dtype)  # [B, G, G or R]
        count = pairs.sum((1, 2))  # [B]
        return (violation * pairs).sum((1, 2)) / count.clamp_min(1.0)  # [B]

    def _random_mask(self, negatives: Negatives, own_items: Tensor | None, others: Tensor) -> Tensor:
        """True where a shared negative is random to the request, not one of its own items: bool [B, R]."""
        mask = torch.ones_like(others, dtype=torch.bool)
        if own_items is not None:
            drawn = negatives.item_index[: self.random_count]  # [R]
            for column in own_items.unbind(1):
                mask &= drawn[None, :] != column[:, None]
        return mask
