"""Traffic that is not shoppers, and labels that give themselves away: judged on a day by itself, without a past."""

from collections.abc import Iterable

from components.validation.alarms import Finding
from components.validation.comparison import percent, severity
from components.validation.settings import ValidationSettings
from components.validation.summaries import Summary

_BUSIEST = 8


def searches_behaviour(day: str, now: Summary, settings: ValidationSettings) -> Iterable[Finding]:
    """Findings on one day of searches: one shopper, one query, programs."""
    yield from _one_shopper(day, "searches", now, settings)
    if now.rows >= settings.sample_minimum and now.distinct["query"].count() >= settings.shoppers_minimum:
        query, count = next(iter(now.heavy["query"].counts(1).items()), ("", 0.0))
        if level := severity(count / now.rows, settings.searches_one_query):
            text = f"The query {query[:60]!r} makes {percent(count / now.rows)} of the {now.rows:,} searches of {day}."
            yield Finding("one_query", text, level)
    yield from _fast(day, "searches", now, settings)


def events_behaviour(day: str, now: Summary, settings: ValidationSettings) -> Iterable[Finding]:
    """Findings on one day of events: one shopper, programs, label leaks, users that differ from their search's."""
    yield from _one_shopper(day, "events", now, settings)
    yield from _fast(day, "clicks, carts, favourites and orders", now, settings)
    judged, by_row, by_position = (int(value) for value in now.figures.get("leak", (0, 0, 0)))
    if judged >= settings.sample_minimum:
        by_place = by_position >= by_row
        share = max(by_row, by_position) / judged
        if level := severity(share, settings.events_label_leak):
            where = "hold the first positions" if by_place else "are the first rows"
            text = (
                f"In {percent(share)} of {judged:,} searches of {day} the products that were clicked or more {where}: "
                "the order gives the labels away; shuffle what was shown before using its order."
            )
            yield Finding("label_leak", text, level)
    other, both = (int(value) for value in now.figures.get("other_user", (0, 0)))
    if both >= settings.sample_minimum and (level := severity(other / both, settings.events_other_user)):
        text = (
            f"{percent(other / both)} of the events of {day} carry another user_id than the search they answer; ids "
            "were probably mixed up when the log was written."
        )
        yield Finding("other_user", text, level)


def _one_shopper(day: str, noun: str, now: Summary, settings: ValidationSettings) -> Iterable[Finding]:
    shoppers = now.distinct["user_id"].count()
    if now.rows < settings.sample_minimum or shoppers < settings.shoppers_minimum:
        return
    # In a small shop somebody always makes several times the average; that alone is no reason.
    natural = _BUSIEST / shoppers
    limits = [max(limit, natural) for limit in settings.events_one_shopper]
    user, count = next(iter(now.heavy["user_id"].counts(1).items()), ("", 0.0))
    if level := severity(count / now.rows, limits):
        share = percent(count / now.rows)
        text = f"One shopper (user_id {user[:60]!r}) makes {share} of the {now.rows:,} {noun} of {day}."
        yield Finding("one_shopper", text, level)


def _fast(day: str, noun: str, now: Summary, settings: ValidationSettings) -> Iterable[Finding]:
    fast, known = (int(value) for value in now.figures.get("fast", (0, 0)))
    if known >= settings.sample_minimum and (level := severity(fast / known, settings.events_bots)):
        text = (
            f"{percent(fast / known)} of the {noun} of {day} come from users with more than "
            f"{settings.actions_per_minute} in one minute: programs, not shoppers."
        )
        yield Finding("bot_traffic", text, level)
