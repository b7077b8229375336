"""The training examples of a log: their format, their truth in time, and what is left out when the log lacks it."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.common.errors import BadInput, BadSetting, NotFound
from components.features.examples import search_rounds
from components.features.history import Behaviour, History, Search
from components.features.passthrough import write_products
from components.features.schema import EXAMPLES, SPLITS
from components.features.splits import TimeSplit, iso, query_split
from components.features.step import build
from components.logs.contract import Log
from tests.features.logs import DAY_US, START_US, event, search, three_days, write_log


def rows_of(examples: Path) -> dict[str, dict]:
    tables = [pq.read_table(examples / f"{name}.parquet") for name in SPLITS]
    return {row["search_id"]: row for table in tables for row in table.to_pylist()}


def build_in(folder: Path, log: Path, **overrides: object) -> Path:
    build(log, folder / "examples", folder / "sources", json.dumps(overrides))
    return folder / "examples"


def history_before(searches: list[dict], events: list[dict], user: str, us: int) -> History:
    done = [
        Behaviour(one["us"], one["product_id"], one["action"])
        for one in events
        if one["user_id"] == user and one["us"] < us and one["action"] != "impression"
    ]
    return History.of(
        done + [Search(one["us"], one["query"]) for one in searches if one["user_id"] == user and one["us"] < us]
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    searches, events = three_days()
    examples = build_in(folder, write_log(folder / "log", searches, events))
    return searches, events, examples


def test_the_files_have_the_promised_columns(shop):
    _, _, examples = shop
    for name in SPLITS:
        assert pq.read_schema(examples / f"{name}.parquet").equals(EXAMPLES)
    assert pq.read_schema(examples / "graph.parquet").names == ["product_id", "queries", "weights"]
    assert {"product_id", "title", "category"} <= set(pq.read_schema(examples / "products.parquet").names)
    described = json.loads((examples / "features.json").read_text())
    assert (described["split"], described["simulated"], described["source"]) == ("time", True, "test")
    assert described["feature_service"] == "shopper_history_v1"


def test_the_last_day_tests_and_the_day_before_validates(shop):
    searches, _, examples = shop
    for number, name in enumerate(SPLITS):
        day = {one["search_id"] for one in searches if (one["us"] - START_US) // DAY_US == number}
        assert set(pq.read_table(examples / f"{name}.parquet")["search_id"].to_pylist()) == day


def test_each_product_is_there_once_at_its_highest_stage_with_its_position(shop):
    _, events, examples = shop
    for search_id, row in rows_of(examples).items():
        stages = {"impression": 0, "click": 1, "favourite": 2, "cart": 3, "order": 4}
        best: dict[str, int] = {}
        for one in events:
            if one.get("search_id") == search_id:
                best[one["product_id"]] = max(best.get(one["product_id"], 0), stages[one["action"]])
        assert dict(zip(row["product_ids"], row["stages"], strict=True)) == best
        assert row["positions"] == [1, 2, 3]


def test_every_history_is_what_happened_strictly_before_the_search(shop):
    searches, events, examples = shop
    rows = rows_of(examples)
    assert len(rows) == len(searches)
    for one in searches:
        assert History.from_row(rows[one["search_id"]]) == history_before(searches, events, one["user_id"], one["us"])


def test_locations_pass_through(shop):
    _, _, examples = shop
    row = rows_of(examples)["s0"]
    assert (row["latitude"], row["longitude"], row["country"]) == (1.5, 2.5, "DE")


def test_many_small_buckets_give_the_same_examples_as_one(shop, tmp_path):
    searches, events, examples = shop
    log = write_log(tmp_path / "log", searches, events)
    small = build_in(tmp_path, log, bucket_elements=20)
    assert len(list((tmp_path / "sources" / "shopper_history").glob("moments-*"))) > 1
    assert rows_of(small) == rows_of(examples)
    assert pq.read_table(small / "graph.parquet") == pq.read_table(examples / "graph.parquet")
    ends = {name: (searches[6 * part], searches[6 * part + 5]) for part, name in enumerate(SPLITS)}
    window = {name: [iso(first["us"]), iso(last["us"])] for name, (first, last) in ends.items()}
    for folder in (small, examples):
        assert json.loads((folder / "features.json").read_text())["window"] == window


def test_a_shopper_of_many_searches_is_joined_in_rounds_with_the_same_truth(tmp_path, monkeypatch):
    monkeypatch.setattr("components.features.examples._FEW_PAIRS", 0)
    searches = [search(number, START_US + number * DAY_US // 30, f"query {number}", "busy") for number in range(90)]
    events = [event(one["us"] + 5, f"p{n}", "click", "busy", search_id=f"s{n}") for n, one in enumerate(searches)]
    rows = rows_of(build_in(tmp_path, write_log(tmp_path / "log", searches, events)))
    assert len(list((tmp_path / "sources" / "shopper_history").glob("moments-*"))) == 6
    for one in searches:
        assert History.from_row(rows[one["search_id"]]) == history_before(searches, events, "busy", one["us"])


def test_few_searches_are_one_round_and_those_of_a_busy_shopper_are_spread():
    shoppers = pa.chunked_array([["ann"] * 3_000 + ["bob"] * 3 + [None] * 200])
    rounds = search_rounds(shoppers)
    held = np.bincount(rounds[:3_000])
    assert len(held) == 8
    assert (held * (held + 1) // 2).max() <= 100_000
    assert np.all(np.diff(rounds[:3_000]) >= 0)
    assert set(rounds[3_000:].tolist()) == {0}
    assert set(search_rounds(shoppers.slice(2_700)).tolist()) == {0}


def test_a_round_meets_4_snapshots_a_search():
    shoppers = pa.chunked_array([[f"u{number:05d}" for number in range(9_000) for _ in range(20)]])
    rounds = search_rounds(shoppers).reshape(9_000, 20)
    assert np.bincount(rounds[0]).tolist() == [4, 4, 8, 4]
    assert (rounds == rounds[0]).all()


def test_a_second_build_writes_the_same_bytes(shop, tmp_path):
    searches, events, examples = shop
    again = build_in(tmp_path, write_log(tmp_path / "log", searches, events))
    for path in examples.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


changes = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=3), st.sampled_from(["p1", "new"]), st.sampled_from(["click", "order"])
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=8)
@given(st.integers(min_value=0, max_value=17), changes, st.data())
def test_no_event_at_or_after_a_search_changes_its_features(tmp_path_factory, number, added, data):
    """The whole path, Feast included: events at or after the search are inserted, deleted and changed."""
    searches, events = three_days()
    asked = searches[number]
    later = [one for one in events if one["us"] >= asked["us"]]
    kept = [one for one in later if data.draw(st.booleans(), label=f"keep {one['product_id']} at {one['us']}")]
    changed = [one for one in events if one["us"] < asked["us"]] + [
        {**one, "product_id": "other"} if one["action"] == "favourite" else one for one in kept
    ]
    changed += [event(asked["us"] + after, product, action, asked["user_id"]) for after, product, action in added]
    # The searches still need outcomes to be examples at all.
    changed += [
        event(one["us"] + 5, "p0", "click", one["user_id"], search_id=one["search_id"]) for one in searches[number:]
    ]
    folder = tmp_path_factory.mktemp("changed")
    before = rows_of(build_in(folder / "a", write_log(folder / "a" / "log", searches, events)))[asked["search_id"]]
    after = rows_of(build_in(folder / "b", write_log(folder / "b" / "log", searches, changed)))[asked["search_id"]]
    assert History.from_row(after) == History.from_row(before)


def test_an_event_at_the_very_time_of_the_search_is_not_seen(tmp_path):
    searches, events = three_days()
    at = searches[9]["us"]
    user = searches[9]["user_id"]
    events += [event(at - 1, "just-before", user_id=user), event(at, "same-time", user_id=user)]
    row = rows_of(build_in(tmp_path, write_log(tmp_path / "log", searches, events)))["s9"]
    assert row["history_product_ids"][-1] == "just-before"
    assert "same-time" not in row["history_product_ids"]


def test_a_click_stamped_before_the_search_it_answers_is_not_in_that_searchs_history(tmp_path):
    searches, events = three_days()
    asked, next_of_user = searches[6], searches[10]
    events.append(event(asked["us"] - 900_000, "early clock", user_id=asked["user_id"], search_id="s6"))
    rows = rows_of(build_in(tmp_path, write_log(tmp_path / "log", searches, events)))
    assert "early clock" in rows["s6"]["product_ids"]
    assert "early clock" not in rows["s6"]["history_product_ids"]
    seen = History.from_row(rows["s10"])
    assert seen.timestamps[seen.product_ids.index("early clock")] == asked["us"] + 1
    assert next_of_user["user_id"] == asked["user_id"]


def test_what_a_training_search_led_to_after_validation_began_is_no_training_outcome(tmp_path):
    searches, events = three_days()
    for search_id, next_part in (("s5", START_US + DAY_US), ("s11", START_US + 2 * DAY_US)):
        events.append(event(next_part - 1, "in-time", "order", "u5", search_id=search_id))
        events.append(event(next_part, "too-late", "order", "u5", search_id=search_id))
    rows = rows_of(build_in(tmp_path, write_log(tmp_path / "log", searches, events)))
    for row in (rows["s5"], rows["s11"]):
        assert "in-time" in row["product_ids"]
        assert "too-late" not in row["product_ids"]


def test_a_search_of_midnight_belongs_to_the_day_that_begins():
    moments = np.array([9, 10, 19, 20])
    assert TimeSplit(validation=10, test=20).assign(moments, pa.chunked_array([["lamp"] * 4])).tolist() == [0, 1, 1, 2]


def test_a_product_shown_twice_after_a_search_is_listed_at_its_first_position(tmp_path):
    searches, events = three_days()
    events.append(event(searches[4]["us"] + 5, "p4", "impression", "u0", search_id="s4", position=30))
    row = rows_of(build_in(tmp_path, write_log(tmp_path / "log", searches, events)))["s4"]
    assert row["positions"][row["product_ids"].index("p4")] == 1


def test_spellings_of_one_query_that_differ_in_case_fall_on_one_side():
    queries = [f"Red Lamp {number}" for number in range(50)]
    assert [query_split(query) for query in queries] == [query_split(query.upper()) for query in queries]
    assert {query_split(query) for query in queries} == {0, 1, 2}


def test_an_event_without_a_user_belongs_to_whoever_made_its_search(tmp_path):
    searches, events = three_days()
    events.append(event(searches[4]["us"] + 7, "unsigned", user_id=None, search_id="s4"))
    row = rows_of(build_in(tmp_path, write_log(tmp_path / "log", searches, events)))["s8"]
    assert "unsigned" in row["history_product_ids"]


def test_an_anonymous_search_has_an_empty_history_and_keeps_its_outcomes(tmp_path):
    searches, events = three_days()
    searches.append(search(99, searches[3]["us"] + 5, "lamp", None))
    events.append(event(searches[3]["us"] + 9, "p1", user_id=None, search_id="s99"))
    row = rows_of(build_in(tmp_path, write_log(tmp_path / "log", searches, events)))["s99"]
    assert not History.from_row(row)
    assert (row["user_id"], row["product_ids"], row["positions"]) == (None, ["p1"], [-1])


def test_searches_that_are_all_anonymous_have_empty_histories(tmp_path):
    searches, events = three_days()
    searches = [{**one, "user_id": None} for one in searches]
    events = [one if one["action"] == "favourite" else {**one, "user_id": None} for one in events]
    rows = rows_of(build_in(tmp_path, write_log(tmp_path / "log", searches, events)))
    assert len(rows) == len(searches)
    assert not any(History.from_row(row) for row in rows.values())


def test_a_repeated_product_keeps_its_last_row(tmp_path):
    rows = [("p1", "old"), ("p2", "rug"), ("p1", "new")]
    products = [{"product_id": product_id, "title": title} for product_id, title in rows]
    log = write_log(tmp_path / "log", *three_days(), products=products)
    assert write_products(Log(log), tmp_path) == 2
    kept = pq.read_table(tmp_path / "products.parquet")
    assert dict(zip(kept["product_id"].to_pylist(), kept["title"].to_pylist(), strict=True)) == {
        "p1": "new",
        "p2": "rug",
    }


def test_a_product_no_longer_in_the_catalogue_stays_in_histories(tmp_path):
    searches, events = three_days()
    log = write_log(tmp_path / "log", searches, events, products=[{"product_id": "p0", "title": "the only one left"}])
    examples = build_in(tmp_path, log)
    assert pq.read_table(examples / "products.parquet")["product_id"].to_pylist() == ["p0"]
    assert any(set(row["history_product_ids"]) - {"p0"} for row in rows_of(examples).values())


def test_without_shoppers_histories_are_empty_and_the_run_says_so(tmp_path):
    searches, events = three_days()
    examples = build_in(tmp_path, write_log(tmp_path / "log", searches, events, without=("users",)))
    rows = rows_of(examples)
    assert len(rows) == len(searches)
    assert not any(History.from_row(row) for row in rows.values())
    left_out = json.loads((examples / "features.json").read_text())["left_out"]
    assert left_out == ["The log has no shoppers: every history is empty and Feast is not asked for any."]


def test_without_times_the_examples_are_split_by_query(tmp_path):
    searches, events = three_days()
    searches = [{**one, "us": START_US, "query": f"query {number}"} for number, one in enumerate(searches)]
    events = [{**one, "us": START_US} for one in events]
    examples = build_in(tmp_path, write_log(tmp_path / "log", searches, events, split="query", without=("times",)))
    for number, name in enumerate(SPLITS):
        for row in pq.read_table(examples / f"{name}.parquet").to_pylist():
            assert query_split(row["query"]) == number
            assert not History.from_row(row)
    assert json.loads((examples / "features.json").read_text())["split"] == "query"


def test_without_impressions_and_locations_the_run_says_so(tmp_path):
    searches, events = three_days()
    events = [one for one in events if one["action"] != "impression"]
    log = write_log(tmp_path / "log", searches, events, without=("impressions", "locations"))
    examples = build_in(tmp_path, log)
    assert all(min(row["stages"]) >= 1 for row in rows_of(examples).values())
    assert all(row["latitude"] is None for row in rows_of(examples).values())
    assert len(json.loads((examples / "features.json").read_text())["left_out"]) == 2


def test_too_few_days_for_a_split_by_time_are_split_by_query_and_the_run_says_so(tmp_path):
    searches = [search(number, START_US + 2 * number, f"query {number}") for number in range(30)]
    events = [event(START_US + 2 * n + 1, "p1", search_id=f"s{n}") for n in range(30)]
    examples = build_in(tmp_path, write_log(tmp_path / "log", searches, events))
    described = json.loads((examples / "features.json").read_text())
    assert described["split"] == "query"
    assert "fewer than 3 days" in described["left_out"][-1]
    assert rows_of(examples)["s29"]["history_product_ids"] == ["p1"] * 29


def test_judgements_pass_through_with_the_split_of_their_query(tmp_path):
    searches = [search(number, START_US, f"query {number}") for number in range(30)]
    events = [event(START_US, "p1", search_id=f"s{number}") for number in range(30)]
    judged = pa.table(
        {"query": ["query 1", "query 2"], "product_id": ["p1", "p2"], "grade": pa.array([3, 1], pa.float32())}
    )
    log = write_log(tmp_path / "log", searches, events, judgements=judged, split="query", without=("users", "times"))
    rows = pq.read_table(build_in(tmp_path, log) / "judgements.parquet").to_pylist()
    assert [(row["query"], row["grade"]) for row in rows] == [("query 1", 3.0), ("query 2", 1.0)]
    assert [row["split"] for row in rows] == [SPLITS[query_split(f"query {number}")] for number in (1, 2)]


def test_a_log_that_leaves_nothing_to_train_on_is_refused_and_leaves_nothing_behind(tmp_path):
    searches, events = three_days()
    log = write_log(tmp_path / "log", searches, [one for one in events if one["action"] == "impression"])
    with pytest.raises(BadInput, match="leaves no training example"):
        build_in(tmp_path, log)
    assert {path.name for path in tmp_path.iterdir()} == {"log"}


def test_an_unknown_action_is_named(tmp_path):
    searches, events = three_days()
    log = write_log(tmp_path / "log", searches, [*events, event(START_US, "p1", "purchase")])
    with pytest.raises(BadInput, match="column action: 'purchase'"):
        build_in(tmp_path, log)


def test_a_missing_log_and_an_unknown_setting_are_named(tmp_path):
    with pytest.raises(NotFound, match=r"log\.json is missing"):
        build_in(tmp_path, tmp_path / "nowhere")
    with pytest.raises(BadSetting, match="'history_length'"):
        build_in(tmp_path, tmp_path / "nowhere", history_lenght=3)
