"""From the JSON of a request to a typed search: every field is checked here, once, before anything is looked up."""

import difflib
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.serving.errors import BadRequest
from components.serving.settings import ServingSettings

FILTER_TEXTS = ("brand", "category", "shop_id", "country")
FILTER_NUMBERS = ("price_min", "price_max")
FILTER_FIELDS = (*FILTER_TEXTS, *FILTER_NUMBERS, "in_stock")
INSTANCE_FIELDS = (
    "query", "user_id", "k", "filter", "session_id", "latitude", "longitude", "country", "release", "history", "now",
    "relevance", "record",
)  # fmt: skip
CONTEXT_FIELDS = ("latitude", "longitude", "country", "history", "now")
ACTIONS = {"click": 1, "favourite": 2, "cart": 3, "order": 4}
HISTORY_FIELDS = (
    "product_ids", "actions", "timestamps", "queries", "query_timestamps", "bought_product_ids", "bought_timestamps",
)  # fmt: skip
_LEAST_US = 10_000_000_000_000
"""As microseconds in April 1970, as milliseconds in 2286: what lies below counts these, or seconds."""


@dataclass(frozen=True)
class SearchRequest:
    """One search. `filter` is a tuple of (field, value) pairs; `history` is set when the caller brought its own.

    `now` is microseconds since the epoch (None: the server's clock); `release` asks for one loaded release by id or
    role; `relevance` switches relevance control off for this search; `record` false keeps it out of the
    shopper's history (half-typed queries, previews).
    """

    query: str
    user_id: str | None = None
    k: int = 100
    filter: tuple[tuple[str, Any], ...] = ()
    session_id: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    country: str | None = None
    release: str | None = None
    relevance: bool = True
    record: bool = True
    history: Mapping[str, Sequence[Any]] | None = None
    now: int | None = None

    @property
    def place(self) -> tuple[float | None, float | None, str | None]:
        """Latitude, longitude and country, as far as they are known."""
        return (self.latitude, self.longitude, self.country)


def parse_predict(body: Any, settings: ServingSettings) -> list[SearchRequest]:
    """The searches of a v1 request body `{"instances": [...]}`. Raises BadRequest with one sentence."""
    body = as_object(body, "the request body", ("instances",))
    if "instances" not in body:
        raise BadRequest('the request body has no "instances"; send {"instances": [{"query": "..."}]}.')
    instances = body["instances"]
    if not isinstance(instances, list) or not instances:
        raise BadRequest(f'"instances" must be a list of at least one object, not {_kind(instances)}.')
    if len(instances) > settings.max_instances:
        raise BadRequest(f'"instances" has {len(instances)} searches; the most is {settings.max_instances}.')
    return [parse_instance(item, f"instances[{number}]", settings) for number, item in enumerate(instances)]


def parse_instance(item: Any, where: str, settings: ServingSettings) -> SearchRequest:
    """One search from its JSON object; `where` names it in the error sentence."""
    item = as_object(item, where, INSTANCE_FIELDS)
    if "query" not in item:
        raise BadRequest(f'{where} has no "query".')
    k = item.get("k", settings.default_k)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= settings.max_k:
        raise BadRequest(f'{where}: "k" must be a whole number from 1 to {settings.max_k}, not {show(k)}.')
    return SearchRequest(
        relevance=_flag(item, "relevance", where),
        record=_flag(item, "record", where),
        query=parse_query(item["query"], where, settings),
        user_id=optional_text(item.get("user_id"), f'{where}: "user_id"', settings.max_id_bytes),
        k=k,
        filter=parse_filter(item.get("filter"), where, settings),
        session_id=optional_text(item.get("session_id"), f'{where}: "session_id"', settings.max_id_bytes),
        latitude=_number(item.get("latitude"), f'{where}: "latitude"', -90, 90),
        longitude=_number(item.get("longitude"), f'{where}: "longitude"', -180, 180),
        country=optional_text(item.get("country"), f'{where}: "country"', settings.max_id_bytes),
        release=optional_text(item.get("release"), f'{where}: "release"', settings.max_id_bytes),
        history=parse_history(item.get("history"), where, settings),
        now=parse_moment(item.get("now"), f'{where}: "now"'),
    )


def _flag(item: Mapping[str, Any], name: str, where: str) -> bool:
    """A field that is true unless it says false."""
    value = item.get(name, True)
    if not isinstance(value, bool):
        raise BadRequest(f'{where}: "{name}" must be true or false, not {show(value)}.')
    return value


def parse_query(value: Any, where: str, settings: ServingSettings) -> str:
    """The query text, trimmed. Refused: empty, longer than the limit, or holding control characters."""
    text = _text(value, f'{where}: "query"', settings.max_query_bytes)
    if not text.strip():
        raise BadRequest(f'{where}: "query" is empty.')
    return text.strip()


def parse_filter(value: Any, where: str, settings: ServingSettings) -> tuple[tuple[str, Any], ...]:
    """The typed filter: brand, category, shop_id, country are texts, prices finite numbers, in_stock a boolean."""
    if value is None:
        return ()
    fields = as_object(value, f'{where}: "filter"', FILTER_FIELDS)
    found: dict[str, Any] = {}
    for name, item in fields.items():
        label = f'{where}: "filter.{name}"'
        if item is None:
            continue
        if name in FILTER_TEXTS:
            found[name] = optional_text(item, label, settings.max_id_bytes)
            if found[name] is None:
                raise BadRequest(f"{label} is empty; leave it out instead.")
        elif name in FILTER_NUMBERS:
            found[name] = _number(item, label, 0, math.inf)
        elif isinstance(item, bool):
            found[name] = item
        else:
            raise BadRequest(f"{label} must be true or false, not {show(item)}.")
    if found.get("price_min", 0) > found.get("price_max", math.inf):
        raise BadRequest(f'{where}: "filter.price_min" is more than "filter.price_max".')
    return tuple(sorted(found.items()))


def parse_history(value: Any, where: str, settings: ServingSettings) -> dict[str, list[Any]] | None:
    """Behaviours the caller brought instead of a look-up: parallel lists, oldest first; actions are 1 to 4 or names."""
    if value is None:
        return None
    fields = as_object(value, f'{where}: "history"', HISTORY_FIELDS)
    found: dict[str, list[Any]] = {name: fields.get(name) or [] for name in HISTORY_FIELDS}
    for name, items in found.items():
        label = f'{where}: "history.{name}"'
        if not isinstance(items, list) or len(items) > settings.max_history:
            raise BadRequest(f"{label} must be a list of at most {settings.max_history} entries, not {show(items)}.")
        if name == "actions":
            found[name] = [_action(item, label) for item in items]
        elif name.endswith("timestamps"):
            found[name] = [_moment(item, label) for item in items]
        else:
            limit = settings.max_query_bytes if name == "queries" else settings.max_id_bytes
            found[name] = [_text(item, label, limit) for item in items]
    if not len(found["product_ids"]) == len(found["actions"]) == len(found["timestamps"]):
        raise BadRequest(f'{where}: "history" needs as many actions and timestamps as product_ids.')
    if len(found["queries"]) != len(found["query_timestamps"]):
        raise BadRequest(f'{where}: "history" needs as many query_timestamps as queries.')
    if found["bought_timestamps"] and len(found["bought_timestamps"]) != len(found["bought_product_ids"]):
        raise BadRequest(f'{where}: "history" needs as many bought_timestamps as bought_product_ids, or none.')
    return found


def parse_moment(value: Any, label: str) -> int | None:
    """Microseconds since the epoch, or None. Raises BadRequest outside the years 1970 to 2200."""
    return None if value is None else _moment(value, label)


def optional_text(value: Any, label: str, limit: int) -> str | None:
    """A text without control characters of at most `limit` bytes; absent and blank both mean None."""
    if value is None:
        return None
    return _text(value, label, limit).strip() or None


def _text(value: Any, label: str, limit: int) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{label} must be a text, not {show(value)}.")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise BadRequest(f"{label} is not valid Unicode: it holds half a surrogate pair.") from error
    if size > limit:
        raise BadRequest(f"{label} has {size} bytes; the most is {limit}.")
    for character in value:
        if unicodedata.category(character) == "Cc":
            raise BadRequest(f"{label} holds the control character U+{ord(character):04X}.")
    return value


def _number(value: Any, label: str, low: float, high: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRequest(f"{label} must be a finite number, not {show(value)}.")
    if not low <= value <= high:
        span = f"at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
        raise BadRequest(f"{label} must be {span}, not {show(value)}.")
    return float(value)


def _moment(value: Any, label: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 7_258_118_400_000_000:
        raise BadRequest(f"{label} must be whole microseconds since 1970, not {show(value)}.")
    refuse_coarser(value, label)
    return value


def refuse_coarser(moment: int, label: str) -> None:
    """Raises BadRequest for a number that counts seconds or milliseconds: as microseconds it would be of early 1970."""
    if 0 < moment < _LEAST_US:
        raise BadRequest(f"{label} counts microseconds since 1970; {moment} looks like seconds or milliseconds.")


def _action(value: Any, label: str) -> int:
    number = ACTIONS.get(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 4:
        raise BadRequest(f"{label} must be one of {', '.join(ACTIONS)} or 1 to 4, not {show(value)}.")
    return number


def as_object(value: Any, where: str, known: Sequence[str]) -> dict[str, Any]:
    """The value as a JSON object of known fields; the error names the nearest known field."""
    if not isinstance(value, dict):
        raise BadRequest(f"{where} must be a JSON object, not {_kind(value)}.")
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(str(name)[:64], known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
            raise BadRequest(f"{where} has the unknown field {show(name)}; {hint}")
    return value


def _kind(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "a text", bool: "a boolean", bytes: "text that is not JSON"}
    if isinstance(value, list) and not value:
        return "an empty list"
    return "nothing" if value is None else names.get(type(value), "a number")


def show(value: Any) -> str:
    """A value as an error sentence quotes it: short, and never more than one line."""
    if isinstance(value, list | dict | bytes) or value is None:
        return _kind(value)
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
