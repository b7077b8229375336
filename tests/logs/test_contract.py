"""The reader: what every other room may rely on."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput, NotFound
from components.logs.contract import ACTIONS, EVENTS, PRODUCTS, Log
from components.logs.writer import LogWriter

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def write_log(folder: Path) -> Path:
    with LogWriter(folder, "test", simulated=False, split="time") as writer:
        writer.write("products", pa.table({"title": ["Red Shoe", "Blue Shoe"], "product_id": ["a", "b"]}))
        for day in (1, 2):
            moment = NOON.replace(day=day)
            name = f"2026-03-0{day}"
            asked = {"search_id": [f"s{day}"], "timestamp": [moment], "query": ["shoe"], "user_id": ["u"]}
            writer.write("searches", pa.table(asked), name)
            columns = {"timestamp": [moment] * 2, "product_id": ["a", "a"], "action": ["impression", "click"]}
            writer.write("events", pa.table({**columns, "search_id": [f"s{day}"] * 2}), name)
    return folder


def test_a_column_the_log_lacks_is_read_as_nulls_in_contract_order(tmp_path):
    products = Log(write_log(tmp_path / "log")).products()
    assert products.column_names == PRODUCTS.names
    assert products["title"].to_pylist() == ["Red Shoe", "Blue Shoe"]
    assert products["price"].null_count == 2
    assert products["price"].type == pa.float64()


def test_days_and_columns_can_be_chosen_and_dt_is_no_column(tmp_path):
    log = Log(write_log(tmp_path / "log"))
    assert log.days("events") == ["2026-03-01", "2026-03-02"]
    rows = log.read("events", days=["2026-03-02"], columns=["action", "timestamp"])
    assert rows.column_names == ["action", "timestamp"]
    assert rows["action"].to_pylist() == ["impression", "click"]
    assert log.read("events").schema.names == EVENTS.names


def test_batches_hold_at_most_the_rows_asked_for_and_all_rows_together(tmp_path):
    log = Log(write_log(tmp_path / "log"))
    sizes = [batch.num_rows for batch in log.batches("events", rows=1)]
    assert sizes == [1, 1, 1, 1]


def test_the_description_says_what_the_log_has(tmp_path):
    log = Log(write_log(tmp_path / "log"))
    assert log.has == {"users": True, "times": True, "impressions": True, "locations": False, "judgements": False}
    assert log.split == "time"
    assert log.description["counts"] == {"products": 2, "searches": 2, "events": 4}
    assert log.description["window"] == ["2026-03-01T12:00:00+00:00", "2026-03-02T12:00:00+00:00"]
    assert log.judgements() is None


def test_a_folder_without_log_json_is_no_log(tmp_path):
    with pytest.raises(NotFound, match=r"log\.json is missing"):
        Log(tmp_path)


def test_a_torn_file_is_named_with_its_table(tmp_path):
    log = Log(write_log(tmp_path / "log"))
    (part,) = (log.path / "products").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(BadInput, match=f"Table products: the file {part} is not readable Parquet"):
        log.products()


def test_a_missing_required_column_is_named_with_the_columns_there_are(tmp_path):
    log = Log(write_log(tmp_path / "log"))
    (part,) = (log.path / "products").glob("*.parquet")
    pq.write_table(pa.table({"product_id": ["a"], "name": ["Red Shoe"]}), part)
    with pytest.raises(BadInput, match=r"required column title is missing .*\(its columns are product_id, name\)"):
        log.products()


def test_a_column_of_another_type_is_named(tmp_path):
    log = Log(write_log(tmp_path / "log"))
    (part,) = (log.path / "products").glob("*.parquet")
    pq.write_table(pa.table({"product_id": ["a"], "title": ["Red Shoe"], "price": ["cheap"]}), part)
    with pytest.raises(BadInput, match=r"column price .* has the type string"):
        log.products()


def test_actions_go_from_the_weakest_to_the_strongest():
    assert ACTIONS == ("impression", "click", "favourite", "cart", "order")
