"""Graded (query, product) pairs as a log: what relevance sets have instead of shoppers, times and impressions."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from components.logs.contract import JUDGEMENTS, TIMESTAMP
from components.logs.writer import LogWriter

CONSTANT_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The one time of a set without times: such a log is split by query."""


def write_graded(writer: LogWriter, pairs: pa.Table, positive_from: float, clicks: bool = True) -> None:
    """Writes searches, events and judgements of a graded set; products are the caller's.

    Every distinct query is one search at `CONSTANT_TIME`. A pair graded `positive_from` or better is a click of that
    search, a lower one no event: what nobody judged good may still be unseen, so it is no impression either.

    Args:
        pairs: columns query, product_id, grade and optionally locale. A pair graded twice counts once, with the mean.
        positive_from: the lowest grade that means relevant.
        clicks: False for a set that only evaluates.
    """
    keys = ["query", "product_id", *(["locale"] if "locale" in pairs.column_names else [])]
    pairs = pairs.group_by(keys, use_threads=False).aggregate([("grade", "mean")])
    pairs = pairs.rename_columns({"grade_mean": "grade"})
    day = CONSTANT_TIME.date().isoformat()
    queries = pc.unique(pairs["query"])
    ids = pa.array([search_id(query) for query in queries.to_pylist()])
    writer.write("searches", pa.table({"search_id": ids, "timestamp": _constant(len(queries)), "query": queries}), day)
    if clicks:
        good = pairs.filter(pc.greater_equal(pairs["grade"], positive_from))
        columns = {
            "timestamp": _constant(len(good)),
            "product_id": good["product_id"],
            "action": pa.array(["click"] * len(good), pa.string()),
            "search_id": ids.take(pc.index_in(good["query"], queries)),
        }
        writer.write("events", pa.table(columns), day)
    columns = {name: pairs[name].cast(JUDGEMENTS.field(name).type) for name in pairs.column_names}
    writer.write("judgements", pa.table(columns))
    writer.description["grades"] = {"positive_from": positive_from, "gain": "2^grade-1"}


def search_id(query: str) -> str:
    """The id of the one search of a query."""
    return hashlib.md5(query.encode(), usedforsecurity=False).hexdigest()[:16]


def _constant(rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(CONSTANT_TIME, TIMESTAMP), rows)
