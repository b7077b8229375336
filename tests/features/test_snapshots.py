"""Snapshots computed in arrays are the histories of the events before each moment, and never see the future."""

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from components.features.history import ACTION_CODES, Behaviour, History
from components.features.settings import FeatureSettings
from components.features.snapshots import ShopperTracks
from tests.features.strategies import behaviours, events, moments, searches, shoppers, unhurried

SMALL = FeatureSettings(history_length=4, recent_queries=3, bought_products=2)
logs = st.lists(st.tuples(shoppers, behaviours | searches), max_size=40)


def tracks_of(log, settings: FeatureSettings = SMALL) -> ShopperTracks:
    done = [(user, one) for user, one in log if isinstance(one, Behaviour)]
    asked = [(user, one) for user, one in log if not isinstance(one, Behaviour)]
    behaviour_table = pa.table(
        {
            "user_id": pa.array([user for user, _ in done], pa.string()),
            "us": pa.array([one.timestamp for _, one in done], pa.int64()),
            "product_id": pa.array([one.product_id for _, one in done], pa.string()),
            "action": pa.array([ACTION_CODES[one.action] for _, one in done], pa.int8()),
        }
    )
    search_table = pa.table(
        {
            "user_id": pa.array([user for user, _ in asked], pa.string()),
            "us": pa.array([one.timestamp for _, one in asked], pa.int64()),
            "query": pa.array([one.query for _, one in asked], pa.string()),
        }
    )
    return ShopperTracks(behaviour_table, search_table, settings)


def history_in(row: dict) -> History:
    names = History.empty().as_lists()
    return History(**{name: row[name] for name in names})


def seen_at(log, user: str, now: int) -> History | None:
    rows = tracks_of(log).snapshots(pa.array([user]), np.array([now])).to_pylist()
    return history_in(rows[0]) if rows else None


BOUGHT_AGAIN = [("ann", Behaviour(1, "p1", "order")), ("ann", Behaviour(3, "p1", "order"))]


@unhurried
@given(logs, shoppers, moments)
@example(BOUGHT_AGAIN, "ann", 2)
def test_a_snapshot_is_the_history_of_the_events_strictly_before_the_moment(log, user, now):
    earlier = [one for owner, one in log if owner == user and one.timestamp < now]
    assert seen_at(log, user, now) == (History.of(earlier, SMALL) if earlier else None)


@unhurried
@given(logs, shoppers, moments, logs)
def test_events_at_or_after_the_moment_never_change_a_snapshot(log, user, now, future):
    past = [(owner, one) for owner, one in log if one.timestamp < now]
    changed = past + [(owner, one) for owner, one in future if one.timestamp >= now]
    assert seen_at(log, user, now) == seen_at(changed, user, now)


@unhurried
@given(logs)
def test_a_snapshot_becomes_available_just_after_the_last_thing_in_it(log):
    users = sorted({owner for owner, _ in log})
    ends = [(user, now) for user in users for now in range(14)]
    table = tracks_of(log).snapshots(
        pa.array([user for user, _ in ends], pa.string()), np.array([now for _, now in ends], dtype=np.int64)
    )
    keys = [(row["user_id"], row["available_at"]) for row in table.to_pylist()]
    expected = {
        (user, max(one.timestamp for owner, one in log if owner == user and one.timestamp < now) + 1)
        for user, now in ends
        if any(owner == user and one.timestamp < now for owner, one in log)
    }
    assert keys == sorted(expected)


@unhurried
@given(logs)
def test_the_latest_snapshot_of_each_shopper_is_the_whole_history(log):
    rows = tracks_of(log).latest().to_pylist()
    assert {row["user_id"]: history_in(row).as_lists() for row in rows} == {
        user: History.of([one for owner, one in log if owner == user], SMALL).as_lists() for user, _ in log
    }


@unhurried
@given(events, st.integers(min_value=1, max_value=12))
def test_a_late_event_changes_the_snapshots_after_it_and_none_before(happened, late_at):
    log = [("ann", one) for one in happened]
    late = [("ann", Behaviour(late_at, "late", "click"))]
    assert seen_at(log, "ann", late_at) == seen_at(log + late, "ann", late_at)
    after = seen_at(log + late, "ann", late_at + 1)
    assert after is not None
    assert after == History.of([one for one in happened if one.timestamp <= late_at], SMALL).append(
        late[0][1], settings=SMALL
    )
