"""A history is the latest part of a set of events, however and whenever they came."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.common.errors import BadInput
from components.features.history import ACTION_CODES, Behaviour, History, Search
from components.features.settings import FeatureSettings
from tests.features.strategies import events, moments, unhurried

SMALL = FeatureSettings(history_length=4, recent_queries=3, bought_products=2)


def by_definition(happened, settings: FeatureSettings) -> dict[str, list]:
    """The history in plain words: distinct events in the order (time, product, action), the last N of them."""
    done = sorted({(e.timestamp, e.product_id, ACTION_CODES[e.action]) for e in happened if isinstance(e, Behaviour)})
    asked = sorted({(e.timestamp, e.query) for e in happened if isinstance(e, Search)})[-settings.recent_queries :]
    bought: dict[str, int] = {}
    for time, product_id, action in done:
        if action == ACTION_CODES["order"]:
            bought[product_id] = time
    last_bought = sorted((time, product_id) for product_id, time in bought.items())[-settings.bought_products :]
    done = done[-settings.history_length :]
    return {
        "product_ids": [product_id for _, product_id, _ in done],
        "actions": [action for _, _, action in done],
        "timestamps": [time for time, _, _ in done],
        "queries": [query for _, query in asked],
        "query_timestamps": [time for time, _ in asked],
        "bought_product_ids": [product_id for _, product_id in last_bought],
        "bought_timestamps": [time for time, _ in last_bought],
    }


@unhurried
@given(events)
def test_a_history_is_what_its_definition_says(happened):
    assert History.of(happened, SMALL).as_lists() == by_definition(happened, SMALL)


@unhurried
@given(events, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(happened, random):
    shuffled = list(happened)
    random.shuffle(shuffled)
    grown = History.empty()
    for one in shuffled:
        grown = grown.append(one, settings=SMALL)
    assert grown == History.of(happened, SMALL)


@unhurried
@given(events, events)
def test_merging_histories_equals_the_history_of_all_events(some, others):
    merged = History.of(some, SMALL).merge(History.of(others, SMALL), SMALL)
    assert merged == History.of(some + others, SMALL)


@unhurried
@given(events)
def test_an_event_that_comes_twice_counts_once(happened):
    once = History.of(happened, SMALL)
    assert once.append(*happened, settings=SMALL) == once


@unhurried
@given(events, moments)
def test_before_keeps_only_what_happened_strictly_earlier(happened, now):
    seen = History.of(happened).before(now)
    expected = by_definition([one for one in happened if one.timestamp < now], FeatureSettings())
    again = {one.product_id for one in happened if isinstance(one, Behaviour) and one.timestamp >= now}
    for name in ("product_ids", "actions", "timestamps", "queries", "query_timestamps"):
        assert seen.as_lists()[name] == expected[name]
    assert set(expected["bought_product_ids"]) - again <= set(seen.bought_product_ids)
    assert set(seen.bought_product_ids) <= set(expected["bought_product_ids"])


@unhurried
@given(events, moments)
def test_what_happened_before_a_moment_and_since_it_is_everything(happened, now):
    history = History.of(happened)
    assert history.before(now).merge(history.since(now)) == history


@unhurried
@given(events)
def test_a_row_of_the_examples_gives_the_history_back(happened):
    history = History.of(happened)
    lists = history.as_lists()
    names = {"bought_product_ids": "bought_product_ids", "bought_timestamps": "bought_timestamps"}
    row = {names.get(name, f"history_{name}"): values for name, values in lists.items()}
    assert History.from_row(row) == history


def test_nothing_known_is_an_empty_history_and_false():
    assert not History.empty()
    assert History.empty().last_timestamp is None
    assert History.of([Search(5, "lamp")])


def test_an_impression_is_no_behaviour():
    with pytest.raises(BadInput, match="'impression' on product 'p1' is not a behaviour"):
        History.empty().append(Behaviour(1, "p1", "impression"))


def test_parallel_arrays_of_different_length_are_refused():
    with pytest.raises(BadInput, match="differ in length"):
        History(["p1"], np.zeros(2, np.int8), np.zeros(1, np.int64))
