"""Scalar features as quantiles: price, rating, review count and sales on one scale, missing values included."""

import numpy as np
import torch
from torch import Tensor, nn

from components.common.errors import BadInput, BadSetting


class QuantileTransform(nn.Module):
    """Maps each scalar to its place between 0 and 1 in the training data, and says whether it is missing.

    The edges are the training data's quantiles; between two edges the place is interpolated, so the result is the
    piecewise linear distribution function. It is a buffer of the model: stored in its safetensors, and a constant of
    the exported tower, so training, embedding and serving can't differ.

    Args:
        columns: s, number of scalars.
        edges: quantile edges a scalar, 2 or more.

    Inputs: `values` float [R, s], NaN where unknown.

    Returns float32 [R, 2 s]: s places in [0, 1] (0.5 where unknown), then s flags (1 where unknown).

    References: UEPPR (arXiv 2306.04833v2), "scalar features, quantile transform". Flags for missing values are ours.

    Example:
        >>> transform = QuantileTransform(columns=1, edges=3)
        >>> transform.fit(np.array([[0.0], [10.0], [1000.0]]))
        >>> transform(torch.tensor([[5.0], [2000.0], [float("nan")]]))
        tensor([[0.2500, 0.0000],
                [1.0000, 0.0000],
                [0.5000, 1.0000]])
    """

    def __init__(self, columns: int, edges: int = 33) -> None:
        super().__init__()
        if edges < 2:
            raise BadSetting(f"a quantile transform needs 2 edges or more, not {edges}.")
        self.edges: Tensor
        self.register_buffer("edges", torch.linspace(0.0, 1.0, edges).repeat(columns, 1))  # [s, E]

    @property
    def width(self) -> int:
        """Columns of the result, 2 s."""
        return 2 * self.edges.shape[0]

    def fit(self, values: np.ndarray) -> None:
        """Takes the quantiles of `values` [n, s]; a column without any known value keeps the identity on [0, 1]."""
        if values.ndim != 2 or values.shape[1] != self.edges.shape[0]:
            raise BadInput(f"scalars have shape {values.shape}, but the transform was made for {self.edges.shape[0]}.")
        places = np.linspace(0.0, 1.0, self.edges.shape[1])
        for column in range(values.shape[1]):
            known = values[:, column][np.isfinite(values[:, column])]
            if known.size:
                self.edges[column] = torch.from_numpy(np.quantile(known.astype(np.float64), places)).float()

    def forward(self, values: Tensor) -> Tensor:
        """Places and missing flags, [R, 2 s]."""
        missing = torch.isnan(values)  # [R, s]
        known = torch.where(missing, torch.zeros_like(values), values).unsqueeze(2)  # [R, s, 1]
        low, high = self.edges[None, :, :-1], self.edges[None, :, 1:]  # [1, s, E - 1]
        # Each interval gives its covered share; one of width 0 (a repeated value) is covered from its edge on.
        width = high - low
        inside = ((known - low) / torch.where(width > 0, width, 1.0)).clamp(0.0, 1.0)  # [R, s, E - 1]
        covered = torch.where(width > 0, inside, (known >= low).to(values.dtype))  # [R, s, E - 1]
        place = torch.where(missing, torch.full_like(values, 0.5), covered.mean(2))  # [R, s]
        return torch.cat([place, missing.to(values.dtype)], dim=1)  # [R, 2 s]
