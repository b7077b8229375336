"""The windows of MGDSPR: which behaviour belongs to which, for one shopper and for many."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.features.history import ACTION_CODES, Behaviour, History, Search
from components.features.settings import FeatureSettings
from components.features.windows import DAY_US, Windows, behaviour_windows, cut_windows
from tests.features.strategies import behaviours, unhurried

SMALL = FeatureSettings(
    real_time_length=2, short_term_length=2, short_term_days=3, long_term_length=3, long_term_days=8
)
NOW = 40 * DAY_US

days_ago = st.integers(min_value=-2, max_value=12)
histories = st.lists(st.tuples(days_ago, st.sampled_from("abcdef"), st.sampled_from(sorted(ACTION_CODES))), max_size=25)


def history_of(rows) -> History:
    return History.of([Behaviour(NOW - days * DAY_US, product, action) for days, product, action in rows])


def by_definition(history: History, now: int, settings: FeatureSettings) -> Windows:
    """The windows in plain words, one behaviour at a time from the newest to the oldest."""
    real, short, long = [], [], {action: [] for action in ACTION_CODES}
    names = {code: action for action, code in ACTION_CODES.items()}
    for place in reversed(range(len(history))):
        age, product = now - int(history.timestamps[place]), history.product_ids[place]
        action = names[int(history.actions[place])]
        if age <= 0:
            continue
        if action == "click" and len(real) < settings.real_time_length:
            real.append(product)
        elif action == "click" and len(short) < settings.short_term_length and age <= settings.short_term_days * DAY_US:
            short.append(product)
        elif len(long[action]) < settings.long_term_length and age <= settings.long_term_days * DAY_US:
            long[action].append(product)
    seen = history.before(now)
    oldest_first = {action: products[::-1] for action, products in long.items()}
    return Windows(real[::-1], short[::-1], oldest_first, seen.queries, seen.bought_product_ids)


@unhurried
@given(histories)
def test_windows_are_what_their_definition_says(rows):
    history = history_of(rows)
    assert behaviour_windows(history, NOW, SMALL) == by_definition(history, NOW, SMALL)


@unhurried
@given(histories, st.lists(behaviours, max_size=5))
def test_nothing_at_or_after_the_moment_changes_a_window(rows, later):
    past = history_of([row for row in rows if row[0] > 0])
    future = past.append(*(Behaviour(NOW + one.timestamp, one.product_id, one.action) for one in later))
    assert future.before(NOW).product_ids == past.product_ids
    before, after = behaviour_windows(past, NOW, SMALL), behaviour_windows(future, NOW, SMALL)
    assert (before.real_time, before.short_term, before.long_term) == (
        after.real_time,
        after.short_term,
        after.long_term,
    )


@unhurried
@given(st.lists(st.tuples(histories, st.integers(min_value=0, max_value=6)), max_size=6))
def test_many_shoppers_at_once_equal_each_alone(shoppers):
    all_of = [(history_of(rows), NOW - days * DAY_US) for rows, days in shoppers]
    offsets = np.cumsum([0] + [len(history) for history, _ in all_of])
    products = [product for history, _ in all_of for product in history.product_ids]
    together = cut_windows(
        offsets,
        np.concatenate([np.zeros(0, np.int8)] + [history.actions for history, _ in all_of]),
        np.concatenate([np.zeros(0, np.int64)] + [history.timestamps for history, _ in all_of]),
        np.array([now for _, now in all_of], dtype=np.int64),
        SMALL,
    )
    for row, (history, now) in enumerate(all_of):
        alone = behaviour_windows(history, now, SMALL)
        assert [products[i] for i in together.real_time.row(row)] == alone.real_time
        assert [products[i] for i in together.short_term.row(row)] == alone.short_term
        for action, window in together.long_term.items():
            assert [products[i] for i in window.row(row)] == alone.long_term[action]


def test_the_papers_lengths_are_the_defaults():
    hour = DAY_US // 24
    history = History.of(
        [Behaviour(NOW - step * hour, f"p{step}", "click") for step in range(1, 290)],
        FeatureSettings(),
    )
    windows = behaviour_windows(history, NOW)
    assert len(windows.real_time) == 50
    assert windows.real_time[-1] == "p1"
    assert len(windows.short_term) == 100
    assert windows.short_term[-1] == "p51"
    assert len(windows.long_term["click"]) == 100
    assert windows.long_term["click"][-1] == "p151"


def test_a_purchase_of_yesterday_is_in_the_long_term_window():
    history = History.of([Behaviour(NOW - DAY_US, "bought", "order"), Search(NOW - 1, "lamp"), Search(NOW, "later")])
    windows = behaviour_windows(history, NOW)
    assert windows.long_term["order"] == ["bought"]
    assert windows.bought == ["bought"]
    assert windows.queries == ["lamp"]


def test_an_age_limit_on_the_real_time_window_moves_older_clicks_to_the_others():
    history = History.of([Behaviour(NOW - days * DAY_US, f"p{days}", "click") for days in (1, 5, 20, 60)])
    limited = behaviour_windows(history, NOW, FeatureSettings(real_time_days=2))
    assert limited.real_time == ["p1"]
    assert limited.short_term == ["p5"]
    assert limited.long_term["click"] == ["p20"]
    assert behaviour_windows(history, NOW).real_time == ["p60", "p20", "p5", "p1"]
