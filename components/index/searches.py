"""Real searches of the log, sampled for tuning: what was asked, by whom, and which products were engaged with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ORDER = 4
"""The stage of a purchase in the examples' `stages`."""


@dataclass(frozen=True)
class Searches:
    """Rows of the examples, and for each the catalogue rows int64 engaged with and bought."""

    rows: pa.Table
    engaged: list[np.ndarray]
    bought: list[np.ndarray]

    def __len__(self) -> int:
        return self.rows.num_rows

    @property
    def queries(self) -> list[str]:
        """The query texts."""
        return self.rows.column("query").to_pylist()

    def take(self, numbers: Sequence[int]) -> "Searches":
        """These searches only."""
        return Searches(
            self.rows.take(pa.array(numbers, type=pa.int64())),
            [self.engaged[number] for number in numbers],
            [self.bought[number] for number in numbers],
        )


def sample_searches(
    examples: Path,
    splits: Sequence[str],
    count: int,
    row_of: Mapping[str, int],
    seed: int,
    least_stage: int = 0,
    columns: Sequence[str] | None = None,
) -> Searches:
    """Up to `count` searches of the first of the splits that has any, drawn by the seed, in the file's order.

    `least_stage` 1 keeps searches with an engaged product of the catalogue, 4 those with a bought one. Only the chosen
    rows are kept in memory; `columns` limits what is read of them.
    """
    for split in splits:
        path = Path(examples) / f"{split}.parquet"
        if not path.exists():
            continue
        with pq.ParquetFile(path) as file:
            chosen = _choose(file, count, row_of, seed, least_stage)
            if not len(chosen):
                continue
            wanted = None if columns is None else [*dict.fromkeys((*columns, "query", "product_ids", "stages"))]
            rows = _read(file, chosen, wanted)
        return Searches(rows, _products(rows, row_of, 1), _products(rows, row_of, ORDER))
    return Searches(pa.table({"query": pa.array([], type=pa.string())}), [], [])


def _choose(file: pq.ParquetFile, count: int, row_of: Mapping[str, int], seed: int, least_stage: int) -> np.ndarray:
    if least_stage == 0:
        fitting = np.arange(file.metadata.num_rows)
    else:
        batches = file.iter_batches(columns=["product_ids", "stages"])
        found = [rows for batch in batches for rows in _products(pa.Table.from_batches([batch]), row_of, least_stage)]
        fitting = np.array([number for number, rows in enumerate(found) if len(rows)], dtype=np.int64)
    if len(fitting) <= count:
        return fitting
    return np.sort(np.random.default_rng(seed).choice(fitting, count, replace=False))


def _read(file: pq.ParquetFile, chosen: np.ndarray, columns: list[str] | None) -> pa.Table:
    kept, start = [], 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        here = chosen[(chosen >= start) & (chosen < start + size)] - start
        if len(here):
            kept.append(file.read_row_group(group, columns=columns).take(pa.array(here)))
        start += size
    return pa.concat_tables(kept)


def _products(rows: pa.Table, row_of: Mapping[str, int], least_stage: int) -> list[np.ndarray]:
    result = []
    for ids, stages in zip(rows.column("product_ids").to_pylist(), rows.column("stages").to_pylist(), strict=True):
        found = [
            row_of[key]
            for key, stage in zip(ids or [], stages or [], strict=True)
            if stage >= least_stage and key in row_of
        ]
        result.append(np.array(found, dtype=np.int64))
    return result
