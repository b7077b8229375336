"""Sampled softmax whose denominator also holds interpolations of the positive with the hardest shared negatives."""

import torch
from torch import Tensor, nn

from components.common.errors import BadSetting
from components.towers.interfaces import Negatives
from components.towers.losses.sampled_softmax import SampledSoftmax, softmax_loss


class MixedHardNegatives(nn.Module):
    """Makes negatives that lie between the positive and the hardest negatives, and adds them to the softmax.

    For each example the top-N of the *shared* negatives by score (not of the catalogue) are its hard ones; each is
    mixed with the positive, `i_mix = alpha * i_plus + (1 - alpha) * i_hard`, `alpha ~ Uniform(a, b)` drawn anew for
    every row, and the loss is the softmax over the shared and the mixed negatives together.

    Args:
        softmax: the sampled softmax (temperature, masks, correction) whose denominator is extended.
        count: N, how many hard negatives are mixed an example; 0 leaves the plain softmax. More than the shared
            negatives is cut to their number.
        alpha_low, alpha_high: a and b, `0 <= a < b <= 1`. 0.4 and 0.6 in the paper.
        detach_positive: stop the gradient from the mixed negatives into the positive's vector. The paper does not say
            whether it flows; the default lets it.
        cosine: vectors are unit length and the score is their cosine. A mixture of two unit vectors is shorter than
            one, so its score is divided by its length, as if the mixture were normalised.

    Inputs: as `SampledSoftmax`, and

        | argument | shape | meaning |
        | --- | --- | --- |
        | generator | torch.Generator | draws alpha; on the device of the vectors |

    Returns a scalar: the weighted mean over the batch.

    References:
        - MGDSPR (arXiv 2106.09297), Eq. 20 for the mixture, Eq. 21 for the loss; N = 684, (a, b) = (0.4, 0.6).
        - A mixed row takes over the log-q correction of the hard negative it is made of; this is ours, the paper has
          no correction.

    Relations:
        - `SampledSoftmax` is this with `count=0`.
        - Cost over it: a top-N of [B, M] and two [B, N]. No mixed vector is built, let alone [B, N, d]: the score is
          linear, `s(q, alpha p + (1 - alpha) h) = alpha s(q, p) + (1 - alpha) s(q, h)`. For the cosine the length of
          the mixture follows from the product `p . h`, one more [B, d] x [d, M].

    Example:
        >>> loss = MixedHardNegatives(SampledSoftmax(temperature=2.0), count=2)
        >>> shared = Negatives(torch.randn(8, 4), item_index=torch.arange(8))
        >>> loss(torch.randn(2, 4), torch.randn(2, 4), shared, torch.tensor([8, 9]),
        ...      generator=torch.Generator().manual_seed(0)).ndim
        0
    """

    def __init__(
        self,
        softmax: SampledSoftmax,
        count: int = 684,
        alpha_low: float = 0.4,
        alpha_high: float = 0.6,
        detach_positive: bool = False,
        cosine: bool = False,
    ) -> None:
        super().__init__()
        if count < 0:
            raise BadSetting(f"the number of mixed hard negatives must be 0 or more, not {count}.")
        if not 0 <= alpha_low < alpha_high <= 1:
            raise BadSetting(f"alpha of the mixed negatives needs 0 <= a < b <= 1, not ({alpha_low}, {alpha_high}).")
        if count and not softmax.score.linear:
            raise BadSetting("mixed hard negatives need a score that is one inner product, not the soft maximum.")
        self.softmax = softmax
        self.count = count
        self.alpha_low, self.alpha_high = alpha_low, alpha_high
        self.detach_positive = detach_positive
        self.cosine = cosine

    def forward(
        self,
        query_vectors: Tensor,
        positive_vectors: Tensor,
        negatives: Negatives,
        positive_index: Tensor | None = None,
        extra_positives: Tensor | None = None,
        positive_log_q: Tensor | None = None,
        weights: Tensor | None = None,
        generator: torch.Generator | None = None,
        search: Tensor | None = None,
    ) -> Tensor:
        """The loss of one batch, a scalar; see the class for shapes."""
        if self.count == 0:
            return self.softmax(
                query_vectors, positive_vectors, negatives, positive_index, extra_positives, positive_log_q, weights,
                search,
            )  # fmt: skip
        positive, negative = self.softmax.logits(
            query_vectors, positive_vectors, negatives, positive_index, extra_positives, positive_log_q
        )  # [B], [B, M]
        mixed = self.mixed_logits(query_vectors, positive_vectors, negatives, negative, generator)  # [B, N]
        return softmax_loss(positive, torch.cat([negative, mixed], dim=1), weights)

    def mixed_logits(
        self,
        query_vectors: Tensor,
        positive_vectors: Tensor,
        negatives: Negatives,
        negative: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Logits [B, N] of the mixed negatives; minus infinity where an example has fewer than N negatives left."""
        temperature = self.softmax.temperature
        count = min(self.count, negative.shape[1])
        correction = negatives.log_q if self.softmax.log_q_correction else None
        raw = negative if correction is None else negative + correction[None, :]  # [B, M] the scores over temperature
        hard, chosen = raw.topk(count, dim=1)  # [B, N], [B, N]
        mixable = torch.isfinite(hard)  # [B, N]
        # At least float32: in half precision alpha would take a few dozen values.
        alpha = torch.empty_like(hard, dtype=torch.promote_types(hard.dtype, torch.float32))  # [B, N]
        alpha.uniform_(self.alpha_low, self.alpha_high, generator=generator)
        anchor = positive_vectors.detach() if self.detach_positive else positive_vectors
        near = self.softmax.score.rows(query_vectors, anchor).unsqueeze(1) / temperature  # [B, 1]
        mixed = alpha * near + (1 - alpha) * hard.masked_fill(~mixable, 0.0)  # [B, N]
        if self.cosine:
            mixed = mixed / self._lengths(anchor, negatives.vectors, chosen, alpha)  # [B, N]
        if correction is not None:
            mixed = mixed - correction[chosen]  # [B, N]
        return mixed.masked_fill(~mixable, float("-inf"))

    @staticmethod
    def _lengths(anchor: Tensor, vectors: Tensor, chosen: Tensor, alpha: Tensor) -> Tensor:
        """Lengths [B, N] of `alpha p + (1 - alpha) h`, from `|.|^2 = a^2 p.p + (1-a)^2 h.h + 2a(1-a) p.h`."""
        between = (anchor @ vectors.T).gather(1, chosen)  # [B, N]
        of_anchor = (anchor * anchor).sum(1, keepdim=True)  # [B, 1]
        of_hard = (vectors * vectors).sum(1)[chosen]  # [B, N]
        rest = 1 - alpha
        squared = alpha**2 * of_anchor + rest**2 * of_hard + 2 * alpha * rest * between  # [B, N]
        return squared.clamp_min(1e-12).sqrt()
