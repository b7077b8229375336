"""What the expectation suites look at: good rows of each table as pandas frames, and one row a day of figures."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from components.logs.contract import ACTIONS, Log
from components.validation.baseline import good_days, read_summary
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
    searches, events = (set(good_days(night.outcomes, table)) for table in ("searches", "events"))
    rows = []
    for day in sorted(searches | events):
        row: dict[str, Any] = {"day": day, "searches": 0, "events": 0, **dict.fromkeys(ACTIONS, 0)}
        if day in searches:
            summary = read_summary(night.statistics, f"searches/dt={day}")
            row["searches"] = summary.rows
            row["queries"] = summary.distinct["query"].count()
            row["median_query_words"] = float(summary.quantiles["query_length"].quantile(0.5))
        if day in events:
            summary = read_summary(night.statistics, f"events/dt={day}")
            counts = summary.figures["hours"].sum(axis=1).tolist()
            row.update(events=summary.rows, **dict(zip(ACTIONS, counts, strict=True)))
            # Nothing is shown on a day before the first search; it is no day on which everything was left unclicked.
            row["impression"] = counts[0] if counts[0] or day in searches else None
            row["shoppers"] = summary.distinct["user_id"].count()
            row["clicks_per_impression"] = counts[1] / counts[0] if counts[0] else None
            row["anonymous_share"] = summary.nulls["user_id"] / summary.rows
            top = next(iter(summary.heavy["user_id"].counts(1).values()), 0.0)
            row["top_shopper_share"] = top / summary.rows
        rows.append(row)
    return rows


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
