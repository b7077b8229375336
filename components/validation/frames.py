"""What the expectation suites look at: good rows of each table as pandas frames, and one row a day of figures."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from components.logs.contract import ACTIONS, PARTITIONED, Log
from components.validation.baseline import good_days
from components.validation.night import Night


def frames(night: Night, checked: Log) -> dict[str, Any]:
    """Frames products, searches, events (at most `expectation_rows` good rows, the newest days first) and days."""
    limit = night.rules.settings.expectation_rows
    products = _first(checked.batches("products", rows=limit), limit) if checked.files("products") else pa.table({})
    result = {"products": _plain(products)}
    for table in ("searches", "events"):
        days = list(reversed(good_days(night.outcomes, table)))
        batches = (batch for day in days for batch in checked.batches(table, [day], rows=limit))
        result[table] = _plain(_first(batches, limit))
    result["days"] = _plain(pa.Table.from_pylist(day_figures(night)))
    return result


def day_figures(night: Night) -> list[dict[str, Any]]:
    """One row a day: searches, events by action, shoppers, shares that tell of its health."""
    rows: dict[str, dict[str, Any]] = {}
    for table in PARTITIONED:
        for day in good_days(night.outcomes, table):
            empty = {"day": day, "searches": 0, "events": 0, **dict.fromkeys(ACTIONS, 0)}
            rows.setdefault(day, empty).update(night.outcomes[f"{table}/dt={day}"].figures)
    for row in rows.values():
        # Nothing is shown on a day before the first search; it is no day on which everything was left unclicked.
        row["impression"] = row["impression"] if row["impression"] or row["searches"] else None
    return [rows[day] for day in sorted(rows)]


def _first(batches: Iterable[pa.RecordBatch], limit: int) -> pa.Table:
    kept: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        kept.append(batch.slice(0, limit - rows))
        rows += kept[-1].num_rows
        if rows >= limit:
            break
    return pa.Table.from_batches(kept) if kept else pa.table({})


def _plain(table: pa.Table) -> Any:
    nested = [item.name for item in table.schema if pa.types.is_nested(item.type)]
    return table.drop_columns(nested).to_pandas()
