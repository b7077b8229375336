"""What goes from the log into the examples without being computed: the split's choice, products, judgements."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.common.errors import BadInput
from components.features.buckets import search_days
from components.features.schema import SPLITS, TIMESTAMP
from components.features.splits import MINIMUM_DAYS, QuerySplit, Split, TimeSplit, query_split
from components.logs.contract import Log


def choose_split(log: Log, left_out: list[str], connection: duckdb.DuckDBPyConnection) -> Split:
    """The split a log asks for; by query when it has too few days for one by time, which `left_out` then says."""
    if log.split == "query" or not log.has["times"]:
        return QuerySplit()
    split = TimeSplit.of_days(search_days(log, connection))
    if split is not None:
        return split
    left_out.append(
        f"The log has searches on fewer than {MINIMUM_DAYS} days, too few to hold out a day for validation and one for "
        "the test: the examples are split by query instead of by time."
    )
    return QuerySplit()


def write_products(log: Log, out: Path) -> int:
    """Writes products.parquet: contract columns, and `created_at` where the log has it; returns the number of rows.

    A repeated product keeps its last row. Raises BadInput when there are none.
    """
    batches = list(log.batches("products"))
    if not batches:
        raise BadInput(f"the log {log.path} has no products; load a source with a products table.")
    table = pa.Table.from_batches(batches)
    files = log.files("products")
    if files and all("created_at" in pq.read_schema(path).names for path in files):
        created = pa.concat_tables([pq.read_table(path, columns=["created_at"]) for path in files])
        table = table.append_column("created_at", created["created_at"].cast(TIMESTAMP))
    if pc.count_distinct(table["product_id"]).as_py() < table.num_rows:
        last = {product_id: row for row, product_id in enumerate(table["product_id"].to_pylist())}
        table = table.take(pa.array(sorted(last.values())))
    pq.write_table(table, out / "products.parquet", row_group_size=8192, compression="zstd", coerce_timestamps="us")
    return table.num_rows


def write_judgements(log: Log, split: Split, out: Path) -> None:
    """Writes judgements.parquet when the log has graded pairs; with the `split` of each query when split by query."""
    batches = list(log.batches("judgements"))
    if not batches:
        return
    table = pa.Table.from_batches(batches)
    if isinstance(split, QuerySplit):
        queries = table["query"].to_pylist()
        known = {query: SPLITS[query_split(query)] for query in set(queries)}
        table = table.append_column("split", pa.array([known[query] for query in queries], pa.string()))
    pq.write_table(table, out / "judgements.parquet", compression="zstd")
