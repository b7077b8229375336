"""The two cache designs: what is a hit, what is not, and what a promotion leaves."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from components.features.history import History
from components.serving.cache import BoundedCache, Epochs
from components.serving.metrics import Metrics
from components.serving.replies import history_hash
from components.serving.requests import SearchRequest
from components.serving.rollout import ReleaseTable
from components.serving.settings import ServingSettings
from tests.serving.fakes import clicks, fake_release
from tests.serving.test_retrieval import World

WIDE = {"feature_budget_ms": 5000.0, "tower_budget_ms": 5000.0, "search_budget_ms": 5000.0}


@pytest.fixture
def by_features(metrics: Metrics) -> World:
    return World(metrics, ServingSettings(cache="features", **WIDE))


@pytest.fixture
def by_session(metrics: Metrics) -> World:
    return World(metrics, ServingSettings(cache="session", **WIDE))


def test_the_same_features_are_answered_without_tower_and_index(by_features: World) -> None:
    request = SearchRequest("lamp", user_id="u1", k=5)
    first, second = by_features.one(request), by_features.one(request)
    assert first == second
    assert len(by_features.tower.calls) == len(by_features.index.calls) == 1


def test_two_strangers_share_an_entry(by_features: World) -> None:
    """The key holds what the tower sees, not who asks."""
    by_features.one(SearchRequest("lamp", user_id="stranger", k=5))
    by_features.one(SearchRequest("lamp", k=5))
    assert len(by_features.tower.calls) == 1


ASKED = SearchRequest("lamp", user_id="u1", session_id="s1", k=5)


@pytest.mark.parametrize("cache", ["features", "session"])
@pytest.mark.parametrize(
    "changed",
    [{"query": "lamps"}, {"user_id": None}, {"k": 6}, {"filter": (("brand", "Acme"),)}, {"country": "DE"},
     {"relevance": False}],
)  # fmt: skip
def test_anything_the_tower_or_the_index_sees_is_in_the_key(metrics: Metrics, cache: str, changed: dict) -> None:
    world = World(metrics, ServingSettings(cache=cache, **WIDE))
    world.one(ASKED)
    assert world.retriever.cached(replace(ASKED, **changed)) is None
    world.one(replace(ASKED, **changed))
    assert len(world.index.calls) == 2


def test_windows_move_with_the_clock_so_a_shoppers_entry_ends_with_the_hour_and_a_strangers_does_not(
    by_features: World,
) -> None:
    hour = 3_600_000_000
    for moment in (500_000 * hour, 500_000 * hour + 1, 500_001 * hour):
        by_features.one(replace(ASKED, now=moment))
        by_features.one(SearchRequest("lamp", k=5, now=moment))
    assert len(by_features.tower.calls) == 3


def test_a_new_behaviour_is_another_key(by_features: World) -> None:
    before = by_features.one(SearchRequest("lamp", user_id="u1", k=5))
    by_features.store.of["u1"] = clicks("p3", "p4", "p7")
    after = by_features.one(SearchRequest("lamp", user_id="u1", k=5))
    assert "p7" in after.found.product_ids
    assert after != before


def test_a_promotion_invalidates(by_features: World) -> None:
    request = SearchRequest("lamp", k=5)
    by_features.one(request)
    by_features.table = ReleaseTable(fake_release("release-b"))
    by_features.retriever.replies.forget_other_releases(by_features.table)
    assert by_features.one(request).release == "release-b"
    by_features.table = ReleaseTable(fake_release("release-a", by_features.tower))
    by_features.one(request)
    assert len(by_features.tower.calls) == 2, "the entries of a retired release stay in memory"


@pytest.mark.parametrize("cache", ["features", "session"])
def test_a_canary_and_the_release_beside_it_share_no_entry(metrics: Metrics, cache: str) -> None:
    world = World(metrics, ServingSettings(cache=cache, **WIDE))
    world.table = ReleaseTable(fake_release("release-a"), canary=fake_release("release-b"), percent=50.0)
    for name in ("release-a", "release-b"):
        asked = replace(ASKED, release=name)
        assert world.one(asked).release == name
        assert world.retriever.cached(asked) is None or world.retriever.cached(asked).release == name


def test_a_session_is_answered_without_a_look_up_until_the_shopper_acts(by_session: World) -> None:
    request = SearchRequest("lamp", user_id="u1", session_id="s1", k=5)
    reply = by_session.one(request)
    assert by_session.retriever.cached(request) == reply
    by_session.retriever.replies.epochs.advance("u1")
    assert by_session.retriever.cached(request) is None


def test_a_session_entry_is_nobody_elses(by_session: World) -> None:
    by_session.one(SearchRequest("lamp", user_id="u1", session_id="s1", k=5))
    assert by_session.retriever.cached(SearchRequest("lamp", user_id="u2", session_id="s1", k=5)) is None
    assert by_session.retriever.cached(SearchRequest("lamp", user_id="u1", session_id="s2", k=5)) is None
    assert by_session.retriever.cached(SearchRequest("lamp", user_id="u1", k=5)) is None


def test_a_degraded_reply_is_never_kept(metrics: Metrics) -> None:
    world = World(metrics, ServingSettings(cache="both", breaker_failures=1000, **WIDE))
    request = SearchRequest("lamp", user_id="u1", session_id="s1", k=5)
    world.store.error = RuntimeError("gone")
    assert world.one(request).degraded
    world.store.error = None
    assert world.retriever.cached(request) is None
    assert not world.one(request).degraded


def test_a_shopper_whose_history_is_out_of_reach_is_told_so_although_a_stranger_asked_the_same(
    by_features: World,
) -> None:
    by_features.one(SearchRequest("lamp", k=5))
    by_features.store.error = RuntimeError("gone")
    assert by_features.one(SearchRequest("lamp", user_id="u1", k=5)).degraded


def test_entries_expire_and_the_oldest_give_way() -> None:
    now = 0.0
    cache: BoundedCache[int] = BoundedCache(2, 10.0, lambda: now)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    now = 11.0
    assert cache.get("a") is None
    assert len(cache) == 1


def test_an_epoch_pushed_out_never_comes_back() -> None:
    epochs = Epochs(entries=1)
    epochs.advance("u1")
    first = epochs.of("u1")
    epochs.advance("u2")
    epochs.advance("u1")
    assert epochs.of("u1") not in (0, first)
    assert epochs.of("u2") == 0


def test_the_hash_sees_every_part_of_a_history() -> None:
    base = History(["p1", "p2"], np.array([1, 1]), np.array([5, 6]), ["lamp", "rug"], np.array([3, 4]), ["p1"])
    changes: list[dict[str, Any]] = [
        {"product_ids": ["p2", "p1"]}, {"product_ids": ["p", "1p2"]}, {"actions": np.array([1, 3])},
        {"timestamps": np.array([5, 7])}, {"queries": ["lamp", "rugs"]}, {"queries": ["lampr", "ug"]},
        {"query_timestamps": np.array([2, 4])}, {"bought_product_ids": ["p2"]},
        {"bought_timestamps": np.array([2])},
    ]  # fmt: skip
    others = [replace(base, **change) for change in changes]
    assert len({history_hash(history) for history in (base, *others)}) == 1 + len(others)
    assert history_hash(base) == history_hash(replace(base))
