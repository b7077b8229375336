"""Pairwise hinge with a margin: the baseline that MGDSPR's softmax replaces."""

from torch import Tensor, nn

from components.common.errors import BadSetting
from components.towers.interfaces import Negatives
from components.towers.losses.masks import allowed
from components.towers.losses.scores import InnerProduct, Score


class PairwiseHinge(nn.Module):
    """Asks each positive to beat each shared negative by a margin (a local comparison).

    `L = mean_b mean_m max(0, margin - s(q_b, p_b) + s(q_b, n_m))` over the negatives m that are not masked.

    Args:
        margin: by how much a positive must win, above 0; in units of the score, so it has to be tuned.
        mask_same_item: leave the example's own positive out of its negatives.
        score: how vectors become scores.

    Inputs:

        | argument | shape | meaning |
        | --- | --- | --- |
        | query_vectors | [B, d] | query tower output |
        | positive_vectors | [B, d] | item tower output of each example's positive |
        | negatives | Negatives, M rows | shared by the batch |
        | positive_index | int64 [B] | catalogue row of each positive, for the same-item mask |
        | extra_positives | int64 [B, E], -1 padded | further positives of the request, masked as well |
        | weights | [B] | weight of each example; None is 1 |

    Returns a scalar: the weighted mean over the batch.

    References:
        - The baseline of MGDSPR (arXiv 2106.09297), section 2 and figure 5, as used by Facebook EBR (KDD 2020) and DPSR
          (SIGIR 2020). The mean over all shared negatives, rather than one drawn negative, is ours: the same
          expectation with less variance.

    Relations:
        - `SampledSoftmax` on the same scores compares globally and needs no margin.
        - `MultiPartHinge` uses absolute thresholds instead of differences.
        - Cost: that of `SampledSoftmax`.

    Example:
        >>> import torch
        >>> shared = Negatives(torch.zeros(3, 4), item_index=torch.tensor([5, 6, 7]))
        >>> PairwiseHinge(margin=0.1)(torch.zeros(2, 4), torch.zeros(2, 4), shared, torch.tensor([1, 2]))
        tensor(0.1000)
    """

    def __init__(self, margin: float = 0.1, mask_same_item: bool = True, score: Score | None = None) -> None:
        super().__init__()
        if not margin > 0:
            raise BadSetting(f"the margin of the pairwise hinge must be above 0, not {margin}.")
        self.margin = margin
        self.mask_same_item = mask_same_item
        self.score = score or InnerProduct()

    def forward(
        self,
        query_vectors: Tensor,
        positive_vectors: Tensor,
        negatives: Negatives,
        positive_index: Tensor | None = None,
        extra_positives: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The loss of one batch, a scalar; see the class for shapes."""
        positive = self.score.rows(query_vectors, positive_vectors)  # [B]
        negative = self.score.all(query_vectors, negatives.vectors)  # [B, M]
        violation = (self.margin - positive.unsqueeze(1) + negative).clamp_min(0.0)  # [B, M]
        if self.mask_same_item or extra_positives is not None:
            keep = allowed(negatives, positive_index, extra_positives, self.mask_same_item).to(violation.dtype)
            per_example = (violation * keep).sum(1) / keep.sum(1).clamp_min(1.0)  # [B]
        else:
            per_example = violation.mean(1)  # [B]
        if weights is None:
            return per_example.mean()
        return (per_example * weights).sum() / weights.sum().clamp_min(1e-12)
