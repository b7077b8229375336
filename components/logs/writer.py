"""Writes a log in the contract: partitions as they come, then `log.json` last, so that a half-written log is no log."""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.common.files import tree_fingerprint, write_json
from components.logs.contract import PARTITIONED, TIMESTAMP
from components.logs.fitting import fit

_ROW_GROUP = 131_072
_NOTICED = ("timestamp", "user_id", "latitude", "action")


class LogWriter:
    """Collects the tables of one log. Use as a context manager; `close` (on success) writes the description.

    Args:
        path: the folder to write; must not hold a log yet.
        source: the source's name. simulated: True when no real shopper made the log.
        split: "time", or "query" for a set without usable times.
    """

    def __init__(self, path: Path, source: str, simulated: bool, split: str) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.description: dict[str, Any] = {"source": source, "simulated": simulated, "split": split, "notes": []}
        self._parts: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        self._has: Counter[str] = Counter()
        self._window: list[Any] = []

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def note(self, sentence: str) -> None:
        """A plain sentence about this log: what it lacks, what was mapped to what."""
        self.description["notes"].append(sentence)

    def write(self, table: str, rows: pa.Table | pa.RecordBatch, day: str | None = None, nulls: bool = False) -> None:
        """Adds rows to a table; `day` (YYYY-MM-DD) names the partition of searches and events.

        Columns are put in contract order, absent optional ones stay absent. Raises BadInput for an unknown column, a
        value that does not fit its column's type and, without `nulls`, a null in a required column.
        """
        rows = pa.table(rows) if isinstance(rows, pa.RecordBatch) else rows
        rows = fit(table, rows, nulls=nulls)
        folder = self._folder(table, day)
        target = folder / "judgements.parquet"
        if table != "judgements":
            target = _unused(folder / f"part-{self._parts[str(folder)]:05d}.parquet")
        self._parts[str(folder)] += 1
        pq.write_table(rows, target, compression="zstd", row_group_size=_ROW_GROUP, coerce_timestamps="us")
        self._rows[table] += rows.num_rows
        self._notice(table, rows)

    def adopt(self, table: str, path: Path, day: str = "") -> None:
        """Links (or copies) a Parquet file that is in the contract's form already, without reading all of it.

        A torn file, a missing column or a wrong type is adopted too: the validation judges it and names it.
        """
        folder = self._folder(table, day)
        target = _unused(folder / path.name)
        self._parts[str(folder)] += 1
        try:
            os.link(path, target)
        except OSError:
            shutil.copy2(path, target)
        try:
            with pq.ParquetFile(path) as file:
                self._rows[table] += file.metadata.num_rows
                wanted = [name for name in _NOTICED if name in file.schema_arrow.names]
                for batch in file.iter_batches(columns=wanted) if wanted else ():
                    self._notice(table, pa.Table.from_batches([batch]))
        except (pa.ArrowException, OSError):
            self.note(f"{table}/{target.name} is not readable Parquet; the validation decides what follows.")

    def constant_time(self) -> bool:
        """True when every timestamp noticed so far is the same: a set without times."""
        return bool(self._window) and min(self._window) == max(self._window)

    def close(self) -> dict[str, Any]:
        """Writes `log.json` and returns it."""
        body = {
            **self.description,
            "has": {name: bool(self._has[name]) for name in ("users", "impressions", "locations", "judgements")},
            "window": [moment.isoformat() for moment in (min(self._window), max(self._window))] if self._window else [],
            "counts": dict(self._rows),
        }
        body["has"]["times"] = bool(self._window) and not self.constant_time()
        body["fingerprint"] = tree_fingerprint(self.path)
        write_json(self.path / "log.json", body)
        self.description = body
        return body

    def _folder(self, table: str, day: str | None) -> Path:
        """The folder of a table's files, made where it is not there; that of one day for searches and events."""
        folder = self.path
        if table in PARTITIONED:
            folder = self.path / table / f"dt={day}"
        elif table == "products":
            folder = self.path / table
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _notice(self, table: str, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        names = rows.column_names
        if table == "judgements":
            self._has["judgements"] += 1
        if table in PARTITIONED and "timestamp" in names and pa.types.is_timestamp(rows.schema.field("timestamp").type):
            span = pc.min_max(rows["timestamp"].cast(TIMESTAMP, safe=False))
            found = [bound for bound in (span["min"].as_py(), span["max"].as_py()) if bound is not None]
            self._window = [min(self._window + found), max(self._window + found)] if found else self._window
        if table in PARTITIONED and "user_id" in names and rows["user_id"].null_count < rows.num_rows:
            self._has["users"] += 1
        if table == "searches" and "latitude" in names and rows["latitude"].null_count < rows.num_rows:
            self._has["locations"] += 1
        if table == "events" and "action" in names and pc.any(pc.equal(rows["action"], "impression")).as_py():
            self._has["impressions"] += 1


def _unused(path: Path) -> Path:
    """The path, numbered where a file has it: an adopted file is the shop's own, and must not be written to."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(1))
    return next(name for name in itertools.chain([path], numbered) if not name.exists())
