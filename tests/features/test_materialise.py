"""Materialisation writes what changed, keeps what was pushed, and survives a kill at any moment."""

import json
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.common.errors import BadSetting, NotFound, WorkdirBusy
from components.common.files import read_json
from components.common.lock import workdir_lock
from components.features.history import Behaviour, History, Search
from components.features.repository import store_directory
from components.features.step import build, materialise
from components.features.store import FeatureStoreClient
from tests.features.killed import MOMENTS, materialise_until_killed
from tests.features.logs import START_US, event, three_days, write_log

HOUR_US = 3_600_000_000


def sources_of(folder: Path, searches: list, events: list) -> Path:
    build(write_log(folder / "log", searches, events), folder / "examples", folder / "sources")
    return folder / "sources"


def histories(sources: Path) -> dict[str, History]:
    """The latest histories in the sources, by shopper."""
    names = list(History.empty().as_lists())
    rows = [row for path in (sources / "shopper_history").glob("latest-*") for row in pq.read_table(path).to_pylist()]
    return {row["user_id"]: History(**{name: row[name] for name in names}) for row in rows}


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return sources_of(tmp_path_factory.mktemp("shop"), *three_days())


@pytest.fixture(scope="module")
def shop_later(tmp_path_factory) -> Path:
    """The same shop after one more click of u1, one late click of u2, and without u3, who asked to be forgotten."""
    searches, events = three_days()
    end = max(one["us"] for one in events)
    events += [event(end + HOUR_US, "p1", user_id="u1"), event(START_US + 5, "late", user_id="u2")]
    return sources_of(
        tmp_path_factory.mktemp("later"),
        [one for one in searches if one["user_id"] != "u3"],
        [one for one in events if one["user_id"] != "u3"],
    )


def test_a_second_run_writes_nothing(shop, tmp_path, environment):
    assert materialise(shop, tmp_path, environment) == {"shoppers": 4, "written": 4, "unchanged": 0, "removed": 0}
    assert materialise(shop, tmp_path, environment) == {"shoppers": 4, "written": 0, "unchanged": 4, "removed": 0}


def test_only_what_changed_is_written_late_events_and_forgotten_shoppers_included(
    shop, shop_later, tmp_path, environment
):
    materialise(shop, tmp_path, environment)
    figures = materialise(shop_later, tmp_path, environment)
    assert figures == {"shoppers": 3, "written": 3, "unchanged": 1, "removed": 1}
    client = FeatureStoreClient(tmp_path, environment)
    for user, history in histories(shop_later).items():
        assert client.history(user) == history
    assert "late" in client.history("u2").product_ids
    assert not client.history("u3")


def test_an_event_pushed_after_the_logs_end_survives_and_one_the_log_denies_does_not(
    shop, shop_later, tmp_path, environment
):
    materialise(shop, tmp_path, environment)
    client = FeatureStoreClient(tmp_path, environment)
    newer = client.history("u1").last_timestamp + 100 * HOUR_US
    end = read_json(shop_later / "sources.json")["log_end_us"]
    kept = [Behaviour(newer, "pushed", "click"), Behaviour(end - HOUR_US // 2, "not in the log yet", "click")]
    denied = [Behaviour(START_US + 7, "not in the log", "click"), Behaviour(end - 2 * HOUR_US, "nor here", "click")]
    client.push("u1", *kept, *denied)
    materialise(shop_later, tmp_path, environment)
    assert client.history("u1") == histories(shop_later)["u1"].append(*kept)


def test_an_emptied_store_is_filled_again(shop, tmp_path, environment, request):
    materialise(shop, tmp_path, environment)
    if environment == "redis":
        request.getfixturevalue("redis_server").command("FLUSHALL")
    else:
        for path in store_directory(tmp_path).glob("online.db*"):
            path.unlink()
    assert materialise(shop, tmp_path, environment)["written"] == 4
    assert FeatureStoreClient(tmp_path, environment).history("u1") == histories(shop)["u1"]


@pytest.mark.parametrize("moment", sorted(MOMENTS))
def test_a_kill_loses_nothing_and_a_rerun_completes(shop, shop_later, tmp_path, moment):
    kill_and_rerun(moment, shop, shop_later, tmp_path, "local")


def test_a_kill_with_redis_loses_nothing_and_a_rerun_completes(shop, shop_later, tmp_path, redis_server, monkeypatch):
    monkeypatch.setenv("TOWERLINE_REDIS", redis_server.address)
    kill_and_rerun("in the middle", shop, shop_later, tmp_path, "redis")


def kill_and_rerun(moment: str, shop: Path, shop_later: Path, tmp_path: Path, environment: str) -> None:
    materialise(shop, tmp_path, environment)
    client = FeatureStoreClient(tmp_path, environment)
    pushed = Search(client.history("u0").last_timestamp + 100 * HOUR_US, "pushed before the kill")
    client.push("u0", pushed)

    assert materialise_until_killed(moment, shop_later, tmp_path, environment) == -9

    old, new = histories(shop), histories(shop_later)
    reader = FeatureStoreClient(tmp_path, environment)
    for user in old:
        extra = [pushed] if user == "u0" else []
        whole = [old[user].append(*extra), new.get(user, History.empty()).append(*extra)]
        assert reader.history(user) in whole
    materialise(shop_later, tmp_path, environment)
    for user, history in new.items():
        assert reader.history(user) == (history.append(pushed) if user == "u0" else history)
    assert not reader.history("u3")
    assert not list(store_directory(tmp_path).glob(".*"))


def test_a_reader_sees_whole_histories_while_they_are_replaced(tmp_path, environment):
    """Two logs whose products name their version; a reader that saw a mixture would see both names in one history."""
    searches, events = three_days()
    versions = []
    for version in ("old", "new"):
        (tmp_path / version).mkdir()
        named = [{**one, "product_id": f"{version}-{one['product_id']}"} for one in events]
        asked = [{**one, "query": version} for one in searches]
        versions.append(sources_of(tmp_path / version, asked, named))
    exactly_the_log = json.dumps({"push_grace_seconds": 0})
    materialise(versions[0], tmp_path / "work", environment, exactly_the_log)
    client = FeatureStoreClient(tmp_path / "work", environment)
    client.warm()
    mixtures, reads, stop = [], [0], threading.Event()

    def read() -> None:
        while not stop.is_set():
            for user in ("u0", "u1", "u2", "u3"):
                history = client.history(user)
                names = {product_id.split("-")[0] for product_id in history.product_ids} | set(history.queries)
                reads[0] += 1
                if len(names) != 1:
                    mixtures.append(names)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(4):
            materialise(versions[(turn + 1) % 2], tmp_path / "work", environment, exactly_the_log)
    finally:
        stop.set()
        reader.join()
    assert reads[0] > 50
    assert mixtures == []


def test_two_materialisations_at_once_are_refused(shop, tmp_path):
    with workdir_lock(store_directory(tmp_path), "another one"), pytest.raises(WorkdirBusy, match="another one"):
        materialise(shop, tmp_path)


def test_missing_sources_and_unknown_environments_are_named(shop, tmp_path):
    with pytest.raises(NotFound, match=r"sources\.json is missing"):
        materialise(tmp_path / "nowhere", tmp_path)
    with pytest.raises(BadSetting, match="unknown feature environment 'mars'; use one of local, redis, cluster"):
        materialise(shop, tmp_path, "mars")


def test_an_environment_that_lacks_its_variable_is_named(shop, tmp_path, monkeypatch):
    monkeypatch.delenv("TOWERLINE_REDIS", raising=False)
    with pytest.raises(BadSetting, match="needs the variable TOWERLINE_REDIS"):
        materialise(shop, tmp_path, "redis")
