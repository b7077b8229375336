"""The two cache designs: what is a hit, what is not, and what a promotion leaves."""

import numpy as np
import pytest

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


@pytest.mark.parametrize(
    "other",
    [
        SearchRequest("lamps", user_id="u1", k=5),
        SearchRequest("lamp", k=5),
        SearchRequest("lamp", user_id="u1", k=6),
        SearchRequest("lamp", user_id="u1", k=5, filter=(("brand", "Acme"),)),
        SearchRequest("lamp", user_id="u1", k=5, country="DE"),
    ],
)
def test_anything_the_tower_or_the_index_sees_is_in_the_key(by_features: World, other: SearchRequest) -> None:
    by_features.one(SearchRequest("lamp", user_id="u1", k=5))
    by_features.one(other)
    assert len(by_features.index.calls) == 2


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
    base = clicks("p1", "p2")
    carted = clicks("p1", "p2")
    object.__setattr__(carted, "actions", np.array([1, 3], np.int8))
    others = [clicks("p1"), clicks("p2", "p1"), carted, clicks("p1p2")]
    assert len({history_hash(history) for history in (base, *others)}) == 5
    assert history_hash(base) == history_hash(clicks("p1", "p2"))
