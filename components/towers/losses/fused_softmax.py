"""The sampled softmax over shared negatives as one step of the autograd graph: the same numbers, fewer passes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_BITS = math.log2(math.e)
"""Logits are turned into powers of two, which cost a third of powers of e."""


def fused_softmax(
    queries: Tensor,
    vectors: Tensor,
    positive: Tensor,
    search: Tensor,
    hidden: tuple[Tensor, Tensor] | None = None,
    log_q: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """`softmax_loss(positive, (queries @ vectors.T - log_q)[search], weights)` without the hidden places; a scalar.

    The matrix [R, M] is the largest tensor of a step. Composed of single operations it is written seven times and kept
    three times for the backward pass; here it is kept once, as `e = exp(logits - max)`, and the gradients follow
    from it by two products: `dL/dq_r = s_r sum_m e_rm v_m` and `dL/dv_m = sum_r e_rm s_r q_r`, where `s_r` sums
    `w_b / Z_b` over the examples b of search r. The negatives of a search are summed once for all its examples.

    Args:
        queries: [R, d], over the temperature. vectors: [M, d]. positive: logits [B].
        search: int64 [B], row of `queries` each example asks with.
        hidden: rows (of R) and columns int64 [hits] of the negatives that are none. log_q: [M], or None.
        weights: [B], or None for equal ones.

    Not under autocast; it may be differentiated once, not twice.
    """
    share = torch.full_like(positive, 1.0 / positive.shape[0]) if weights is None else weights.to(positive.dtype)
    if weights is not None:
        share = share / share.sum().clamp_min(1e-12)
    return _FusedSoftmax.apply(queries, vectors, positive, hidden, log_q, share, search)


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
        search: Tensor,
    ) -> Tensor:
        others = (queries * _BITS) @ vectors.T  # [R, M]
        if log_q is not None:
            others.sub_(log_q * _BITS)
        if hidden is not None:
            others[hidden] = float("-inf")
        largest = others.amax(1).clamp_min_(torch.finfo(others.dtype).min)  # [R], finite also without any negative
        others.sub_(largest.unsqueeze(1)).exp2_()  # [R, M]
        total = others.sum(1)  # [R], 1 or more, but 0 without any negative
        own, negative = positive * _BITS, (largest + total.log2())[search]  # [B], [B]
        both = torch.logaddexp2(own, negative)  # [B]
        scale = torch.zeros_like(total).index_add_(0, search, share * torch.exp2(negative - both))  # [R]
        of_positive = share * (torch.exp2(own - both) - 1.0)  # [B]
        context.save_for_backward(queries, vectors, others, scale / total.clamp_min(1.0), of_positive)
        return ((both - own) * share).sum() / _BITS

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, vectors, others, scale, of_positive = context.saved_tensors
        scale = (scale * gradient).unsqueeze(1)  # [R, 1]
        of_queries = (others @ vectors).mul_(scale)  # [R, d]
        # [M, d]; a wide product is faster than a tall one, and what comes after it faster over whole rows.
        of_vectors = ((queries * scale).T @ others).T.contiguous()
        return of_queries, of_vectors, of_positive * gradient, None, None, None, None
