"""The writer: partitions, the description written last, and errors that name table, column, row and value."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.common.errors import BadInput
from components.logs.buffer import RowBuffer
from components.logs.contract import Log
from components.logs.fitting import fit
from components.logs.writer import LogWriter

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRODUCTS = pa.table({"product_id": ["a"], "title": ["Shoe"]})


def test_a_log_whose_writing_failed_has_no_description(tmp_path):
    def fail() -> None:
        with LogWriter(tmp_path / "log", "test", simulated=False, split="time") as writer:
            writer.write("products", PRODUCTS)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert not (tmp_path / "log" / "log.json").exists()


def test_the_fingerprint_follows_from_the_content_alone(tmp_path):
    def fingerprint(name: str, title: str) -> str:
        with LogWriter(tmp_path / name, "test", simulated=False, split="time") as writer:
            writer.write("products", pa.table({"product_id": ["a"], "title": [title]}))
        return Log(tmp_path / name).description["fingerprint"]

    assert fingerprint("one", "Shoe") == fingerprint("two", "Shoe") != fingerprint("three", "Boot")


@pytest.mark.parametrize(
    ("table", "columns", "sentence"),
    [
        ("products", {"price": ["9.99"]}, "Table products: column price, row 0: the value '9.99'"),
        ("products", {"title": [None]}, "Table products: column title, row 0: the value is null"),
        ("products", {"colour": ["red"]}, "Table products: the contract has no column colour"),
        ("products", {"sales": [1.5]}, "column sales, row 0: the value 1.5 is not of the type int64"),
        ("products", {"title": [b"\xff"]}, "column title, row 0"),
        ("events", {"timestamp": [1_700_000_000]}, "Table events: column timestamp, row 0: the value 1700000000"),
        ("events", {"position": [2**40]}, "column position, row 0: the value 1099511627776"),
    ],
)
def test_a_value_that_does_not_fit_is_named(table, columns, sentence):
    with pytest.raises(BadInput, match=sentence):
        fit(table, pa.table(columns))


def test_the_row_named_is_the_first_that_does_not_fit_counted_within_the_file():
    with pytest.raises(BadInput, match=r"Table products in x\.parquet: column sales, row 102: the value 2\.5"):
        fit("products", pa.table({"sales": [1.0, 2.0, 2.5]}), "x.parquet", first_row=100)


@pytest.mark.parametrize(
    ("column", "values", "fitted"),
    [
        ("product_id", pa.array([17, 18]), ["17", "18"]),
        ("title", pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        ("title", pa.array(["a", None], pa.large_string()).fill_null("b"), ["a", "b"]),
        ("price", pa.array([1, 2], pa.int32()), [1.0, 2.0]),
        ("updated_at", pa.array([NOON.replace(tzinfo=None)] * 2, pa.timestamp("ms")), [NOON, NOON]),
        ("updated_at", pa.array([1, 1_000], pa.timestamp("ns", "UTC")), None),
    ],
)
def test_types_that_hold_the_same_values_are_converted(column, values, fitted):
    rows = fit("products", pa.table({column: values}))
    expected = fitted or [datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)]
    assert rows[column].to_pylist() == expected


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 86_399)), max_size=40), st.integers(1, 10))
def test_buffered_rows_all_arrive_in_the_partition_of_their_time(tmp_path_factory, moments, limit):
    folder = tmp_path_factory.mktemp("buffer") / "log"
    times = [NOON.replace(hour=0) + timedelta(days=day, seconds=second) for day, second in moments]
    with (
        LogWriter(folder, "test", simulated=False, split="time") as writer,
        RowBuffer(writer, limit=limit) as rows,
    ):
        for number, moment in enumerate(times):
            rows.add("searches", {"search_id": str(number), "timestamp": moment, "query": "shoe"})
    log = Log(folder)
    for day in log.days("searches"):
        found = log.read("searches", days=[day])
        assert {moment.date().isoformat() for moment in found["timestamp"].to_pylist()} == {day}
    assert sorted(log.read("searches")["search_id"].to_pylist()) == sorted(map(str, range(len(times))))
