"""A log laid out by shopper, so that what follows works on a bounded piece at a time.

A bucket holds everything about its shoppers (by hash of the user id): their behaviours, their searches, and what
happened in those searches. An anonymous search goes by the hash of its own id. A log that fits one bucket is read where
it lies; a larger one is written into buckets by DuckDB, which streams it from disk and spills what exceeds its memory
limit, so memory doesn't grow with the number of days.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from components.common.errors import BadInput
from components.features.history import ACTION_CODES
from components.features.settings import FeatureSettings
from components.features.windows import DAY_US
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
    """The laid-out log. Read one bucket at a time; times are int64 microseconds named `us`.

    `queries`: each table's rows as SQL over the log. `log_end_us`: time of the last search or behaviour, 0 without any.
    """

    folder: Path
    count: int
    log_end_us: int
    queries: dict[str, str]
    connection: duckdb.DuckDBPyConnection

    def behaviours(self, bucket: int) -> pa.Table:
        """user_id, us, product_id, action (int8 code): the shoppers' behaviours, in no order."""
        return self._read("behaviours", bucket, "user_id, us, product_id, action")

    def searches(self, bucket: int) -> pa.Table:
        """search_id, us, query, user_id, latitude, longitude, country: ordered by user, time, search id."""
        columns = "search_id, us, query, user_id, latitude, longitude, country"
        return self._read("searches", bucket, columns, "ORDER BY user_id NULLS LAST, us, search_id")

    def outcomes(self, bucket: int) -> pa.Table:
        """search_id, product_id, stage (int8), position (int32, null unknown), in no order.

        Each product of a search once, at its highest stage and first position.
        """
        columns = "search_id, product_id, max(stage) AS stage, min(position) AS position"
        return self._read("outcomes", bucket, columns, "GROUP BY search_id, product_id")

    def _read(self, table: str, bucket: int, columns: str, rest: str = "") -> pa.Table:
        return self.connection.sql(f"SELECT {columns} FROM {self._source(table, bucket)} {rest}").to_arrow_table()

    def _source(self, table: str, bucket: int) -> str:
        if self.count == 1:
            return f"({self.queries[table]})"
        pattern = self.folder / table / f"bucket={bucket}" / "*.parquet"
        if not pattern.parent.is_dir():
            return f"({self.queries[table]} LIMIT 0)"
        return f"read_parquet({literal(str(pattern))}, hive_partitioning=false)"


@contextlib.contextmanager
def work_directory(folder: Path, settings: FeatureSettings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that works in a new folder, which is removed afterwards."""
    folder.mkdir()
    connection = connect(folder, settings)
    try:
        yield connection
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
    count, log_end = _measure(connection, searches, events, settings)
    cases = " ".join(f"WHEN s.us < {before} THEN {end}" for before, end in ends)
    horizon = f"CASE {cases} ELSE {2**62} END" if cases else str(2**62)
    codes = " ".join(f"WHEN {literal(name)} THEN {code}" for name, code in _STAGES.items())
    stage = f"CAST(CASE e.action {codes} END AS TINYINT)"
    bucket = f"CAST(hash(coalesce(user_id, search_id)) % {count} AS INTEGER) AS bucket"
    kind = "TABLE" if count == 1 else "VIEW"
    connection.execute(
        f"CREATE TEMP {kind} placed AS SELECT search_id, epoch_us(timestamp) AS us, query, user_id, latitude, "
        f"longitude, country, {bucket} FROM {searches}"
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
    if count > 1:
        for table, query in queries.items():
            (folder / table).mkdir()
            connection.execute(
                f"COPY ({query}) TO {literal(str(folder / table))} "
                "(FORMAT parquet, PARTITION_BY (bucket), OVERWRITE_OR_IGNORE)"
            )
    return Buckets(folder, count, log_end, queries, connection)


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


def _measure(
    connection: duckdb.DuckDBPyConnection, searches: str, events: str, settings: FeatureSettings
) -> tuple[int, int]:
    """How many buckets, and the time of the last search or behaviour. Raises BadInput for an unknown action.

    So many buckets that each holds about `bucket_elements` list elements of histories, and no more events.
    """
    n_searches, shoppers, log_end = connection.execute(
        f"SELECT count(*), approx_count_distinct(user_id), coalesce(max(epoch_us(timestamp)), 0) FROM {searches}"
    ).fetchall()[0]
    n_events = behaviours = 0
    for action, rows, signed, last in connection.execute(
        f"SELECT action, count(*), count(user_id), coalesce(max(epoch_us(timestamp)), 0) FROM {events} GROUP BY action"
    ).fetchall():
        if action not in _STAGES:
            raise BadInput(
                f"table events, column action: {action!r} is not one of {', '.join(_STAGES)}; validate the log first."
            )
        n_events += rows
        if action in ACTION_CODES:
            behaviours += signed
            log_end = max(log_end, last)
    per_history = min(settings.history_length, behaviours / max(shoppers, 1)) + settings.recent_queries
    elements = max(n_searches * per_history, n_events)
    return max(1, -(-int(elements) // settings.bucket_elements)), log_end


def search_days(log: Log, connection: duckdb.DuckDBPyConnection) -> list[date]:
    """The days (UTC) on which the log has searches."""
    # Whole days since the epoch: a cast to a date would ask for the time zone of every row.
    rows = connection.execute(f"SELECT DISTINCT epoch_us(timestamp) // {DAY_US} FROM {table_sql(log, 'searches')}")
    return sorted(date(1970, 1, 1) + timedelta(days=day) for (day,) in rows.fetchall())
