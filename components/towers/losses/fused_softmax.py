"""The sampled softmax over shared negatives as one step of the autograd graph: the same numbers, fewer passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def fused_softmax(
    queries: Tensor,
    vectors: Tensor,
    positive: Tensor,
    hidden: tuple[Tensor, Tensor] | None = None,
    log_q: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """`softmax_loss(positive, queries @ vectors.T - log_q, weights)` without the hidden places; a scalar.

    The matrix [B, M] is the largest tensor of a step. Composed of single operations it is written seven times and kept
    three times for the backward pass; here it is kept once, as `e = exp(logits - max)`, and the gradients follow
    from it by two products: `dL/dq_b = w_b / Z_b sum_m e_bm v_m` and `dL/dv_m = sum_b e_bm w_b / Z_b q_b`.

    Args:
        queries: [B, d], over the temperature. vectors: [M, d]. positive: logits [B].
        hidden: rows and columns int64 [hits] of the negatives that are none. log_q: [M], or None. weights: [B], or None
            for equal ones.

    Not under autocast; it may be differentiated once, not twice.
    """
    share = torch.full_like(positive, 1.0 / positive.shape[0]) if weights is None else weights.to(positive.dtype)
    if weights is not None:
        share = share / share.sum().clamp_min(1e-12)
    return _FusedSoftmax.apply(queries, vectors, positive, hidden, log_q, share)


class _FusedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        queries: Tensor,
        vectors: Tensor,
        positive: Tensor,
        hidden: tuple[Tensor, Tensor] | None,
        log_q: Tensor | None,
        share: Tensor,
    ) -> Tensor:
        others = queries @ vectors.T  # [B, M]
        if log_q is not None:
            others.sub_(log_q)
        if hidden is not None:
            others[hidden] = float("-inf")
        largest = torch.maximum(positive, others.amax(1))  # [B], finite as the positive is
        others.sub_(largest.unsqueeze(1)).exp_()  # [B, M]
        own = torch.exp(positive - largest)  # [B]
        total = own + others.sum(1)  # [B]
        context.save_for_backward(queries, vectors, others, share / total, share * (own / total - 1.0))
        return ((largest + total.log() - positive) * share).sum()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, vectors, others, scale, of_positive = context.saved_tensors
        scale = (scale * gradient).unsqueeze(1)  # [B, 1]
        of_queries = (others @ vectors).mul_(scale)  # [B, d]
        of_vectors = ((queries * scale).T @ others).T  # [M, d]; a wide product is faster than a tall one
        return of_queries, of_vectors, of_positive * gradient, None, None, None
