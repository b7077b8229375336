"""Hinge with an absolute threshold for each kind of interaction and one for negatives."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from components.common.errors import BadInput, BadSetting
from components.towers.interfaces import Negatives
from components.towers.losses.masks import allowed
from components.towers.losses.scores import InnerProduct, Score
from components.towers.negatives.hardest_in_batch import hardest

THRESHOLDS = (0.2, 0.6, 0.7, 0.8, 0.9)
"""Default threshold of each stage: shown only (unused by default), clicked, favourited, carted, ordered."""


class MultiPartHinge(nn.Module):
    """Pulls a positive's score above the threshold of its action and pushes every negative below one threshold.

    `L = mean_b v_b [ max(0, eps_{stage_b} - y_b) + sum_k w_k mean_{m in K_k(b)} max(0, y_{bm} - eps) ]`

    with `y` the cosine, k the sources of negatives (uniform, in batch, dynamic hard), `w_k` the weights of the moment
    (`LinearSchedule`) and `K_k(b)` the negatives of source k that example b trains on: of all that are not masked, or
    of its hardest few, those above the threshold. Absolute thresholds allow pruning by score at retrieval, which
    differences do not.

    Args:
        thresholds: `eps_i` for the stages 0 (shown) to 4 (ordered), each in [-1, 1].
        negative_threshold: `eps`, below every threshold of stages 1 to 4.
        hardest_of: source code -> how many of that source's negatives, the highest scoring ones, an example trains
            on. A source that is not named gives all of its negatives.
        mask_same_item: leave the example's own positive out of its negatives.
        score: how vectors become scores.

    Inputs:

        | argument | shape | meaning |
        | --- | --- | --- |
        | query_vectors | [B, d], unit length | query tower output |
        | positive_vectors | [B, d], unit length | item tower output of each example's positive |
        | negatives | Negatives, M rows | shared by the batch, `source` says which sampler drew each |
        | positive_index | int64 [B] | catalogue row of each positive, for the same-item mask |
        | stages | int64 [B] | action of each example: 1 click, 2 favourite, 3 cart, 4 order |
        | extra_positives | int64 [B, E], -1 padded | further positives of the request, masked as well |
        | source_weights | source code -> float | `w_k`; a source that is not named weighs 1 |
        | weights | [B] | `v_b`, weight of each example; None is 1 |

    Returns a scalar: the weighted mean over the batch.

    References:
        - UEPPR (arXiv 2306.04833v2), section "Loss": positive part `-min(0, y - eps_i)`, negative `max(0, y - eps)`;
          section "Negative mining": the weighted sum over three sources.
        - Threshold values are not in the paper. These start from Amazon's published 0.9 and 0.2 (Semantic Product
          Search, KDD 2019).
        - The paper sums pairs and does not say how many negatives a positive has. The mean over those that cost
          something is ours: a weight means the same whatever the counts. A mean over all of a source would let the
          positives draw every vector to one place, since nearly all uniform negatives cost nothing.

    Relations:
        - `PairwiseHinge` compares a positive with a negative; here neither sees the other.
        - Cost: [B, M] scores; selection is a top-k per source, without gradient.

    Example:
        >>> shared = Negatives(torch.eye(4)[2:], item_index=torch.tensor([5, 6]))
        >>> one = torch.eye(4)[:1]
        >>> MultiPartHinge()(one, torch.eye(4)[1:2], shared, torch.tensor([1]), stages=torch.tensor([4]))
        tensor(0.9000)
    """

    def __init__(
        self,
        thresholds: Sequence[float] = THRESHOLDS,
        negative_threshold: float = 0.2,
        hardest_of: Mapping[int, int] | None = None,
        mask_same_item: bool = True,
        score: Score | None = None,
    ) -> None:
        super().__init__()
        if len(thresholds) != 5:
            raise BadSetting(f"the multi-part hinge needs one threshold for each of 5 stages, not {len(thresholds)}.")
        if not all(-1 <= value <= 1 for value in (*thresholds, negative_threshold)):
            raise BadSetting("thresholds of the multi-part hinge are cosines and must lie in [-1, 1].")
        if negative_threshold >= min(thresholds[1:]):
            raise BadSetting(
                f"negative_threshold {negative_threshold} must lie below the thresholds of actions, {thresholds[1:]}."
            )
        if any(count < 1 for count in (hardest_of or {}).values()):
            raise BadSetting("the number of hardest negatives of a source must be 1 or more.")
        self.thresholds: Tensor
        self.register_buffer("thresholds", torch.tensor(thresholds, dtype=torch.float32), persistent=False)
        self.negative_threshold = negative_threshold
        self.hardest_of = dict(hardest_of or {})
        self.mask_same_item = mask_same_item
        self.score = score or InnerProduct()

    def forward(
        self,
        query_vectors: Tensor,
        positive_vectors: Tensor,
        negatives: Negatives,
        positive_index: Tensor | None = None,
        stages: Tensor | None = None,
        extra_positives: Tensor | None = None,
        source_weights: Mapping[int, float] | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The loss of one batch, a scalar; see the class for shapes."""
        if stages is None:
            raise BadInput("the multi-part hinge needs stages, the action of each example.")
        positive = self.score.rows(query_vectors, positive_vectors)  # [B]
        loss = (self.thresholds[stages.long()] - positive).clamp_min(0.0)  # [B]
        negative = self.score.all(query_vectors, negatives.vectors)  # [B, M]
        if self.mask_same_item or extra_positives is not None:
            keep = allowed(negatives, positive_index, extra_positives, self.mask_same_item)  # [B, M]
        else:
            keep = torch.ones_like(negative, dtype=torch.bool)
        violation = (negative - self.negative_threshold).clamp_min(0.0)  # [B, M]
        for source, columns in _by_source(negatives):
            weight = 1.0 if source_weights is None else float(source_weights.get(source, 1.0))
            if weight == 0.0:
                continue
            of_source = keep[:, columns]  # [B, M_k]
            if source in self.hardest_of:
                of_source = hardest(negative[:, columns], of_source, self.hardest_of[source])
            cost = violation[:, columns] * of_source  # [B, M_k]
            loss = loss + weight * cost.sum(1) / (cost > 0).sum(1).clamp_min(1)  # [B]
        if weights is None:
            return loss.mean()
        return (loss * weights).sum() / weights.sum().clamp_min(1e-12)


def _by_source(negatives: Negatives) -> list[tuple[int, Tensor]]:
    """(source code, its columns) for each source present; one source 0 where the sampler names none."""
    if negatives.source is None:
        return [(0, torch.arange(negatives.vectors.shape[0], device=negatives.vectors.device))]
    return [(int(code), (negatives.source == code).nonzero().squeeze(1)) for code in negatives.source.unique()]
