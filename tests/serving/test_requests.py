"""What a request may say, and the sentence it gets when it says something else."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.serving.errors import BadRequest
from components.serving.events import parse_events
from components.serving.requests import SearchRequest, parse_instance, parse_predict
from components.serving.settings import ServingSettings

SETTINGS = ServingSettings()
NOW = 1_700_000_000_000_000

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def test_a_full_request_becomes_typed() -> None:
    """Every field arrives at its place, trimmed."""
    (request,) = parse_predict(
        {
            "instances": [
                {
                    "query": " red shoes ", "user_id": "u1", "k": 7, "session_id": "s", "latitude": 1,
                    "longitude": -2.5, "country": "DE", "now": NOW,
                    "filter": {"brand": "Levi's", "price_max": 20, "in_stock": True},
                    "history": {"product_ids": ["p"], "actions": ["cart"], "timestamps": [NOW - 1]},
                }
            ]
        },
        SETTINGS,
    )  # fmt: skip
    assert (request.query, request.user_id, request.k, request.session_id) == ("red shoes", "u1", 7, "s")
    assert request.filter == (("brand", "Levi's"), ("in_stock", True), ("price_max", 20.0))
    assert request.place == (1.0, -2.5, "DE")
    assert request.history is not None
    assert request.history["actions"] == [3]
    assert request.now == NOW


def test_a_query_alone_is_enough() -> None:
    """Everything else has a default; a blank user is nobody."""
    (request,) = parse_predict({"instances": [{"query": "lamp", "user_id": " ", "filter": None}]}, SETTINGS)
    assert (request.k, request.user_id, request.filter, request.history) == (SETTINGS.default_k, None, (), None)


@pytest.mark.parametrize(
    ("instance", "named"),
    [
        ({}, '"query"'),
        ({"query": "x", "qeury": 1}, "did you mean 'query'"),
        ({"query": "x", "k": 0}, '"k"'),
        ({"query": "x", "filter": {"price_min": 3, "price_max": 2}}, "price_min"),
        ({"query": "x", "history": {"product_ids": ["a"]}}, "as many actions"),
        ({"query": "a\x00b"}, "U+0000"),
        ({"query": "\ud800"}, "surrogate"),
    ],
)
def test_the_sentence_names_what_is_wrong(instance: dict, named: str) -> None:
    """A client can mend its request from the sentence alone."""
    with pytest.raises(BadRequest, match="instances") as caught:
        parse_predict({"instances": [instance]}, SETTINGS)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def outcome(parse: Callable[[], list[SearchRequest]]) -> list[SearchRequest] | str:
    """The requests, or the sentence they were refused with."""
    try:
        return parse()
    except BadRequest as error:
        return str(error)


@given(json_values)
def test_any_json_is_typed_or_refused_with_a_sentence(body: object) -> None:
    """No JSON value gets past the parser as anything but a request or a BadRequest."""
    for value in (body, {"instances": body}, {"instances": [body]}):
        found = outcome(lambda value=value: parse_predict(value, SETTINGS))
        assert 0 < len(found) < 1000
        assert isinstance(found, str) or all(request.query for request in found)


@given(st.dictionaries(st.sampled_from(["query", "k", "filter", "history", "latitude", "now"]), json_values))
def test_any_field_value_is_typed_or_refused(instance: dict) -> None:
    """The same, field by field."""
    found = outcome(lambda: [parse_instance(instance, "instances[0]", SETTINGS)])
    assert found[0].query if isinstance(found, list) else found.startswith("instances[0]")


def test_an_event_is_a_behaviour_or_a_search() -> None:
    """Both kinds are read, with the clock as the default moment and ISO 8601 understood."""
    click, search = parse_events(
        {
            "events": [
                {"user_id": "u", "product_id": "p", "action": "click"},
                {"user_id": "u", "query": "lamp", "timestamp": "2023-11-14T22:13:20Z"},
            ]
        },
        SETTINGS,
        NOW + 5,
    )
    assert (click.action, click.product_id, click.timestamp) == ("click", "p", NOW + 5)
    assert (search.action, search.query, search.timestamp) == ("search", "lamp", NOW)


def test_an_event_ahead_of_the_clock_counts_as_now() -> None:
    """Clocks differ, and a search never looks ahead of its own: the event must not be invisible."""
    event = {"user_id": "u", "product_id": "p", "action": "click", "timestamp": NOW + 60_000_000}
    assert parse_events(event, SETTINGS, NOW)[0].timestamp == NOW


def test_an_event_of_this_moment_counts_as_now_where_the_release_lives_in_an_old_log() -> None:
    """The release's clock then stands far behind the shoppers' devices."""
    event = {"user_id": "u", "product_id": "p", "action": "click", "timestamp": time.time_ns() // 1000}
    assert parse_events(event, SETTINGS, NOW)[0].timestamp == NOW


@pytest.mark.parametrize(
    "event",
    [
        {}, [], "click", {"user_id": "u", "product_id": "p", "action": "impression"},
        {"user_id": "u", "product_id": "p"}, {"user_id": "", "product_id": "p", "action": "click"},
        {"user_id": "u", "product_id": "p", "action": "click", "timestamp": NOW * 10},
        {"user_id": "u", "product_id": "p", "action": "click", "timestamp": "yesterday"},
        {"user_id": "u", "product_id": "p", "action": "click", "timestamp": "2023-11-14T22:13:20"},
        {"user_id": "u", "product_id": "p", "query": "x"}, {"events": []}, {"events": [1]},
    ],
)  # fmt: skip
def test_an_event_that_is_neither_is_refused(event: object) -> None:
    """Also an event from the far future, which would hide every later one."""
    with pytest.raises(BadRequest):
        parse_events(event, SETTINGS, NOW)
