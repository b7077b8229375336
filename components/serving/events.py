"""Behaviours that arrive while serving: checked here, written to the online store, seen by the next search."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from components.serving.errors import BadRequest
from components.serving.requests import ACTIONS, as_object, optional_text, parse_query, refuse_coarser, show
from components.serving.settings import ServingSettings

FIELDS = ("user_id", "product_id", "action", "query", "timestamp")
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Event:
    """A shopper acted on a product, or searched (`action` is "search" and `query` is set).

    `timestamp` is microseconds since the epoch; `action` of a behaviour is a key of ACTIONS.
    """

    user_id: str
    action: str
    timestamp: int
    product_id: str = ""
    query: str = ""


def parse_events(body: Any, settings: ServingSettings, now_us: int) -> list[Event]:
    """The events of a body: one event object, or `{"events": [...]}`. Raises BadRequest with one sentence.

    `timestamp` may be left out, or be microseconds since 1970 or an ISO 8601 text with an offset. Seconds
    and milliseconds are refused: they would be of 1970. A moment ahead of `now_us`, the release's clock, counts as now:
    clocks differ, and a search never looks ahead of its own. More than a day ahead of this machine's clock it is
    refused.
    """
    if not isinstance(body, dict) or "events" not in body:
        return [_event(body, "the event", settings, now_us)]
    items = as_object(body, "the request body", ("events",))["events"]
    if not isinstance(items, list) or not 1 <= len(items) <= settings.max_events:
        raise BadRequest(f'"events" must be a list of 1 to {settings.max_events} events.')
    return [_event(item, f"events[{number}]", settings, now_us) for number, item in enumerate(items)]


def _event(item: Any, where: str, settings: ServingSettings, now: int) -> Event:
    item = as_object(item, where, FIELDS)
    user_id = _id(item, "user_id", where, settings)
    timestamp = _timestamp(item.get("timestamp"), f'{where}: "timestamp"', now)
    if item.get("query") is not None:
        if "product_id" in item or item.get("action") not in (None, "search"):
            raise BadRequest(f'{where} has a "query": a search has no "product_id" and no other "action".')
        return Event(user_id, "search", timestamp, query=parse_query(item["query"], where, settings))
    product_id = _id(item, "product_id", where, settings)
    action = item.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        raise BadRequest(f'{where}: "action" must be one of {", ".join(ACTIONS)}, not {show(action)}.')
    return Event(user_id, action, timestamp, product_id)


def _id(item: dict[str, Any], name: str, where: str, settings: ServingSettings) -> str:
    found = optional_text(item.get(name), f'{where}: "{name}"', settings.max_id_bytes)
    if found is None:
        raise BadRequest(f'{where} has no "{name}".')
    return found


def _timestamp(value: Any, label: str, now: int) -> int:
    if value is None:
        return now
    moment: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        refuse_coarser(value, label)
        moment = value
    elif isinstance(value, str) and len(value) <= 64:
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError as error:
            raise BadRequest(f"{label} is no ISO 8601 moment: {show(value)}.") from error
        if parsed.tzinfo is None:
            raise BadRequest(f"{label} has no offset from UTC: {show(value)}; add Z or +00:00.")
        moment = int(parsed.timestamp() * 1_000_000)
    if moment is None or moment < 0:
        raise BadRequest(f"{label} must be microseconds since 1970 or an ISO 8601 text, not {show(value)}.")
    if moment > max(now, time.time_ns() // 1000) + _DAY_US:
        raise BadRequest(f"{label} is more than a day ahead; leave it out for now.")
    return min(moment, now)
