"""A day of searches and events against a baseline: volumes, hours, queries, clicks, conversion, mixes."""

from collections.abc import Iterable

import numpy as np

from components.logs.contract import ACTIONS
from components.validation.alarms import STOP, Finding
from components.validation.baseline import Baseline
from components.validation.comparison import (
    distribution_gap,
    divergence,
    largest_moves,
    percent,
    rate_change,
    severity,
    share_change,
    volume_change,
)
from components.validation.identity import Catalogue
from components.validation.settings import ValidationSettings
from components.validation.sketches import Quantiles
from components.validation.summaries import POSITIONS, Summary

_ENOUGH = 30
_ENGAGED = 4.0  # clicks and what follows come in smaller groups than impressions
_SILENT = 12  # searches expected in hours that hold none: by chance this happens once in 160,000 such runs


def searches_drift(
    day: str, now: Summary, base: Baseline, catalogue: Catalogue, settings: ValidationSettings
) -> Iterable[Finding]:
    """Findings on one day of searches, or on a whole log; without `daily` figures no volume is compared."""
    before = base.searches
    if before is None:
        return
    if base.daily["searches"]:
        times, usual = volume_change(now.rows, [float(hours.sum()) for hours in base.daily["searches"]])
        if level := severity(times, settings.searches_volume):
            a_day = f"the {usual:,.0f} of a day in {base.label}"
            yield Finding(
                "search_volume", f"{day} has {now.rows:,} searches, {_times(now.rows, usual)} {a_day}.", level
            )
    if min(now.rows, before.rows) < settings.sample_minimum:
        return
    new, old = now.quantiles["query_length"], before.quantiles["query_length"]
    if level := severity(distribution_gap(new, old), settings.searches_query_length):
        text = (
            f"Queries of {day} are {_mean(new):.1f} words long on average against {_mean(old):.1f} in {base.label}; "
            f"the distributions differ by {new.gap(old):.2f}."
        )
        yield Finding("query_length", text, level)
    yield from _unknown_words(day, now, base, catalogue, settings)


def _unknown_words(
    day: str, now: Summary, base: Baseline, catalogue: Catalogue, settings: ValidationSettings
) -> Iterable[Finding]:
    missing, total = catalogue.unknown_share(now.counts["query_words"])
    base_missing, base_total = base.unknown
    if not total or not base_total or share_change(missing, total, base_missing, base_total) == 1.0:
        return
    rise = missing / total - base_missing / base_total
    if level := severity(rise, settings.searches_unknown_words):
        text = (
            f"{percent(missing / total)} of the query words of {day} occur nowhere in the catalogue, against "
            f"{percent(base_missing / base_total)} in {base.label}."
        )
        yield Finding("unknown_words", text, level)


def events_drift(
    day: str, now: Summary, base: Baseline, catalogue: Catalogue, settings: ValidationSettings, searches: int
) -> Iterable[Finding]:
    """Findings on one day of events, or on a whole log; `searches` is the number of searches they answer."""
    before = base.events
    if before is None:
        return
    if base.daily["events"]:
        yield from _volumes(day, now, base, settings)
    if min(now.rows, before.rows) < settings.sample_minimum:
        return
    cluster = max(1.0, now.rows / max(searches, 1))
    if base.daily["events"]:
        yield from _hours(day, now, before, base, settings, cluster)
    yield from _click_through(day, now, before, base.label, settings)
    yield from _conversion(day, now, before, base.label, settings)
    yield from _mixes(day, now, base, catalogue, settings, cluster)


def _volumes(day: str, now: Summary, base: Baseline, settings: ValidationSettings) -> Iterable[Finding]:
    actions = now.figures["hours"].sum(axis=1)
    daily = np.array([hours.sum(axis=1) for hours in base.daily["events"]])
    for code, action in enumerate(ACTIONS):
        times, usual = volume_change(actions[code], daily[:, code].tolist())
        level = severity(times, settings.events_volume)
        if level and max(usual, actions[code]) >= _ENOUGH:
            text = (
                f"{day} has {actions[code]:,} events {action!r}, {_times(actions[code], usual)} the {usual:,.0f} of a "
                f"day in {base.label}."
            )
            yield Finding("event_volume", text, level)


def _hours(
    day: str, now: Summary, before: Summary, base: Baseline, settings: ValidationSettings, cluster: float
) -> Iterable[Finding]:
    hours, usual = now.figures["hours"].sum(axis=0), before.figures["hours"].sum(axis=0)
    share = usual / usual.sum()
    expected = usual / len(base.daily["events"]) / cluster
    runs = [run for run in _runs(np.flatnonzero(hours == 0)) if expected[run].sum() > _SILENT]
    missing = float(sum(share[run].sum() for run in runs))
    if level := severity(missing, settings.events_missing_hours):
        text = (
            f"{day} holds no events in the hours {_ranges(runs)} UTC, which usually carry "
            f"{percent(missing)} of a day in {base.label}; the day is incomplete."
        )
        yield Finding("missing_hours", text, level)
    if level == STOP:
        return  # the remaining hours' profile says the same once more
    profiles = [("events", now.figures["hours"].sum(axis=0), usual, cluster)]
    profiles += [
        (f"events {action!r}", now.figures["hours"][code], before.figures["hours"][code], max(1.0, cluster / _ENGAGED))
        for code, action in enumerate(ACTIONS)
        if code and now.figures["hours"][code].sum() >= settings.sample_minimum
    ]
    for noun, today, past_hours, together in profiles:
        counts, past = _named(today), _named(past_hours)
        moved = divergence(counts, past, together)
        if noun == "events":
            moved -= _natural([_named(item.sum(axis=0)) for item in base.daily["events"]], together)
        if level := severity(moved, settings.events_hours):
            moves = largest_moves(counts, past)
            text = f"The {noun} of {day} spread over the hours otherwise than in {base.label}: {moves}."
            yield Finding("hour_profile", text, level)
            return


def _click_through(
    day: str, now: Summary, before: Summary, label: str, settings: ValidationSettings
) -> Iterable[Finding]:
    one, two = now.figures["positions"], before.figures["positions"]
    worst = (1.0, "", "")
    for bucket, first in enumerate(POSITIONS):
        clicks, shown = int(one[1, bucket]), int(one[0, bucket])
        old_clicks, old_shown = int(two[1, bucket]), int(two[0, bucket])
        expected = old_clicks / old_shown * shown if old_shown else 0.0
        if max(expected, clicks) < _ENOUGH or not shown:
            continue
        change = rate_change(clicks, shown, old_clicks, max(old_shown, 1))
        text = f"{percent(clicks / shown)} against {percent(old_clicks / max(old_shown, 1))}"
        if change > worst[0]:
            worst = (change, f"positions from {first}", text)
    if level := severity(worst[0], settings.events_click_through):
        text = f"Clicks per impression at {worst[1]} on {day} are {worst[2]} in {label}."
        yield Finding("click_through", text, level)


def _conversion(day: str, now: Summary, before: Summary, label: str, settings: ValidationSettings) -> Iterable[Finding]:
    one, two = now.figures["hours"].sum(axis=1), before.figures["hours"].sum(axis=1)
    for action in ("favourite", "cart", "order"):
        code = ACTIONS.index(action)
        expected = two[code] / two[1] * one[1] if two[1] else 0.0
        if max(expected, one[code]) < _ENOUGH or not one[1] or not two[1]:
            continue
        change = rate_change(one[code], one[1], two[code], two[1])
        if level := severity(change, settings.events_conversion):
            rate, usual = one[code] / one[1], two[code] / two[1]
            text = f"{day} has {rate:.3f} events {action!r} a click, against {usual:.3f} in {label}."
            yield Finding("conversion", text, level)


def _mixes(
    day: str, now: Summary, base: Baseline, catalogue: Catalogue, settings: ValidationSettings, cluster: float
) -> Iterable[Finding]:
    if base.mix is None:
        return
    current, past = (catalogue.named(mix) for mix in (catalogue.mix(now.counts["product_id"]), base.mix))
    parts = (
        ("traffic_categories", settings.events_category_mix, "categories"),
        ("traffic_brands", settings.events_brand_mix, "brands"),
    )
    for place, (name, limits, noun) in enumerate(parts):
        moved = divergence(current[place], past[place], cluster)
        if severity(moved, limits):
            moved -= _natural([catalogue.named(mix)[place] for mix in base.mixes], cluster)
        if level := severity(moved, limits):
            moves = largest_moves(current[place], past[place])
            yield Finding(name, f"Events of {day} go to other {noun} than in {base.label}: {moves}.", level)


def null_drift(
    name: str, table: str, now: Summary, before: Summary, label: str, limits: tuple[float, ...]
) -> Iterable[Finding]:
    """Findings on optional columns that became empty; `name` says what is new: a day, or the catalogue."""
    for column, nulls in sorted(now.nulls.items()):
        if not now.rows or not before.rows:
            continue
        share, usual = nulls / now.rows, before.nulls.get(column, 0) / before.rows
        if level := severity(share - usual, limits):
            now_text, old_text = percent(share), percent(usual)
            text = f"Table {table}: {now_text} of {column} are null in {name}, against {old_text} in {label}."
            yield Finding("null_share", text, level)


def _natural(days: list[dict[str, float]], cluster: float) -> float:
    """What the mix moves from day to day anyway: the median divergence of neighbouring days, from 3 days on."""
    if len(days) < 3:
        return 0.0
    return float(np.median([divergence(one, two, cluster) for one, two in zip(days[1:], days[:-1], strict=True)]))


def _named(hours: np.ndarray) -> dict[str, float]:
    return {f"{hour}:00": float(count) for hour, count in enumerate(hours)}


def _times(count: float, usual: float) -> str:
    return "none of" if count == 0 else f"{count / usual:.2g} times" if usual else "against"


def _mean(values: Quantiles) -> float:
    return float((values.values * values.weights).sum() / values.rows)


def _runs(hours: np.ndarray) -> list[np.ndarray]:
    """Ascending hours split where one is skipped."""
    return np.split(hours, np.flatnonzero(np.diff(hours) > 1) + 1) if len(hours) else []


def _ranges(groups: list[np.ndarray]) -> str:
    return ", ".join(f"{g[0]}" if len(g) == 1 else f"{g[0]} to {g[-1]}" for g in groups)
