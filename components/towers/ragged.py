"""Token sets of different lengths without padding, and sequences with it.

A `Ragged` holds what is averaged (tokens of a title, products of a pooled behaviour): the mean of each row is one
`embedding_bag`, and no work is spent on padding. A `Padded` holds what goes through attention or an LSTM, and is also
the form an exported tower takes, because ONNX has no ragged tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Padded:
    """Rows of equal length: values [R, T] or [R, T, F] int64 (0 where masked), mask bool [R, T], True where real."""

    values: Tensor
    mask: Tensor

    def to(self, device: torch.device | str) -> Padded:
        """The same on another device."""
        return Padded(self.values.to(device, non_blocking=True), self.mask.to(device, non_blocking=True))

    def column(self, index: int) -> Padded:
        """Field `index` of values [R, T, F] as [R, T]."""
        return Padded(self.values[..., index], self.mask)

    def __len__(self) -> int:
        return self.values.shape[0]


@dataclass(frozen=True)
class Ragged:
    """Row r holds `values[offsets[r] : offsets[r + 1]]`.

    values: int64 [N] (or [N, F], one column a field), offsets: int64 [R + 1] from 0 to N. Storage may be int32 to save
    memory; `take` gives int64.
    """

    values: Tensor
    offsets: Tensor

    @staticmethod
    def from_lists(rows: Sequence[Sequence[int] | np.ndarray], dtype: type = np.int64) -> Ragged:
        """One row per list of ids."""
        lengths = np.fromiter((len(row) for row in rows), np.int64, count=len(rows))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        values: np.ndarray = np.fromiter((value for row in rows for value in row), dtype, count=int(offsets[-1]))
        return Ragged(torch.from_numpy(values), torch.from_numpy(offsets))

    @staticmethod
    def empty(rows: int) -> Ragged:
        """`rows` rows without values."""
        return Ragged(torch.zeros(0, dtype=torch.int64), torch.zeros(rows + 1, dtype=torch.int64))

    def __len__(self) -> int:
        return self.offsets.shape[0] - 1

    @property
    def lengths(self) -> Tensor:
        """Number of values of each row, int64 [R]."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def row_of_value(self) -> Tensor:
        """Row each value belongs to, int64 [N]."""
        rows = torch.arange(len(self), device=self.offsets.device)
        return torch.repeat_interleave(rows, self.lengths, output_size=self.values.shape[0])

    def to(self, device: torch.device | str) -> Ragged:
        """The same on another device."""
        return Ragged(self.values.to(device, non_blocking=True), self.offsets.to(device, non_blocking=True))

    def column(self, index: int) -> Ragged:
        """Field `index` of values [N, F] as a Ragged of [N]."""
        return Ragged(self.values[:, index].contiguous(), self.offsets)

    def row(self, index: int) -> Tensor:
        """Values of one row."""
        return self.values[int(self.offsets[index]) : int(self.offsets[index + 1])]

    def take(self, rows: Tensor) -> Ragged:
        """Rows in the given order (repeats allowed), values int64; no Python loop."""
        found = self.places(rows)
        return Ragged(self.values.index_select(0, found.values).long(), found.offsets)

    def places(self, rows: Tensor) -> Ragged:
        """Where in `values` the values of `take(rows)` lie, for what is aligned with them."""
        starts = self.offsets.index_select(0, rows)  # [r]
        lengths = self.offsets.index_select(0, rows + 1) - starts  # [r]
        offsets = torch.zeros(rows.shape[0] + 1, dtype=torch.int64, device=rows.device)
        torch.cumsum(lengths, 0, out=offsets[1:])
        total = int(offsets[-1])
        shift = torch.repeat_interleave(starts - offsets[:-1], lengths, output_size=total)  # [n]
        return Ragged(shift.add_(torch.arange(total, device=rows.device)), offsets)

    def last(self, count: int) -> Ragged:
        """At most the last `count` values of each row."""
        lengths = self.lengths.clamp_max(count)
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        shift = torch.repeat_interleave(self.offsets[1:] - lengths - offsets[:-1], lengths)
        positions = torch.arange(int(offsets[-1]), device=self.offsets.device) + shift
        return Ragged(self.values.index_select(0, positions), offsets)

    def pad(self, width: int = 0) -> Padded:
        """Left-aligned rows of the longest length (at least 1, at least `width`), zeros behind the end."""
        longest = int(self.lengths.max()) if len(self) else 0
        width = max(longest, width, 1)
        values = self.values.new_zeros((len(self), width, *self.values.shape[1:]), dtype=torch.int64)
        mask = torch.arange(width, device=self.offsets.device)[None, :] < self.lengths[:, None]  # [R, T]
        values[mask] = self.values.long()
        return Padded(values, mask)


Bags = Ragged | Padded
"""What a mean is taken over: ragged in training, padded in an exported tower."""
