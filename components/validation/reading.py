"""Parquet files batch by batch, each batch with its origin; a torn file is named, never half-read silently."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_BATCH_BYTES = 128 * 2**20


class UnreadableFile(Exception):
    """A file that is torn, damaged or not Parquet. `path` is the file, `rows` its row count if its footer is whole."""

    def __init__(self, path: Path, reason: str, rows: int | None) -> None:
        super().__init__(reason)
        self.path, self.reason, self.rows = path, reason, rows


@dataclass(frozen=True)
class Piece:
    """Rows `first_row`, `first_row + 1`, ... of one row group of a file."""

    path: Path
    row_group: int
    first_row: int
    batch: pa.RecordBatch


def file_schema(path: Path) -> pa.Schema:
    """The Arrow schema of a Parquet file. Raises UnreadableFile."""
    with _open(path) as file:
        return file.schema_arrow


def count_rows(path: Path) -> int:
    """Rows of a Parquet file by its footer. Raises UnreadableFile."""
    with _open(path) as file:
        return file.metadata.num_rows


def read_pieces(path: Path, rows: int, columns: list[str] | None = None) -> Iterator[Piece]:
    """The rows of a file, at most `rows` at a time, only the top-level `columns` if given.

    Raises UnreadableFile, also in the middle of a file: page checksums are verified where the writer stored them.
    """
    with _open(path) as file:
        try:
            for row_group in range(file.num_row_groups):
                first = 0
                size = _batch_rows(file.metadata.row_group(row_group), rows)
                for batch in file.iter_batches(batch_size=size, row_groups=[row_group], columns=columns):
                    yield Piece(path, row_group, first, batch)
                    first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise UnreadableFile(path, _short(error), file.metadata.num_rows) from error


def _batch_rows(group: pq.RowGroupMetaData, rows: int) -> int:
    """At most `rows`, fewer where rows are so large that a batch of them would not fit in memory."""
    if group.num_rows == 0:
        return rows
    return max(1, min(rows, int(_BATCH_BYTES * group.num_rows / max(group.total_byte_size, 1))))


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFile(path, _short(error), None) from error


def _short(error: Exception) -> str:
    lines = str(error).splitlines()
    return (lines[0].rstrip(". ") if lines else type(error).__name__)[:200]
