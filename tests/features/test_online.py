"""What serving reads: equal to what training read, changed by real-time events, never a value where there is none.

Every test runs on SQLite and, where redis-server is installed, on Redis.
"""

import json
import random
import sqlite3
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput, Unavailable
from components.features.history import Behaviour, History, Search
from components.features.locks import shard_of
from components.features.online import OnlineHistories
from components.features.repository import open_store, store_directory
from components.features.schema import FEATURES, HISTORY_VIEW, SERVICE, SPLITS
from components.features.step import build, materialise
from components.features.store import FeatureStoreClient
from tests.features.logs import START_US, event, three_days, write_log

SMALL = {"history_length": 5, "recent_queries": 3, "bought_products": 2}


def filled(folder: Path, environment: str, searches: list, events: list, **overrides: object) -> FeatureStoreClient:
    """Builds and materialises a log; returns a client of the store."""
    log = write_log(folder / "log", searches, events)
    settings = json.dumps(overrides)
    build(log, folder / "examples", folder / "sources", settings)
    materialise(folder / "sources", folder / "work", environment, settings)
    return FeatureStoreClient(folder / "work", environment)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """The sources of one small log, built once."""
    folder = tmp_path_factory.mktemp("shop")
    build(write_log(folder / "log", *three_days()), folder / "examples", folder / "sources")
    return folder / "sources"


@pytest.fixture
def client(sources, tmp_path, environment) -> FeatureStoreClient:
    materialise(sources, tmp_path / "work", environment)
    return FeatureStoreClient(tmp_path / "work", environment)


def test_the_latest_history_of_every_shopper_is_online(client):
    searches, events = three_days()
    for user in ("u0", "u1", "u2", "u3"):
        done = [
            Behaviour(one["us"], one["product_id"], one["action"])
            for one in events
            if one["user_id"] == user and one["action"] != "impression"
        ]
        asked = [Search(one["us"], one["query"]) for one in searches if one["user_id"] == user]
        assert client.history(user) == History.of(done + asked)


def test_training_and_serving_agree_element_by_element(tmp_path, environment):
    """The first day is materialised; the rest is pushed as it happened; at each search both histories are compared."""
    searches, events = three_days()
    log = write_log(tmp_path / "log", searches, events)
    build(log, tmp_path / "examples", tmp_path / "sources", json.dumps(SMALL))
    tables = [pq.read_table(tmp_path / "examples" / f"{name}.parquet") for name in SPLITS]
    offline = {row["search_id"]: History.from_row(row) for table in tables for row in table.to_pylist()}

    first_day = START_US + 86_400_000_000
    (tmp_path / "first").mkdir()
    client = filled(
        tmp_path / "first",
        environment,
        [one for one in searches if one["us"] < first_day],
        [one for one in events if one["us"] < first_day],
        **SMALL,
    )
    later = [("search", one) for one in searches if one["us"] >= first_day]
    later += [("event", one) for one in events if one["us"] >= first_day and one["action"] != "impression"]
    compared = 0
    for kind, one in sorted(later, key=lambda pair: (pair[1]["us"], pair[0])):
        if kind == "event":
            client.push(one["user_id"], Behaviour(one["us"], one["product_id"], one["action"]))
            continue
        assert client.history(one["user_id"]).before(one["us"]) == offline[one["search_id"]]
        client.push(one["user_id"], Search(one["us"], one["query"]))
        compared += 1
    assert compared == 12


def test_an_unknown_or_anonymous_shopper_has_an_empty_history(client):
    for user in ("nobody", None, "", "\x00towerline"):
        assert client.history(user) == History.empty()
    known, unknown = client.histories(["u1", "nobody"])
    assert known
    assert not unknown


def test_a_pushed_event_is_in_the_next_read(client):
    before = client.history("u1")
    now = before.last_timestamp + 10
    returned = client.push("u1", Behaviour(now, "new", "order"), Search(now + 1, "new query"))
    after = client.history("u1")
    assert after == returned == before.append(Behaviour(now, "new", "order"), Search(now + 1, "new query"))
    assert (after.product_ids[-1], after.queries[-1], after.bought_product_ids[-1]) == ("new", "new query", "new")


def test_a_new_shoppers_first_event_makes_a_history(client):
    client.push("newcomer", Behaviour(START_US, "p1", "click"))
    assert client.history("newcomer").product_ids == ["p1"]


def test_an_older_push_never_overwrites_what_is_newer(client):
    newest = client.history("u1")
    client.push("u1", Behaviour(START_US - 5, "long-ago", "click"))
    after = client.history("u1")
    assert after.product_ids == ["long-ago", *newest.product_ids]
    assert after.queries == newest.queries


def test_events_of_one_microsecond_are_all_kept(client):
    now = client.history("u1").last_timestamp + 10
    client.push("u1", Behaviour(now, "b", "click"))
    client.push("u1", Behaviour(now, "a", "click"))
    assert client.history("u1").product_ids[-2:] == ["a", "b"]


def test_an_event_pushed_twice_counts_once(client):
    now = client.history("u1").last_timestamp + 10
    once = client.push("u1", Behaviour(now, "new", "click"))
    assert client.push("u1", Behaviour(now, "new", "click")) == once
    assert client.history("u1") == once


def test_pushes_in_any_order_end_in_the_same_history(client):
    events = [Behaviour(START_US + step * 7, f"p{step % 4}", "click") for step in range(20)]
    for seed in range(2):
        shuffled = list(events)
        random.Random(seed).shuffle(shuffled)
        for one in shuffled:
            client.push(f"shopper {seed}", one)
    assert client.history("shopper 0") == client.history("shopper 1") == History.of(events)


def test_pushes_from_many_threads_lose_nothing(client):
    def push(worker: int) -> None:
        for step in range(8):
            client.push("busy", Behaviour(START_US + worker * 100 + step, f"p{worker}-{step}", "click"))

    threads = [threading.Thread(target=push, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(client.history("busy")) == 48


def test_an_event_that_is_no_behaviour_or_has_no_shopper_is_refused(client):
    with pytest.raises(BadInput, match="'impression'"):
        client.push("u1", Behaviour(START_US, "p1", "impression"))
    for user in ("", "\x00towerline"):
        with pytest.raises(BadInput, match="needs the id of a shopper"):
            client.push(user, Behaviour(START_US, "p1", "click"))


def test_a_store_that_was_never_filled_is_unavailable_not_empty(tmp_path, environment):
    with pytest.raises(Unavailable):
        FeatureStoreClient(tmp_path / "work", environment).history("u1")
    with pytest.raises(Unavailable):
        FeatureStoreClient(tmp_path / "work", environment).warm()


def test_a_store_that_was_emptied_is_unavailable_not_empty(sources, tmp_path, environment, request):
    materialise(sources, tmp_path / "work", environment)
    if environment == "redis":
        request.getfixturevalue("redis_server").command("FLUSHALL")
    else:
        _change_sqlite(tmp_path / "work", "DELETE FROM {table}")
    with pytest.raises(Unavailable, match="was emptied; materialise the features again"):
        FeatureStoreClient(tmp_path / "work", environment).history("u1")


def test_a_history_with_a_part_missing_is_unavailable_not_shorter(sources, tmp_path):
    materialise(sources, tmp_path / "work", "local")
    client = FeatureStoreClient(tmp_path / "work")
    _change_sqlite(tmp_path / "work", "DELETE FROM {table} WHERE feature_name = 'timestamps'")
    with pytest.raises(Unavailable, match="lacks timestamps of shopper 'u1'"):
        client.history("u1")


def test_a_held_shopper_is_unavailable_to_writers_and_readable(client):
    hasty = FeatureStoreClient(client._reader.directory.parent, client._reader.environment, lock_seconds=0.05)
    before = client.history("u1")
    with client._writer_locks().hold(shard_of("u1"), 1.0):
        with pytest.raises(Unavailable, match="another writer"):
            hasty.push("u1", Behaviour(START_US, "p", "click"))
        assert hasty.history("u1") == before
    hasty.push("u1", Behaviour(START_US, "p", "click"))
    assert client.history("u1") != before


def test_the_service_serves_exactly_the_schemas_features(client):
    online = OnlineHistories(client._reader.environment, client._reader.directory)
    online.open()
    service = open_store(online._store.config).get_feature_service(SERVICE)
    (projection,) = service.feature_view_projections
    assert projection.name == HISTORY_VIEW
    assert {feature.name for feature in projection.features} == set(FEATURES)


def _change_sqlite(workdir: Path, statement: str) -> None:
    with sqlite3.connect(store_directory(workdir) / "online.db") as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        connection.execute(statement.format(table=f'"{tables[0][0]}"'))


def test_an_event_of_a_product_outside_the_catalogue_is_kept(client):
    client.push("u1", Behaviour(START_US, "not in the catalogue", "click"))
    assert "not in the catalogue" in client.history("u1").product_ids


def test_an_anonymous_log_still_makes_a_store_that_takes_events(tmp_path, environment):
    searches, events = three_days()
    log = write_log(tmp_path / "log", searches, [*events, event(START_US, "p1")], without=("users",))
    build(log, tmp_path / "examples", tmp_path / "sources")
    materialise(tmp_path / "sources", tmp_path / "work", environment)
    client = FeatureStoreClient(tmp_path / "work", environment)
    assert not client.history("u1")
    client.push("u1", Behaviour(START_US, "p1", "click"))
    assert client.history("u1").product_ids == ["p1"]
