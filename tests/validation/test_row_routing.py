"""Where rows go: the split files, their origin, links, and quarantine + good = input for any mixture of damage."""

import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.logs.contract import EVENTS, PRODUCTS, SEARCHES, Log
from tests.validation.shop import Result, copy, edit, file_of, validate, write_shop
from tests.validation.test_corruptions import assert_nothing_is_lost

BAD_VALUES = {
    "products": {
        "product_id": [None, "", "p00001"],
        "title": [None, "", "<b>x</b>", "a\x01"],
        "price": [-1.0, 0.0, None],
    },
    "searches": {
        "search_id": [None, "q000-00001"],
        "timestamp": [None, 0, 4_102_444_800_000_000],
        "query": [None, " "],
    },
    "events": {
        "product_id": [None, "p99999", "p00001"],
        "action": [None, "buy", "order"],
        "search_id": [None, "nowhere"],
        "timestamp": [None, 1_700_000_000],
        "position": [None, 0, -4, 7],
    },
}
TABLES = tuple(BAD_VALUES)


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, int, str, int, object]]:
    """(table, day, column, row, value): cells to overwrite."""
    found = []
    for _ in range(draw(st.integers(0, 12))):
        table = draw(st.sampled_from(TABLES))
        column = draw(st.sampled_from(sorted(BAD_VALUES[table])))
        value = draw(st.sampled_from(BAD_VALUES[table][column]))
        found.append((table, draw(st.integers(0, 1)), column, draw(st.integers(0, 30)), value))
    return found


@pytest.fixture(scope="module")
def small_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "log"
    write_shop(path, days=2, searches=40, products=40, users=20)
    return path


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=damages(), copies=st.integers(0, 3), batch_rows=st.sampled_from([37, 1_000]))
def test_every_row_goes_to_exactly_one_place(small_log: Path, cells: list, copies: int, batch_rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = copy(small_log, Path(folder) / "log")
        for table, day in {(cell[0], cell[1]) for cell in cells}:
            here = [cell[2:] for cell in cells if cell[:2] == (table, day)]
            edit(file_of(log, table, day), lambda c, here=here: _overwrite(c, here))
        edit(file_of(log, "events"), lambda c: {name: v + v[:copies] for name, v in c.items()})
        result = validate(log, Path(folder) / "run", batch_rows=batch_rows)
        assert_nothing_is_lost(result)
        for table in TABLES:
            assert_origin_is_right(result, table)


def _overwrite(columns: dict[str, list], cells: list) -> None:
    for column, row, value in cells:
        columns[column][row % len(columns[column])] = value


def assert_origin_is_right(result: Result, table: str) -> None:
    """Each quarantined row names the file, row group and row that hold exactly its values."""
    for row in result.quarantined(table):
        with pq.ParquetFile(result.log / row["file"]) as file:
            stored = file.read_row_group(row["row_group"]).slice(row["row"], 1).to_pylist()[0]
        name = {"products": "title", "searches": "query", "events": "product_id"}[table]
        assert row[name] == stored[name]


@pytest.fixture(scope="module")
def damaged(small_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A log with one bad search (and so its orphaned events) on its last day."""
    folder = tmp_path_factory.mktemp("damaged")
    log = copy(small_log, folder / "log")
    edit(file_of(log, "searches"), lambda c: c["query"].__setitem__(3, "\x00"))
    return validate(log, folder / "run")


def test_unchanged_partitions_are_hard_links(damaged: Result) -> None:
    stored = file_of(damaged.log, "events", 0)
    linked = file_of(damaged.folder / "checked", "events", 0)
    assert stored.stat().st_ino == linked.stat().st_ino
    changed = file_of(damaged.folder / "checked", "searches")
    assert changed.stat().st_ino != file_of(damaged.log, "searches").stat().st_ino


def test_events_of_a_quarantined_search_follow_it(damaged: Result) -> None:
    search = damaged.quarantined("searches")[0]["search_id"]
    lost = damaged.quarantined("events")
    assert lost
    assert {row["search_id"] for row in lost} == {search}
    assert {row["check"] for row in lost} == {"unknown_search"}
    assert lost[0]["reason"] == f"search_id '{search}' is not among the good rows of searches"


def test_the_checked_log_is_a_log_of_its_own(damaged: Result) -> None:
    checked = Log(damaged.folder / "checked")
    rows = damaged.verdict["rows"]
    for table, schema in (("products", PRODUCTS), ("searches", SEARCHES), ("events", EVENTS)):
        assert checked.read(table).schema.names == schema.names
        assert len(checked.read(table)) == rows[table]["good"] == checked.description["counts"][table]
    assert checked.description["source"] == "test shop"
    assert checked.description["fingerprint"] != Log(damaged.log).description["fingerprint"]


def test_the_checked_logs_fingerprint_is_of_its_content(small_log: Path, tmp_path: Path) -> None:
    prints = []
    for name in ("one", "two"):
        validate(copy(small_log, tmp_path / name / "log"), tmp_path / name / "run")
        prints.append(Log(tmp_path / name / "run" / "checked").description["fingerprint"])
    edit(file_of(tmp_path / "two" / "log", "products"), lambda c: c["title"].__setitem__(0, "another lamp"))
    validate(tmp_path / "two" / "log", tmp_path / "two" / "again")
    assert prints[0] == prints[1]
    assert Log(tmp_path / "two" / "again" / "checked").description["fingerprint"] != prints[0]


def test_quarantine_keeps_every_stored_column_as_text(small_log: Path, tmp_path: Path) -> None:
    log = copy(small_log, tmp_path / "log")
    path = file_of(log, "products")
    table = pq.read_table(path)
    table = table.append_column("reason", pa.array(["shop's own"] * len(table)))
    attributes = pa.array([[("colour", "red")]] * len(table), PRODUCTS.field("attributes").type)
    table = table.append_column("attributes", attributes)
    prices = pa.array([-5.0, *table["price"].to_pylist()[1:]])
    pq.write_table(table.set_column(table.column_names.index("price"), "price", prices), path)
    row = validate(log, tmp_path / "run").quarantined("products")[0]
    assert row["price"] == "-5"
    assert row["stored_reason"] == "shop's own"
    assert row["reason"] == "price -5.0 must be above 0"
    assert json.loads(row["attributes"]) == [["colour", "red"]]
    assert (row["file"], row["row_group"], row["row"]) == ("products/part-00000.parquet", 0, 0)


def test_the_verdict_says_why_rows_are_bad_and_how_each_day_was(damaged: Result) -> None:
    """What the run's report shows of the log: reasons with counts and an example, and the figures of each day."""
    reasons = damaged.verdict["quarantine"]
    bad = sum(row["quarantined"] for row in damaged.verdict["rows"].values())
    assert sum(item["rows"] for item in reasons) == bad > 0
    assert [item["rows"] for item in reasons] == sorted((item["rows"] for item in reasons), reverse=True)
    assert all(item["example"] and item["check"] and item["table"] in damaged.verdict["rows"] for item in reasons)
    days = damaged.verdict["days"]
    assert sum(day["searches"] for day in days) == damaged.verdict["rows"]["searches"]["good"]
    assert sum(day["events"] for day in days) == damaged.verdict["rows"]["events"]["good"]
