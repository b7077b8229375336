"""Where a shopper or a product is, as learned vectors: K-means cells of the coordinates, and the country."""

import numpy as np
import torch
from torch import Tensor, nn

from components.common.errors import BadSetting
from components.towers.interfaces import Location

CELLS = (50, 100, 500)
"""UEPPR's numbers of K-means cells."""


class LocationEncoder(nn.Module):
    """Vectors of a place: one learned vector for its cell at each resolution and one for its country, concatenated.

    Cells are the nearest of k centres fitted on customers' coordinates, so they are small where customers are many.
    Distances are straight lines through the globe, so that no seam runs through the date line or the poles. An unknown
    coordinate has a cell of its own. Query and item tower share one encoder. The centres are buffers: the exported
    tower takes plain latitude and longitude.

    Args:
        width: of each vector.
        countries: rows of the country table, row 0 for unknown.
        cells: numbers of centres; fewer are used where the data has fewer distinct places.

    Inputs: `Location` of R rows (degrees, NaN where unknown; country codes).

    Returns float32 [R, (len(cells) + 1) * width].

    References:
        UEPPR (arXiv 2306.04833v2), location features: k = 50, 100 and 500 centres fitted on customers, country tokens.
        Its postal codes and their prefixes have no column in the data contract and are left out.

    Example:
        >>> encoder = LocationEncoder(width=4, countries=3, cells=(2,))
        >>> encoder.fit(np.array([[52.5, 13.4], [40.7, -74.0]]), seed=0)
        >>> nowhere = float("nan")
        >>> encoder(Location(torch.tensor([52.0, nowhere]), torch.tensor([13.0, nowhere]), torch.tensor([1, 0]))).shape
        torch.Size([2, 8])
    """

    def __init__(self, width: int, countries: int, cells: tuple[int, ...] = CELLS) -> None:
        super().__init__()
        if not cells or min(cells) < 1:
            raise BadSetting(f"the numbers of location cells must be 1 or more, not {cells}.")
        self.cells = tuple(cells)
        self.country = nn.Embedding(countries, width)
        # Row k of a cell table stands for an unknown place.
        self.tables = nn.ModuleList(nn.Embedding(count + 1, width) for count in self.cells)
        for table in (self.country, *self.tables):
            nn.init.normal_(table.weight, std=width**-0.5)
        for count in self.cells:
            self.register_buffer(f"centres_{count}", torch.full((count, 3), 9.0))  # far from every point of the globe

    @property
    def width(self) -> int:
        """Columns of the result."""
        return (len(self.cells) + 1) * self.country.embedding_dim

    def fit(self, coordinates: np.ndarray, seed: int, sample: int = 50_000) -> None:
        """Fits the centres on customers' coordinates [n, 2] in degrees; rows with NaN are left out.

        At most `sample` rows, drawn by `seed`, are used. Without any row every place stays unknown.
        """
        generator = np.random.default_rng(seed)
        known = coordinates[np.isfinite(coordinates).all(axis=1)]
        if known.shape[0] > sample:
            known = known[generator.choice(known.shape[0], sample, replace=False)]
        if not known.shape[0]:
            return
        points = on_the_globe(torch.from_numpy(known.astype(np.float64))).numpy()  # [n, 3]
        for count in self.cells:
            centres = k_means(points, count, generator)  # [<= k, 3]
            buffer = self.get_buffer(f"centres_{count}")
            buffer.fill_(9.0)
            buffer[: len(centres)] = torch.from_numpy(centres).float()

    def forward(self, location: Location) -> Tensor:
        """Vectors [R, (len(cells) + 1) * width]."""
        degrees = torch.stack([location.latitude, location.longitude], dim=1)  # [R, 2]
        unknown = torch.isnan(degrees).any(dim=1)  # [R]
        points = on_the_globe(torch.where(unknown.unsqueeze(1), torch.zeros_like(degrees), degrees))  # [R, 3]
        parts = [self.country(location.country)]  # [R, width]
        for count, table in zip(self.cells, self.tables, strict=True):
            centres = self.get_buffer(f"centres_{count}")  # [k, 3]
            # Differences, not a dot product: float32 can't tell places under 3 km apart by their cosine.
            distance = ((points.unsqueeze(1) - centres.unsqueeze(0)) ** 2).sum(2)  # [R, k]
            nobody = unknown | (centres[0, 0] > 1.0)  # [R], also while nothing is fitted
            cell = torch.where(nobody, torch.full_like(location.country, count), distance.argmin(dim=1))  # [R]
            parts.append(table(cell))
        return torch.cat(parts, dim=1)


def on_the_globe(degrees: Tensor) -> Tensor:
    """Latitude and longitude [R, 2] in degrees as points [R, 3] of the unit sphere."""
    latitude, longitude = (degrees * (torch.pi / 180.0)).unbind(1)  # [R], [R]
    across = torch.cos(latitude)
    return torch.stack([across * torch.cos(longitude), across * torch.sin(longitude), torch.sin(latitude)], dim=1)


def k_means(points: np.ndarray, count: int, generator: np.random.Generator, rounds: int = 20) -> np.ndarray:
    """Centres [at most count, 3] of `points` [n, 3]: k-means++ starts, then Lloyd's rounds until nothing moves.

    As many centres as there are distinct points where those are fewer than `count`.
    """
    distinct = np.unique(points, axis=0)
    if len(distinct) <= count:
        return distinct
    centres = distinct[generator.integers(len(distinct))][None]
    nearest = ((points - centres[0]) ** 2).sum(1)  # [n]
    while len(centres) < count:
        chosen = points[generator.choice(len(points), p=nearest / nearest.sum())]
        centres = np.vstack([centres, chosen])
        nearest = np.minimum(nearest, ((points - chosen) ** 2).sum(1))
    for _ in range(rounds):
        # |x - c|^2 without its |x|^2, which does not change the nearest centre.
        owner = (-2.0 * points @ centres.T + (centres**2).sum(1)).argmin(1)  # [n]
        members = np.bincount(owner, minlength=count)  # [k]
        sums = np.stack([np.bincount(owner, points[:, axis], minlength=count) for axis in range(3)], axis=1)  # [k, 3]
        moved = np.where(members[:, None] > 0, sums / np.maximum(members, 1)[:, None], centres)  # [k, 3]
        if np.allclose(moved, centres, atol=1e-9):
            break
        centres = moved
    return centres
