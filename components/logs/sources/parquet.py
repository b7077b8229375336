"""A log that follows the contract already: products/, searches/ and events/ as Parquet, taken in as they are."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.common.errors import BadInput, NotFound
from components.common.files import read_json
from components.common.progress import track
from components.common.records import TaskRecord
from components.logs.contract import (
    OWN_DATA,
    PARTITIONED,
    REQUIRED,
    TABLES,
    missing_column,
    open_parquet,
    unknown_columns,
)
from components.logs.fitting import fit
from components.logs.settings import LogSettings
from components.logs.writer import LogWriter

_CARRIED = ("simulated", "grades")


def files(data: Path) -> list[Path]:
    """The log's Parquet files, without those of Spark's own (`_temporary`). Raises NotFound for a missing table."""
    if not data.is_dir():
        raise NotFound(
            f"{data} is not a folder; a log in the contract is a folder with products/, searches/ and events/."
        )
    found: list[Path] = []
    for table in ("products", *PARTITIONED):
        parts = [path for path in sorted((data / table).rglob("*.parquet")) if not _hidden(path.relative_to(data))]
        if not parts:
            raise NotFound(f"table {table} is missing: {_instead(data, table)}.")
        found += parts
    return found + [path for path in (data / "judgements.parquet", data / "log.json") if path.is_file()]


def _hidden(path: Path) -> bool:
    """True for what Spark, Hive and Arrow take for no data: a file or folder whose name begins with _ or a dot."""
    return any(part.startswith(("_", ".")) for part in path.parts)


def _instead(data: Path, table: str) -> str:
    """What lies where a table's Parquet files should, and what to do."""
    folder = data / table
    beside = next((path for path in sorted(data.glob(f"{table}*")) if path.is_file()), None)
    if beside is not None and not folder.exists():
        make = "move it" if beside.suffix == ".parquet" else "write it as Parquet"
        return f"{beside} lies where the folder {table}/ should be; {make} into that folder and run again"
    other = next(
        (path for path in sorted(folder.rglob("*")) if path.is_file() and not _hidden(path.relative_to(data))), None
    )
    if other is not None:
        return f"{folder} holds no Parquet file, but {other.name}; write it as Parquet (see {OWN_DATA}) and run again"
    return f"{folder} holds no Parquet file; write it there (see {OWN_DATA}) and run again"


def load(data: Path, writer: LogWriter, record: TaskRecord, options: LogSettings) -> None:
    """Takes a log over file by file, linked or copied as it is: judging rows is the validation's work.

    A file outside a `dt=` partition is read and written by day, so its rows need a timestamp. A `log.json` beside the
    tables hands on whether the log is simulated, what its grades mean and its notes.

    Raises:
        BadInput: no file of some table can be read by the contract; names table, column, row and value.
    """
    paths = [path for path in files(data) if path.suffix == ".parquet"]
    for table in TABLES:
        _check([path for path in paths if _table(data, path) == table], table)
    for path in track(paths, label="log", unit="files"):
        table = _table(data, path)
        partition = path.parent.name if table in PARTITIONED else ""
        if table in PARTITIONED and not partition.startswith("dt="):
            unread, naive = _by_day(path, table, writer)
            if naive:
                record.note(f"Table {table}: its timestamps carry no time zone and were read as UTC.")
            if unread:
                record.note(f"Table {table}: {path} has columns that nothing reads: {', '.join(unread)}.")
        else:
            writer.adopt(table, path, partition.removeprefix("dt="))
    if (data / "log.json").is_file():
        described = read_json(data / "log.json")
        writer.description |= {name: described[name] for name in _CARRIED if name in described}
        for sentence in described.get("notes", []):
            writer.note(sentence)
    if writer.constant_time():
        writer.description["split"] = "query"
        record.note("All timestamps are the same: the log is split by query instead of by time.")


def _table(data: Path, path: Path) -> str:
    return path.stem if path.parent == data else path.relative_to(data).parts[0]


def _check(paths: list[Path], table: str) -> None:
    """Raises the first file's fault when every file of a table has one; a few bad files are left to the validation."""
    fault: BadInput | None = None
    for path in paths:
        try:
            _read_start(path, table)
            return
        except BadInput as error:
            fault = fault or error
    if fault is not None:
        raise fault


def _read_start(path: Path, table: str) -> None:
    """Raises BadInput when a file lacks a required column, or the first rows of one do not fit the contract."""
    schema = TABLES[table]
    with open_parquet(path, table) as file:
        given = file.schema_arrow
        for name in REQUIRED[table]:
            if name not in given.names:
                raise BadInput(missing_column(table, name, path, given.names))
        common = [name for name in schema.names if name in given.names]
        foreign = [name for name in common if given.field(name).type != schema.field(name).type]
        for batch in itertools.islice(file.iter_batches(columns=foreign), 1 if foreign else 0):
            for name in foreign:
                rows = pa.table({name: batch.column(name)})
                fit(table, rows.filter(pc.is_valid(rows[name])), str(path))


def _by_day(path: Path, table: str, writer: LogWriter) -> tuple[list[str], bool]:
    """Writes a file's rows into their days; returns what nobody else will tell: unknown columns, times without zone."""
    with open_parquet(path, table) as file:
        for name in REQUIRED[table]:
            if name not in file.schema_arrow.names:
                raise BadInput(missing_column(table, name, path, file.schema_arrow.names))
        names = [name for name in TABLES[table].names if name in file.schema_arrow.names]
        done = 0
        for batch in file.iter_batches(columns=names):
            rows = fit(table, pa.Table.from_batches([batch]), str(path), done, nulls=True)
            if rows["timestamp"].null_count:
                row = done + pc.index(pc.is_null(rows["timestamp"]), True).as_py()
                raise BadInput(
                    f"Table {table} in {path}: column timestamp, row {row}: the value is null, and a row outside a "
                    "dt=YYYY-MM-DD folder belongs to the day of its timestamp; take the row out."
                )
            done += len(rows)
            days = pc.strftime(rows["timestamp"], format="%Y-%m-%d")
            for day in pc.unique(days).to_pylist():
                writer.write(table, rows.filter(pc.equal(days, day)), day, nulls=True)
        kind = file.schema_arrow.field("timestamp").type
        naive = pa.types.is_timestamp(kind) and kind.tz is None
        return unknown_columns(table, file.schema_arrow.names), naive
