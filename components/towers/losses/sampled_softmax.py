"""Sampled softmax with temperature over negatives shared by the whole batch."""

import torch
from torch import Tensor, nn

from components.common.errors import BadInput, BadSetting
from components.towers.interfaces import Negatives
from components.towers.losses.fused_softmax import fused_softmax
from components.towers.losses.masks import allowed, hidden
from components.towers.losses.scores import InnerProduct, Score


class SampledSoftmax(nn.Module):
    """Compares each positive with all shared negatives at once (a global comparison).

    `L = -mean_b w_b log( e^{s(q_b,p_b)/tau} / ( e^{s(q_b,p_b)/tau} + sum_m e^{s(q_b,n_m)/tau} ) )`

    The sum leaves out every shared negative that is the example's own positive or one of its `extra_positives`. A
    larger `tau` flattens the fitted distribution: the model stops chasing clicks that picture, price or taste caused.

    Args:
        temperature: `tau`, above 0. 2 suits unnormalised inner products of width 128 (MGDSPR), 1/30 to 1/20 cosines:
            the two are not comparable.
        log_q_correction: subtract from each score the logarithm of the expected number of times the sampler draws the
            item, so that popular items drawn often are not pushed down for it. Off in MGDSPR as far as it says.
        mask_same_item: leave the example's own positive out of its negatives.
        score: how vectors become scores.

    Inputs:

        | argument | shape | meaning |
        | --- | --- | --- |
        | query_vectors | [B, d] | query tower output (unit length if the score is cosine) |
        | positive_vectors | [B, d] | item tower output of each example's positive |
        | negatives | Negatives, M rows | shared by the batch; `log_q` needed for the correction |
        | positive_index | int64 [B] | catalogue row of each positive, for the same-item mask |
        | extra_positives | int64 [B, E], -1 padded | further positives of the request, masked as well |
        | positive_log_q | [B] | `log_q` of the positives; None leaves them uncorrected |
        | weights | [B] | weight of each example, e.g. orders above clicks; None is 1 |
        | search | int64 [B] | a number for each search, its examples side by side; None: each has its own |

    Examples of one search have one query vector and the same `extra_positives`, all of their positives among them, so
    that what its negatives score is computed once.

    Returns a scalar: the weighted mean over the batch.

    References:
        - MGDSPR (arXiv 2106.09297), Eqs. 17 to 19: temperature and sampled softmax over one shared random set.
        - Log-q correction: Bengio and Senecal 2008; Yi et al., RecSys 2019, for in-batch negatives.

    Relations:
        - `PairwiseHinge` compares one pair at a time: the same scores, slower convergence (MGDSPR figure 5).
        - `MixedHardNegatives` adds interpolated negatives to this denominator.
        - Cost: one product [R, d] x [d, M] and a matrix [R, M], R the number of searches; no [B, M, d] is built.

    Example:
        >>> loss = SampledSoftmax(temperature=2.0)
        >>> shared = Negatives(torch.zeros(3, 4), item_index=torch.tensor([5, 6, 7]))
        >>> loss(torch.ones(2, 4), torch.zeros(2, 4), shared, torch.tensor([1, 2])).exp()
        tensor(4.)
    """

    def __init__(
        self,
        temperature: float = 2.0,
        log_q_correction: bool = False,
        mask_same_item: bool = True,
        score: Score | None = None,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise BadSetting(f"temperature must be above 0, not {temperature}.")
        self.temperature = temperature
        self.log_q_correction = log_q_correction
        self.mask_same_item = mask_same_item
        self.score = score or InnerProduct()

    def logits(
        self,
        query_vectors: Tensor,
        positive_vectors: Tensor,
        negatives: Negatives,
        positive_index: Tensor | None,
        extra_positives: Tensor | None = None,
        positive_log_q: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Positive logits [B] and negative logits [B, M]; masked negatives are minus infinity."""
        positive = self._positive(query_vectors, positive_vectors, positive_log_q)  # [B]
        if self.score.linear:  # the same, without another pass over [B, M]
            negative = self.score.all(query_vectors / self.temperature, negatives.vectors)  # [B, M]
        else:
            negative = self.score.all(query_vectors, negatives.vectors) / self.temperature  # [B, M]
        if self.log_q_correction:
            if negatives.log_q is None:
                raise BadInput("log_q_correction is on but the sampler gave no log_q; use a sampler that does.")
            negative = negative - negatives.log_q[None, :]  # [B, M]
        if self.mask_same_item or extra_positives is not None:
            keep = allowed(negatives, positive_index, extra_positives, self.mask_same_item)  # [B, M]
            negative = negative.masked_fill(~keep, float("-inf"))
        return positive, negative

    def forward(
        self,
        query_vectors: Tensor,
        positive_vectors: Tensor,
        negatives: Negatives,
        positive_index: Tensor | None = None,
        extra_positives: Tensor | None = None,
        positive_log_q: Tensor | None = None,
        weights: Tensor | None = None,
        search: Tensor | None = None,
    ) -> Tensor:
        """The loss of one batch, a scalar; see the class for shapes."""
        if self._fusable(query_vectors, negatives):
            first, search = _first_of_each(search, query_vectors)  # [R], [B]
            own, others = (None if rows is None else rows[first] for rows in (positive_index, extra_positives))
            return fused_softmax(
                query_vectors.index_select(0, first) / self.temperature, negatives.vectors,
                self._positive(query_vectors, positive_vectors, positive_log_q), search,
                hidden(negatives, own, others, self.mask_same_item),
                negatives.log_q if self.log_q_correction else None, weights,
            )  # fmt: skip
        positive, negative = self.logits(
            query_vectors, positive_vectors, negatives, positive_index, extra_positives, positive_log_q
        )
        return softmax_loss(positive, negative, weights)

    def _positive(self, queries: Tensor, positives: Tensor, log_q: Tensor | None) -> Tensor:
        logits = self.score.rows(queries, positives) / self.temperature  # [B]
        return logits - log_q if self.log_q_correction and log_q is not None else logits

    def _fusable(self, queries: Tensor, negatives: Negatives) -> bool:
        full = queries.dtype == negatives.vectors.dtype and queries.dtype in (torch.float32, torch.float64)
        corrected = not self.log_q_correction or negatives.log_q is not None
        return self.score.linear and corrected and full and not torch.is_autocast_enabled(queries.device.type)


def _first_of_each(search: Tensor | None, queries: Tensor) -> tuple[Tensor, Tensor]:
    """The first example of each search, int64 [R], and the search of each example counted from 0, int64 [B]."""
    new = torch.ones(queries.shape[0], dtype=torch.bool, device=queries.device)  # [B]
    if search is not None:
        new[1:] = search[1:] != search[:-1]
    return torch.nonzero(new).squeeze(1), new.cumsum(0) - 1


def softmax_loss(positive: Tensor, negative: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted mean of `-log softmax` at the positive, from logits [B] and [B, M]; a scalar.

    Under mixed precision the partition function is summed in float32.
    """
    if positive.dtype in (torch.float16, torch.bfloat16):
        positive, negative = positive.float(), negative.float()
    # Without a copy of the negatives beside the positive: [B, M] is the largest tensor of a step.
    largest = torch.maximum(positive, negative.amax(1)).detach()  # [B], finite as the positive is
    others = torch.exp(negative - largest.unsqueeze(1)).sum(1)  # [B]
    per_example = largest + torch.log(torch.exp(positive - largest) + others) - positive  # [B]
    if weights is None:
        return per_example.mean()
    return (per_example * weights).sum() / weights.sum().clamp_min(1e-12)
