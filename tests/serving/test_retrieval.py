"""The request path: what a shopper gets when all is well, and what when a part of it fails."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from components.common.errors import BadInput, NotFound, TowerlineError
from components.serving.errors import BadRequest, DependencyDown
from components.serving.metrics import Metrics
from components.serving.replies import Reply
from components.serving.requests import SearchRequest
from components.serving.retrieval import Retriever
from components.serving.rollout import ReleaseTable
from components.serving.settings import ServingSettings
from components.serving.under_way import Embedding
from tests.serving.fakes import DIMENSION, FakeIndex, FakeStore, FakeTower, brand_of, clicks, fake_release

NO_CACHE = ServingSettings(
    cache="off", feature_budget_ms=5000, tower_budget_ms=5000, search_budget_ms=5000, breaker_failures=1000
)


class World:
    """A retriever on fakes."""

    def __init__(self, metrics: Metrics, settings: ServingSettings = NO_CACHE) -> None:
        self.store = FakeStore({"u1": clicks("p3", "p4"), "poisoned": clicks("p13")})
        self.tower, self.index = FakeTower(fail_on=frozenset({"p13"})), FakeIndex()
        self.table = ReleaseTable(fake_release("release-a", self.tower, self.index))
        self.outcomes: list[tuple[str, bool]] = []
        self.retriever = Retriever(
            lambda: self.table, self.store, settings, metrics, lambda r, f, s: self.outcomes.append((r, f)),
        )  # fmt: skip

    def ask(self, *requests: SearchRequest) -> list[Reply | TowerlineError]:
        return self.retriever.answer(requests)

    def one(self, request: SearchRequest) -> Reply:
        (answer,) = self.ask(request)
        assert isinstance(answer, Reply), answer
        return answer


@pytest.fixture
def world(metrics: Metrics) -> World:
    return World(metrics)


def test_the_best_k_products_come_back_under_the_name_of_the_release(world: World) -> None:
    reply = world.one(SearchRequest("lamp", k=5))
    scores = (
        world.index.vectors
        @ world.tower.encode([world.table.stable.make_request(SearchRequest("lamp"), clicks(), 0)])[0]
    )
    assert reply.found.product_ids == tuple(f"p{row}" for row in np.argsort(-scores)[:5])
    assert list(reply.found.scores) == sorted(reply.found.scores, reverse=True)
    assert (reply.release, reply.degraded) == ("release-a", ())
    assert reply.body()["degraded"] is False


def test_a_history_moves_the_products_towards_it(world: World) -> None:
    """The same query, personalised: what was clicked comes up."""
    known = world.one(SearchRequest("lamp", user_id="u1", k=5)).found.product_ids
    anonymous = world.one(SearchRequest("lamp", k=50)).found.product_ids
    assert {"p3", "p4"} <= set(known)
    assert max(anonymous.index(item) for item in ("p3", "p4")) > 4


def test_an_unknown_shopper_is_a_cold_one(world: World) -> None:
    assert world.one(SearchRequest("lamp", user_id="nobody", k=5)) == world.one(SearchRequest("lamp", k=5))


def test_a_history_brought_along_needs_no_store(world: World) -> None:
    """As a transformer or the smoke test send it; the answer equals that of the look-up."""
    brought = clicks("p3", "p4").as_lists()
    given = world.one(SearchRequest("lamp", history=brought, k=5))
    assert world.store.reads == 0
    assert given == world.one(SearchRequest("lamp", user_id="u1", k=5))


def test_a_batch_is_one_call_of_store_tower_and_index(world: World) -> None:
    """And every reply equals the one its request gets alone."""
    requests = [SearchRequest("lamp", user_id="u1", k=3), SearchRequest("shoes", k=7), SearchRequest("lamp", k=1)]
    together = world.ask(*requests)
    assert (world.store.reads, world.tower.calls) == (1, [3])
    assert world.index.calls == [3]
    assert together == [world.one(request) for request in requests]


def test_a_filter_is_kept_and_an_unknown_value_matches_nothing(world: World) -> None:
    found = world.one(SearchRequest("lamp", k=10, filter=(("brand", "Levi's"),))).found.product_ids
    assert {brand_of(int(item[1:])) for item in found} == {"Levi's"}
    assert world.one(SearchRequest("lamp", filter=(("brand", "Nobody"),))).found.product_ids == ()


@pytest.mark.parametrize(("name", "value", "said"), [("country", "DE", "country"), ("price_max", 20.0, "price")])
def test_a_filter_by_what_the_whole_catalogue_lacks_is_refused(
    metrics: Metrics, name: str, value: object, said: str
) -> None:
    """An empty list would not say that every search with it is in vain."""
    world = World(metrics)
    world.table = ReleaseTable(fake_release("release-a", world.tower, world.index, absent=frozenset({name})))
    (answer,) = world.ask(SearchRequest("lamp", filter=((name, value),)))
    assert isinstance(answer, BadRequest)
    assert f"the catalogue of release release-a has no {said}" in str(answer)
    assert world.one(SearchRequest("lamp", filter=(("brand", "Acme"),))).found.product_ids


@pytest.mark.parametrize("value", ["' or 1 == 1", "x'; drop", "brand in [1]", 'a" or true', "{ids}", "%"])
def test_a_filter_value_with_operators_that_no_product_has_is_refused(world: World, value: str) -> None:
    """It never reaches the index."""
    (answer,) = world.ask(SearchRequest("lamp", filter=(("brand", value),)))
    assert isinstance(answer, BadRequest)
    assert world.index.calls == []


def test_key_terms_of_the_query_drop_products_that_contradict_them(world: World) -> None:
    found = world.one(SearchRequest("acme lamp", k=5)).found.product_ids
    assert {brand_of(int(item[1:])) for item in found} == {"Acme"}


def test_a_store_that_fails_makes_the_shopper_anonymous_and_says_so(world: World) -> None:
    world.store.error = RuntimeError("gone")
    reply = world.one(SearchRequest("lamp", user_id="u1", k=5))
    assert reply.found == world.one(SearchRequest("lamp", k=5)).found
    assert len(reply.degraded) == 1
    assert reply.degraded[0] == "features: failed (RuntimeError); searched as anonymous"


def test_a_store_past_its_budget_does_not_hold_the_request_up(metrics: Metrics) -> None:
    world = World(metrics, replace(NO_CACHE, feature_budget_ms=30))
    go_on = threading.Event()
    world.store.histories = lambda users: go_on.wait(30)  # type: ignore[method-assign,assignment,return-value]
    reply = world.one(SearchRequest("lamp", user_id="u1", k=5))
    assert "no answer in 30 ms" in reply.degraded[0]
    assert world.one(SearchRequest("lamp", k=5)).degraded == ()
    go_on.set()


def test_a_history_the_tower_cannot_stand_falls_back_to_anonymous_without_touching_its_batch_mates(
    world: World,
) -> None:
    poisoned, fine = world.ask(SearchRequest("lamp", user_id="poisoned", k=5), SearchRequest("lamp", user_id="u1", k=5))
    assert isinstance(poisoned, Reply)
    assert isinstance(fine, Reply)
    assert poisoned.degraded[0].startswith("tower:")
    assert poisoned.found == world.one(SearchRequest("lamp", k=5)).found
    assert fine == world.one(SearchRequest("lamp", user_id="u1", k=5))


def test_an_index_that_fails_is_answered_from_the_last_good_result(world: World) -> None:
    """The shopper's own if there is one, else an anonymous one, never another shopper's; else an error."""
    personal = world.one(SearchRequest("lamp", user_id="u1", k=5))
    anonymous = world.one(SearchRequest("shoes", k=5))
    world.index.error = RuntimeError("collection not loaded")
    own = world.one(SearchRequest("lamp", user_id="u1", k=3))
    assert own.found.product_ids == personal.found.product_ids[:3]
    assert "last good result" in own.degraded[0]
    assert world.one(SearchRequest("shoes", user_id="u1", k=5)).found == anonymous.found
    (never,) = world.ask(SearchRequest("lamp", k=5))
    assert isinstance(never, DependencyDown)


def test_a_tower_past_its_budget_is_not_asked_again(metrics: Metrics) -> None:
    """Trying each request of the batch by itself would only add to the load."""
    world = World(metrics, replace(NO_CACHE, tower_budget_ms=30))
    world.tower.seconds = 0.3
    answers = world.ask(SearchRequest("lamp", user_id="u1", k=5), SearchRequest("shoes", k=5))
    assert all(isinstance(answer, DependencyDown) for answer in answers)
    assert world.tower.calls == [2]


def test_a_request_the_index_refuses_is_told_so_and_not_answered_from_the_last_good_result(world: World) -> None:
    world.one(SearchRequest("lamp", k=5))
    world.index.error = BadInput("this filter cannot be searched")
    (answer,) = world.ask(SearchRequest("lamp", k=5))
    assert isinstance(answer, BadInput)
    assert world.outcomes == [("release-a", False)], "a wrong request is no failure of the release"


def test_a_request_that_names_a_release_is_never_answered_from_the_last_good_result_of_another(world: World) -> None:
    beside = fake_release("release-b", world.tower, world.index)
    world.table = ReleaseTable(world.table.stable, canary=beside, percent=50.0)
    world.one(SearchRequest("lamp", k=5, release="release-a"))
    world.index.error = RuntimeError("collection not loaded")
    assert world.one(SearchRequest("lamp", k=5, release="release-a")).release == "release-a"
    (other,) = world.ask(SearchRequest("lamp", k=5, release="release-b"))
    assert isinstance(other, DependencyDown)


def test_a_tower_that_fails_altogether_is_answered_from_the_last_good_result(world: World) -> None:
    before = world.one(SearchRequest("lamp", k=5))
    world.tower.encode = lambda requests: np.full((len(requests), DIMENSION), np.nan)  # type: ignore[method-assign]
    after = world.one(SearchRequest("lamp", k=5))
    assert after.found == before.found
    assert after.degraded[0].startswith("tower: failed")


def test_an_embedding_names_the_release_of_its_tower(world: World) -> None:
    (made,) = world.retriever.embed([SearchRequest("lamp")])
    assert isinstance(made, Embedding)
    assert made.release == "release-a"
    assert np.linalg.norm(made.vector) == pytest.approx(1.0, abs=1e-6)


def test_a_request_for_a_release_that_is_not_loaded_is_told_which_are(world: World) -> None:
    (answer,) = world.ask(SearchRequest("lamp", release="release-z"))
    assert isinstance(answer, NotFound)
    assert "release-a (stable)" in str(answer)


def test_outcomes_reach_the_canary_budget(world: World) -> None:
    """A fallen-back look-up is not the release's fault; a failed index is."""
    world.store.error = RuntimeError("gone")
    world.ask(SearchRequest("lamp", user_id="u1"))
    world.index.error = RuntimeError("gone")
    world.ask(SearchRequest("new query"))
    assert world.outcomes == [("release-a", False), ("release-a", True)]
