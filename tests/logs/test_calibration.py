"""The calibration: facts measured as defined, and the default marketplace near those that its size allows."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from components.logs.contract import Log
from components.logs.marketplace.calibration import Fact, calibration, odds_ratio, table
from components.logs.writer import LogWriter

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_odds_ratio():
    assert odds_ratio(0.5, 0.2) == pytest.approx(4.0)


def test_facts_are_measured_as_they_are_defined(tmp_path):
    products = [f"p{number}" for number in range(8)]
    events = [
        # The day before: p0 clicked outside search, p1 clicked in one.
        (NOON - timedelta(days=1), "p0", "click", None),
        (NOON - timedelta(days=1, hours=-1), "p1", "impression", "s0"),
        (NOON - timedelta(days=1, hours=-1), "p1", "click", "s0"),
        # Today: p0 and p1 shown again, only p0 clicked and ordered; of the others p2 and p3 clicked.
        *[(NOON, product, "impression", "s1") for product in products],
        *[(NOON, product, "click", "s1") for product in ("p0", "p2", "p3")],
        (NOON, "p0", "order", "s1"),
    ]
    with LogWriter(tmp_path / "log", "test", simulated=True, split="time") as writer:
        writer.write(
            "products",
            pa.table(
                {
                    "product_id": products,
                    "title": products,
                    "brand": ["x", "x", "x", "y", "y", "y", "y", "y"],
                    "shop_id": ["1", "1", "2", "2", "1", "2", "2", "2"],
                }
            ),
        )
        for name, moment in (("s0", NOON - timedelta(days=1)), ("s1", NOON)):
            asked = {"search_id": [name], "timestamp": [moment], "query": ["q"], "user_id": ["u"]}
            writer.write("searches", pa.table(asked), moment.date().isoformat())
        for day in (NOON - timedelta(days=1), NOON):
            rows = [event for event in events if event[0].date() == day.date()]
            names = ("timestamp", "product_id", "action", "search_id")
            columns = dict(zip(names, zip(*rows, strict=True), strict=True))
            writer.write("events", pa.table({**columns, "user_id": ["u"] * len(rows)}), day.date().isoformat())
    facts = [fact.produced for fact in calibration(Log(tmp_path / "log"))]
    assert facts[:3] == [2, 0.5, 1.0]
    assert facts[3] == 2 / 8
    assert facts[4] == pytest.approx(odds_ratio(1 / 2, 2 / 6))
    assert facts[5] == pytest.approx(odds_ratio(1 / 3, 2 / 5))
    assert facts[6] == pytest.approx(odds_ratio(2 / 3, 1 / 5))
    assert facts[7] == 0.0


def test_the_default_marketplace_is_near_the_facts(market):
    found = {fact.name: fact.produced / fact.target for fact in calibration(market.log)}
    for name in ("before a search", "without a query", "end in an order", "within ten minutes"):
        (ratio,) = [ratio for fact, ratio in found.items() if name in fact]
        assert 0.8 < ratio < 1.25, name
    for name in ("re-finds against others", "shop used before", "brand used before"):
        (ratio,) = [ratio for fact, ratio in found.items() if name in fact]
        # A catalogue of thousands is met twice by chance far more often than one of millions.
        assert 0.3 < ratio < 2.0, name


def test_the_table_is_labelled_simulated_and_has_a_row_a_fact():
    lines = table([Fact("a", 1, 2), Fact("b", 0.5, 0.25)], "Market").splitlines()
    assert lines[0] == "Market (simulated)"
    assert lines[-2:] == ["| a | 1 | 2 |", "| b | 0.5 | 0.25 |"]
