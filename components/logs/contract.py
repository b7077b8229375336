"""The data contract: three tables of Parquet, their columns, and the reader every other room uses.

A log is a folder::

    log.json                                 what the log is: source, simulated or real, what it has, window, counts
    products/part-*.parquet                  one row a product
    searches/dt=YYYY-MM-DD/part-*.parquet    one row a search
    events/dt=YYYY-MM-DD/part-*.parquet      one row an impression, click, cart, favourite or order
    judgements.parquet                       optional: graded (query, product) pairs, for evaluation

Timestamps are UTC in microseconds, ids are strings, prices are in the shop's currency.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.common.errors import BadInput, NotFound
from components.common.files import read_json

ACTIONS: tuple[str, ...] = ("impression", "click", "favourite", "cart", "order")
"""Every action an event may carry, from the weakest to the strongest sign of interest."""

TIMESTAMP = pa.timestamp("us", tz="UTC")

OWN_DATA = "docs/how-to/own-data.md"
"""The page that brings a shop's tables into this contract; errors of those who have not yet name it."""

PRODUCTS = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("description", pa.string()),
        pa.field("brand", pa.string()),
        pa.field("category", pa.string()),  # a path, "A > B > C"
        pa.field("shop_id", pa.string()),
        pa.field("price", pa.float64()),
        pa.field("attributes", pa.map_(pa.string(), pa.string())),
        pa.field("rating", pa.float64()),
        pa.field("review_count", pa.int64()),
        pa.field("sales", pa.int64()),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("country", pa.string()),
        pa.field("in_stock", pa.bool_()),
        pa.field("updated_at", TIMESTAMP),
    ]
)

SEARCHES = pa.schema(
    [
        pa.field("search_id", pa.string(), nullable=False),
        pa.field("timestamp", TIMESTAMP, nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("user_id", pa.string()),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("country", pa.string()),
    ]
)

EVENTS = pa.schema(
    [
        pa.field("timestamp", TIMESTAMP, nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("search_id", pa.string()),
        pa.field("user_id", pa.string()),
        pa.field("position", pa.int32()),  # counted from 1; null outside search
    ]
)

JUDGEMENTS = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("grade", pa.float32(), nullable=False),
        pa.field("locale", pa.string()),
    ]
)

TABLES: dict[str, pa.Schema] = {"products": PRODUCTS, "searches": SEARCHES, "events": EVENTS, "judgements": JUDGEMENTS}
PARTITIONED: tuple[str, ...] = ("searches", "events")
_ADDED_BY_WRITERS = ("dt", "__index_level_0__")
REQUIRED: dict[str, tuple[str, ...]] = {
    name: tuple(field.name for field in schema if not field.nullable) for name, schema in TABLES.items()
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    name: tuple(field.name for field in schema if field.nullable) for name, schema in TABLES.items()
}


class Log:
    """A log folder in the contract, opened for reading.

    Args:
        path: the folder that holds ``log.json``.

    Raises:
        NotFound: there is no such folder, or it holds no ``log.json``.
        BadInput: a file can't be read or lacks a required column (raised when it is read).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / "log.json").is_file():
            raise NotFound(f"There is no log at {self.path}: the file log.json is missing; load a source there first.")
        self.description: dict[str, Any] = read_json(self.path / "log.json")

    @property
    def has(self) -> dict[str, bool]:
        """What the log has beyond query, product and click: users, times, impressions, locations, judgements."""
        return dict(self.description["has"])

    @property
    def split(self) -> str:
        """``"time"`` or ``"query"``: how this log is divided into training and test."""
        return str(self.description["split"])

    @property
    def simulated(self) -> bool:
        """True when no real shopper made this log."""
        return bool(self.description["simulated"])

    def days(self, table: str) -> list[str]:
        """The partitions ``YYYY-MM-DD`` of ``searches`` or ``events``, in order."""
        return sorted(folder.name[3:] for folder in (self.path / table).glob("dt=*") if folder.is_dir())

    def files(self, table: str, days: Sequence[str] | None = None) -> list[Path]:
        """The Parquet files of a table, in reading order; ``days`` keeps only those partitions."""
        if table == "judgements":
            return [file for file in [self.path / "judgements.parquet"] if file.is_file()]
        if table not in PARTITIONED:
            return sorted((self.path / table).glob("*.parquet"))
        wanted = self.days(table) if days is None else sorted(days)
        return [file for day in wanted for file in sorted((self.path / table / f"dt={day}").glob("*.parquet"))]

    def products(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Every product, contract columns in contract order (those the log lacks are null)."""
        return self.read("products", columns=columns)

    def judgements(self) -> pa.Table | None:
        """The graded (query, product) pairs, or None where the log has none."""
        return self.read("judgements") if self.files("judgements") else None

    def read(self, table: str, days: Sequence[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a table in memory; missing optional columns come as nulls, ``dt`` is not a column."""
        schema = pa.schema([field.with_nullable(True) for field in _subset(TABLES[table], columns)])
        return pa.Table.from_batches(self.batches(table, days, columns), schema=schema)

    def batches(
        self,
        table: str,
        days: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        rows: int = 131_072,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a table as record batches of at most ``rows`` rows, in bounded memory."""
        schema = _subset(TABLES[table], columns)
        for path in self.files(table, days):
            with open_parquet(path, table) as file:
                present = [name for name in schema.names if name in file.schema_arrow.names]
                for name in schema.names:
                    if name in REQUIRED[table] and name not in present:
                        raise BadInput(missing_column(table, name, path, file.schema_arrow.names))
                for batch in file.iter_batches(batch_size=rows, columns=present):
                    yield _complete(batch, schema, table, path)


def open_parquet(path: Path, table: str) -> pq.ParquetFile:
    """Opens one Parquet file; a torn or foreign file is a `BadInput` that names table and file."""
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise BadInput(
            f"Table {table}: the file {path} is not readable Parquet ({reason}); write the file again or remove it."
        ) from error


def missing_column(table: str, column: str, path: Path, present: Sequence[str]) -> str:
    """The sentence for a required column that a file lacks."""
    return (
        f"Table {table}: the required column {column} is missing in {path} "
        f"(its columns are {', '.join(present)}); add it or rename the column that holds it."
    )


def unknown_columns(table: str, present: Sequence[str]) -> list[str]:
    """Columns of a file that nothing reads: the contract does not know them, and neither pandas nor Hive adds them."""
    known = (*TABLES[table].names, *_ADDED_BY_WRITERS)
    return [name for name in present if name not in known]


def _subset(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    return schema if columns is None else pa.schema([schema.field(name) for name in columns])


def _complete(batch: pa.RecordBatch, schema: pa.Schema, table: str, path: Path) -> pa.RecordBatch:
    arrays = []
    for field in schema:
        if field.name not in batch.schema.names:
            arrays.append(pa.nulls(batch.num_rows, field.type))
            continue
        array = batch.column(field.name)
        if array.type != field.type:
            try:
                # Nanoseconds lose digits that the contract has no room for; everything else must convert without loss.
                array = array.cast(field.type, safe=field.type != TIMESTAMP)
            except pa.ArrowException as error:
                raise BadInput(
                    f"Table {table}: column {field.name} in {path} has the type {array.type}, "
                    f"which can't be read as {field.type} ({str(error).splitlines()[0]}); write it in that type."
                ) from error
        arrays.append(array)
    # Nullability is the validation's business: a null id must reach the quarantine instead of ending the read.
    return pa.RecordBatch.from_arrays(arrays, names=schema.names)
