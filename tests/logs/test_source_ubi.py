"""OpenSearch User Behavior Insights, in the forms its collectors write."""

import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput
from components.logs.contract import Log
from components.logs.step import load_log

QUERY = {"query_id": "q1", "client_id": "c1", "user_query": "desk  lamp", "timestamp": "2024-12-10T00:01:29.378Z"}


def event(action: str, product: str, ordinal: int | None = None, **more: object) -> dict[str, object]:
    thing: dict[str, object] = {"object_id": product, "object_id_field": "sku", "description": f"Lamp {product}"}
    attributes: dict[str, object] = {"object": thing}
    if ordinal is not None:
        attributes["position"] = {"ordinal": ordinal}
    base = {"action_name": action, "query_id": "q1", "client_id": "c1", "timestamp": "2024-12-10T00:02:00Z"}
    return {**base, "event_attributes": attributes, **more}


EVENTS = [
    event("impression", "a", 0),
    event("impression", "b", 1),
    event("item_click", "b", 1),
    event("add_to_cart", "b"),
    event("purchase", "b", timestamp=1733789000000),
    event("brand_filter", "c"),
    event("click", "a", query_id="unlogged"),
    event("impression", "a", query_id="unlogged"),
]


def bulk(folder: Path) -> Path:
    """Bulk form: an action line before each document."""
    lines = []
    for index, items in (("ubi_queries", [QUERY]), ("ubi_events", EVENTS)):
        for number, item in enumerate(items):
            lines += [json.dumps({"index": {"_index": index, "_id": str(number)}}), json.dumps(item)]
    (folder / "log.ndjson").write_text("\n".join(lines) + "\n")
    return folder


def load(data: Path, folder: Path) -> Log:
    load_log("ubi", str(data), "{}", folder / "out" / "log", folder / "out" / "truth")
    return Log(folder / "out" / "log")


def test_bulk_documents_become_searches_and_events(tmp_path):
    log = load(bulk(tmp_path), tmp_path)
    (search,) = log.read("searches").to_pylist()
    assert (search["search_id"], search["query"], search["user_id"]) == ("q1", "desk lamp", "c1")
    rows = log.read("events", columns=["product_id", "action", "search_id", "position"]).to_pylist()
    found = sorted(tuple(row.values()) for row in rows if row["search_id"])
    assert found == sorted(
        [("a", "impression", "q1", 1), ("b", "impression", "q1", 2), ("b", "click", "q1", 2), ("b", "cart", "q1", None),
         ("b", "order", "q1", None)], key=lambda row: row[:3])  # fmt: skip


def test_an_event_of_a_query_that_was_not_logged_is_behaviour_outside_search(tmp_path):
    rows = load(bulk(tmp_path), tmp_path).read("events").to_pylist()
    outside = [(row["product_id"], row["action"]) for row in rows if row["search_id"] is None]
    assert outside == [("a", "click")]


def test_without_a_catalogue_products_are_gathered_and_the_log_says_so(tmp_path):
    log = load(bulk(tmp_path), tmp_path)
    titles = {row["product_id"]: row["title"] for row in log.products().to_pylist()}
    assert titles == {"a": "Lamp a", "b": "Lamp b"}
    assert any("UBI has no catalogue" in note for note in log.description["notes"])


def test_a_catalogue_beside_the_log_is_taken(tmp_path):
    bulk(tmp_path)
    pq.write_table(pa.table({"product_id": ["b"], "title": ["Green Lamp"]}), tmp_path / "products.parquet")
    log = load(tmp_path, tmp_path)
    assert log.products()["title"].to_pylist() == ["Green Lamp"]
    assert set(log.read("events")["product_id"].to_pylist()) == {"b"}


def test_positions_counted_from_one_stay(tmp_path):
    lines = [QUERY, event("impression", "a", 1), event("impression", "b", 2)]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert sorted(load(tmp_path, tmp_path).read("events")["position"].to_pylist()) == [1, 2]


def test_lines_with_the_index_in_front_and_zips_read_the_same(tmp_path):
    for name in ("plain", "tabbed"):
        (tmp_path / name).mkdir()
    bulk(tmp_path / "plain")
    lines = [f"ubi_queries\t{json.dumps(QUERY)}", *[f"ubi_events\t{json.dumps(item)}" for item in EVENTS]]
    with zipfile.ZipFile(tmp_path / "tabbed" / "events.zip", "w") as archive:
        archive.writestr("events.json", "\n".join(lines))
    one, other = (load(tmp_path / name, tmp_path / name) for name in ("plain", "tabbed"))
    assert one.description["fingerprint"] == other.description["fingerprint"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{broken", r"line 1 is not JSON \(.*, character 2\); mend the line or take it out"),
        ("[1]", "line 1 holds no document"),
        (json.dumps({**QUERY, "timestamp": "yesterday"}), "has the timestamp 'yesterday', which is neither"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, sentence):
    (tmp_path / "log.ndjson").write_text(line + "\n")
    with pytest.raises(BadInput, match=sentence):
        load(tmp_path, tmp_path)


def test_ids_that_are_numbers_become_texts(tmp_path):
    documents = [{**QUERY, "query_id": 7, "user_id": 17}, event("click", "a", query_id=7, user_id=17)]
    (tmp_path / "log.ndjson").write_text("\n".join(json.dumps(item) for item in documents))
    log = load(tmp_path, tmp_path)
    for table in ("searches", "events"):
        rows = log.read(table)
        assert (rows["search_id"].to_pylist(), rows["user_id"].to_pylist()) == (["7"], ["17"])
