"""A log laid out by shopper: one pass over each table, so that what follows works on a bounded piece at a time.

A bucket holds everything about its shoppers (by hash of the user id): their behaviours, their searches, and what
happened in those searches. An anonymous search goes by the hash of its own id. DuckDB streams the log from disk and
spills what exceeds its memory limit, so memory doesn't grow with the number of days.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from components.common.errors import BadInput
from components.features.history import ACTION_CODES
from components.features.settings import FeatureSettings
from components.logs.contract import EVENTS, REQUIRED, SEARCHES, Log, missing_column, open_parquet

_SQL_TYPES = {pa.string(): "VARCHAR", pa.float64(): "DOUBLE", pa.int32(): "INTEGER"}
_STAGES = {"impression": 0, **ACTION_CODES}


def connect(work: Path, settings: FeatureSettings) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection that spills to `work` beyond the memory limit."""
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit='{settings.memory_limit_mb}MB'")
    connection.execute(f"SET temp_directory={literal(str(work / 'spill'))}")
    connection.execute("SET preserve_insertion_order=false")
    connection.execute("SET TimeZone='UTC'")
    return connection


def literal(text: str) -> str:
    """A string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Buckets:
    """The laid-out log. Read one bucket at a time; times are int64 microseconds named `us`."""

    folder: Path
    count: int
    connection: duckdb.DuckDBPyConnection

    def behaviours(self, bucket: int) -> pa.Table:
        """user_id, us, product_id, action (int8 code): the shoppers' behaviours, in no order."""
        return self._read("behaviours", bucket, "user_id, us, product_id, action")

    def searches(self, bucket: int) -> pa.Table:
        """search_id, us, query, user_id, latitude, longitude, country: ordered by user, time, search id."""
        columns = "search_id, us, query, user_id, latitude, longitude, country"
        return self._read("searches", bucket, columns, "ORDER BY user_id NULLS LAST, us, search_id")

    def outcomes(self, bucket: int) -> pa.Table:
        """search_id, product_ids, stages (int8), positions (int32, -1 unknown): one row a search that led to anything.

        Each product once, at its highest stage and first position; ordered by position, then product id. A search
        after which nothing was clicked, favourited, carted or ordered has no row.
        """
        grouped = (
            f"SELECT search_id, product_id, max(stage) AS stage, min(position) AS position "
            f"FROM {self._source('outcomes', bucket)} GROUP BY search_id, product_id"
        )
        by = "ORDER BY position NULLS LAST, product_id"
        return self.connection.sql(
            f"SELECT search_id, list(product_id {by}) AS product_ids, list(stage {by}) AS stages, "
            f"list(coalesce(position, -1)::INTEGER {by}) AS positions FROM ({grouped}) "
            f"GROUP BY search_id HAVING max(stage) > 0 ORDER BY search_id"
        ).to_arrow_table()

    def _read(self, table: str, bucket: int, columns: str, order: str = "") -> pa.Table:
        return self.connection.sql(f"SELECT {columns} FROM {self._source(table, bucket)} {order}").to_arrow_table()

    def _source(self, table: str, bucket: int) -> str:
        if not (self.folder / table / f"bucket={bucket}").is_dir():
            return f"(SELECT * FROM read_parquet({literal(str(self.folder / table / 'none.parquet'))}))"
        pattern = self.folder / table / f"bucket={bucket}" / "*.parquet"
        return f"read_parquet({literal(str(pattern))}, hive_partitioning=false)"


@contextlib.contextmanager
def work_directory(
    folder: Path, ends: tuple[tuple[int, int], ...], log: Log, settings: FeatureSettings
) -> Iterator[Buckets]:
    """The log laid out in a new folder, which is removed afterwards; see `lay_out`."""
    folder.mkdir()
    connection = connect(folder, settings)
    try:
        yield lay_out(log, folder, ends, settings, connection)
    finally:
        connection.close()
        shutil.rmtree(folder)


def lay_out(
    log: Log,
    folder: Path,
    ends: tuple[tuple[int, int], ...],
    settings: FeatureSettings,
    connection: duckdb.DuckDBPyConnection,
) -> Buckets:
    """Writes the log's searches and events into buckets below `folder`.

    Args:
        ends: (search before this moment, its outcomes count up to this moment), ascending, in microseconds: what a
            training search led to once the validation period has begun is no training outcome.
    """
    searches, events = table_sql(log, "searches"), table_sql(log, "events")
    _check_actions(connection, events)
    count = _bucket_count(connection, searches, events, settings)
    cases = " ".join(f"WHEN s.us < {before} THEN {end}" for before, end in ends)
    horizon = f"CASE {cases} ELSE {2**62} END" if cases else str(2**62)
    codes = " ".join(f"WHEN {literal(name)} THEN {code}" for name, code in _STAGES.items())
    stage = f"CAST(CASE e.action {codes} END AS TINYINT)"
    bucket = f"CAST(hash(coalesce(user_id, search_id)) % {count} AS INTEGER) AS bucket"
    connection.execute(
        f"CREATE TEMP VIEW placed AS SELECT search_id, epoch_us(timestamp) AS us, query, user_id, latitude, longitude, "
        f"country, {bucket} FROM {searches}"
    )
    shopper = "coalesce(e.user_id, s.user_id)"
    queries = {
        "searches": "SELECT * FROM placed",
        # An event without a user belongs to whoever made the search it answers. It happened after that search whatever
        # its clock says: shoppers' devices and servers disagree, and an answer must not stand in its own history.
        "behaviours": f"SELECT {shopper} AS user_id, greatest(epoch_us(e.timestamp), s.us + 1) AS us, e.product_id, "
        f"{stage} AS action, CAST(hash({shopper}) % {count} AS INTEGER) AS bucket "
        f"FROM {events} e LEFT JOIN placed s USING (search_id) "
        f"WHERE e.action <> 'impression' AND {shopper} IS NOT NULL",
        "outcomes": f"SELECT e.search_id, e.product_id, {stage} AS stage, e.position, s.bucket FROM {events} e "
        f"JOIN placed s USING (search_id) WHERE epoch_us(e.timestamp) < {horizon}",
    }
    for table, query in queries.items():
        (folder / table).mkdir(parents=True)
        connection.execute(
            f"COPY ({query}) TO {literal(str(folder / table))} "
            "(FORMAT parquet, PARTITION_BY (bucket), OVERWRITE_OR_IGNORE)"
        )
        none = folder / table / "none.parquet"
        connection.execute(f"COPY (SELECT * EXCLUDE (bucket) FROM ({query}) LIMIT 0) TO {literal(str(none))}")
    return Buckets(folder, count, connection)


def table_sql(log: Log, table: str) -> str:
    """A subquery with the contract's columns of a log table; optional columns the log lacks are null.

    Raises BadInput when a file is unreadable or a required column is missing.
    """
    schema = {"searches": SEARCHES, "events": EVENTS}[table]
    files = log.files(table)
    if not files:
        columns = ", ".join(f"NULL::{_sql_type(field)} AS {field.name}" for field in schema)
        return f"(SELECT {columns} WHERE false)"
    present: set[str] = set()
    for path in files:
        names = _columns_of(path, table)
        for name in REQUIRED[table]:
            if name not in names:
                raise BadInput(missing_column(table, name, path, names))
        present.update(names)
    columns = ", ".join(
        f"CAST({field.name if field.name in present else 'NULL'} AS {_sql_type(field)}) AS {field.name}"
        for field in schema
    )
    listed = ", ".join(literal(str(path)) for path in files)
    return f"(SELECT {columns} FROM read_parquet([{listed}], union_by_name=true, hive_partitioning=false))"


def _columns_of(path: Path, table: str) -> list[str]:
    with open_parquet(path, table) as file:
        return file.schema_arrow.names


def _sql_type(field: pa.Field) -> str:
    return _SQL_TYPES.get(field.type, "TIMESTAMPTZ")


def _check_actions(connection: duckdb.DuckDBPyConnection, events: str) -> None:
    for (action,) in connection.execute(f"SELECT DISTINCT action FROM {events}").fetchall():
        if action not in _STAGES:
            raise BadInput(
                f"table events, column action: {action!r} is not one of {', '.join(_STAGES)}; validate the log first."
            )


def _bucket_count(connection: duckdb.DuckDBPyConnection, searches: str, events: str, settings: FeatureSettings) -> int:
    """So many buckets that each holds about `bucket_elements` list elements of histories, and no more events."""
    n_searches, shoppers = connection.execute(
        f"SELECT count(*), approx_count_distinct(user_id) FROM {searches}"
    ).fetchall()[0]
    n_events, behaviours = connection.execute(
        f"SELECT count(*), count(*) FILTER (action <> 'impression' AND user_id IS NOT NULL) FROM {events}"
    ).fetchall()[0]
    per_history = min(settings.history_length, behaviours / max(shoppers, 1)) + settings.recent_queries
    elements = max(n_searches * per_history, n_events)
    return max(1, -(-int(elements) // settings.bucket_elements))


def search_days(log: Log) -> list[date]:
    """The days (UTC) on which the log has searches."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    try:
        rows = connection.execute(f"SELECT DISTINCT CAST(timestamp AS DATE) FROM {table_sql(log, 'searches')}")
        return sorted(day for (day,) in rows.fetchall())
    finally:
        connection.close()


def log_end(buckets: Buckets) -> int:
    """Time of the last search or behaviour in the log, 0 when there is none; int64 microseconds."""
    ends = []
    for table in ("searches", "behaviours"):
        files = f"read_parquet({literal(str(buckets.folder / table / '**' / '*.parquet'))}, hive_partitioning=false)"
        ends += buckets.connection.execute(f"SELECT max(us) FROM {files}").fetchall()
    return max((end for (end,) in ends if end is not None), default=0)
