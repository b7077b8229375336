"""A start for token vectors: the directions in which the titles of the catalogue differ most, and chance for the rest.

Inner products of bags of random token vectors carry noise that falls with the square root of the width only. Titles
repeat each other's words, so a few hundred directions hold half of what they say; what lies in them is kept exactly,
and the noise of the remainder shrinks with it.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def title_axes(titles: Tensor, count: int, generator: torch.Generator, rounds: int = 2) -> Tensor:
    """An orthonormal basis [V, count] close to the leading right singular vectors of sparse titles [P, V].

    Args:
        rounds: power iterations behind the first product; two suit the slow decay of word counts.

    References: Halko, Martinsson and Tropp 2011 (randomised range finder); Deerwester et al. 1990 (latent semantic
        indexing). Neither paper of this room starts its tables so: the use here is ours.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls compressed rows a beta
        rows, columns = titles.to_sparse_csr(), titles.t().to_sparse_csr()  # [P, V], [V, P]
    basis = torch.randn(titles.shape[1], count, generator=generator)
    for _ in range(rounds + 1):
        basis = torch.linalg.qr(columns @ (rows @ basis))[0]  # [V, count]
    return basis


def start_vectors(axes: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Token vectors [V, width] whose inner products are exact along the axes [V, k] and random across the rest.

    `E E^T = A A^T + (I - A A^T) R R^T (I - A A^T)` with R random of width - k columns, turned at random so that no
    coordinate is special.
    """
    tokens, count = axes.shape
    rest = torch.randn(tokens, width - count, generator=generator)  # [V, width - k]
    rest = (rest - axes @ (axes.T @ rest)) / max(1, width - count) ** 0.5
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]  # [width, width]
    return torch.cat([axes, rest], dim=1) @ turn
