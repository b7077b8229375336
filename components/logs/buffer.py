"""Rows collected one by one and written as Parquet parts, in bounded memory: for sources that stream text."""

from __future__ import annotations

from collections import defaultdict
from types import TracebackType
from typing import Any

import pyarrow as pa

from components.logs.contract import PARTITIONED, REQUIRED, TABLES
from components.logs.writer import LogWriter


class RowBuffer:
    """Collects rows (dicts) of all tables; when `limit` rows are held, the fullest partitions go to a `LogWriter`.

    Rows of searches and events go to the partition of their timestamp. Use as a context manager: the rest is written
    when the block ends without an error.
    """

    def __init__(self, writer: LogWriter, limit: int = 300_000) -> None:
        self._writer, self._limit = writer, limit
        self._held = 0
        self._rows: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        self._columns: defaultdict[str, set[str]] = defaultdict(set)

    def __enter__(self) -> RowBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()

    def add(self, table: str, row: dict[str, Any]) -> None:
        """Adds one row of a table."""
        day = row["timestamp"].date().isoformat() if table in PARTITIONED else ""
        self._rows[table, day].append(row)
        self._columns[table].update(name for name, value in row.items() if value is not None)
        self._held += 1
        if self._held >= self._limit:
            # The fullest first: a log of many days would otherwise end in thousands of tiny files.
            for key in sorted(self._rows, key=lambda key: -len(self._rows[key])):
                self._write(*key)
                if self._held <= self._limit // 2:
                    break

    def flush(self) -> None:
        """Writes everything held."""
        for key in sorted(self._rows):
            self._write(*key)

    def _write(self, table: str, day: str) -> None:
        rows = self._rows.pop((table, day))
        self._held -= len(rows)
        if table in PARTITIONED:
            rows.sort(key=lambda row: row["timestamp"])
        wanted = self._columns[table] | set(REQUIRED[table])
        schema = pa.schema([field for field in TABLES[table] if field.name in wanted])
        columns = {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in schema}
        self._writer.write(table, pa.table(columns), day or None)
