"""Tiny logs in the contract, written from plain rows."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.common.files import write_json
from components.logs.contract import EVENTS, PRODUCTS, SEARCHES

DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z, the first microsecond of every test log."""
HAS = {"users": True, "times": True, "impressions": True, "locations": True, "judgements": False}


def search(number: int, us: int, query: str = "lamp", user_id: str | None = "ann", **more: Any) -> dict[str, Any]:
    return {"search_id": f"s{number}", "us": us, "query": query, "user_id": user_id, **more}


def event(us: int, product_id: str, action: str = "click", user_id: str | None = "ann", **more: Any) -> dict[str, Any]:
    return {"us": us, "product_id": product_id, "action": action, "user_id": user_id, **more}


def write_log(
    folder: Path,
    searches: list[dict[str, Any]],
    events: list[dict[str, Any]],
    products: list[dict[str, Any]] | None = None,
    judgements: pa.Table | None = None,
    split: str = "time",
    without: tuple[str, ...] = (),
) -> Path:
    """Writes a log; `without` names what it lacks (users, times, impressions, locations): those columns are absent."""
    dropped = {"users": ["user_id"], "locations": ["latitude", "longitude", "country"]}
    absent = [column for name in without for column in dropped.get(name, [])]
    _write_days(folder / "searches", searches, SEARCHES, absent)
    _write_days(folder / "events", events, EVENTS, absent)
    products = products or [
        {"product_id": product_id, "title": product_id} for product_id in sorted({row["product_id"] for row in events})
    ]
    (folder / "products").mkdir(parents=True)
    present = [field for field in PRODUCTS if any(field.name in row for row in products)]
    pq.write_table(pa.Table.from_pylist(products, schema=pa.schema(present)), folder / "products" / "part-0.parquet")
    if judgements is not None:
        pq.write_table(judgements, folder / "judgements.parquet")
    has = {name: there and name not in without for name, there in HAS.items()}
    has["judgements"] = judgements is not None
    write_json(
        folder / "log.json",
        {"source": "test", "simulated": True, "split": split, "has": has, "fingerprint": "test", "notes": []},
    )
    return folder


def _write_days(folder: Path, rows: list[dict[str, Any]], schema: pa.Schema, absent: list[str]) -> None:
    by_day: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row["us"])
        by_day[str(moment.date())].append({**row, "timestamp": moment})
    kept = pa.schema([field for field in schema if field.name not in absent])
    for day, of_day in by_day.items():
        (folder / f"dt={day}").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(of_day, schema=kept), folder / f"dt={day}" / "part-0.parquet")


def three_days(users: int = 4, searches_a_day: int = 6) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Searches and events over three days: every search shows three products and leads to a click, some to an order."""
    searches: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for number in range(3 * searches_a_day):
        us = START_US + number * (DAY_US // searches_a_day) + 1000
        user = f"u{number % users}"
        searches.append(search(number, us, f"query {number % 5}", user, latitude=1.5, longitude=2.5, country="DE"))
        for place in range(3):
            product = f"p{(number + place) % 7}"
            shared = {"user_id": user, "search_id": f"s{number}", "position": place + 1}
            events.append(event(us + 1 + place, product, "impression", **shared))
            if place == number % 3:
                events.append(event(us + 60_000_000, product, "click", **shared))
                if number % 4 == 0:
                    events.append(event(us + 90_000_000, product, "order", **shared))
        events.append(event(us + 120_000_000, f"p{number % 3}", "favourite", user))
    return searches, events
