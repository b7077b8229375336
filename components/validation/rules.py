"""What the row checks of a log need to know of it, and the checks that several tables share."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from components.common.errors import BadInput
from components.validation.conform import Conformed
from components.validation.settings import ValidationSettings

VERSION = 1
DAY = 86_400_000_000
_ROW_SETTINGS = (
    "query_characters",
    "title_characters",
    "text_characters",
    "id_bytes",
    "price_maximum",
    "clock_skew_seconds",
    "earliest",
    "vocabulary",
    "actions_per_minute",
)


@dataclass(frozen=True)
class Rules:
    """Settings, what the log says of itself, and its window in microseconds since 1970 (`end` inclusive).

    `days` is false for a log without times or without a common clock (one that is split by query): its days are no
    shop's days, and nothing that compares days is asked of it.
    """

    settings: ValidationSettings
    times: bool
    days: bool
    impressions: bool
    users: bool
    start: int | None
    end: int | None

    @staticmethod
    def of(description: dict[str, Any], settings: ValidationSettings) -> "Rules":
        """Rules for a log's `log.json`. Raises BadInput when it lacks `has` or its window is not two ISO moments."""
        has = description.get("has")
        if not isinstance(has, dict):
            raise BadInput('log.json lacks "has", the object that says what the log has; load the source again.')
        window = description.get("window") or [None, None]
        try:
            start, end = (None if item is None else _microseconds(str(item)) for item in window)
        except ValueError as error:
            raise BadInput(f'log.json: "window" must be two ISO moments or days, not {window} ({error}).') from error
        times = bool(has.get("times", True))
        return Rules(
            settings,
            times=times,
            days=times and description.get("split") != "query",
            impressions=bool(has.get("impressions", True)),
            users=bool(has.get("users", True)),
            start=start,
            end=end if end is None or len(str(window[1])) > 10 else end + DAY - 1,
        )

    @cached_property
    def key(self) -> str:
        """Changes whenever a partition must be checked anew although its content is the same (window apart)."""
        settings = {name: value for name, value in asdict(self.settings).items() if name in _ROW_SETTINGS}
        body = json.dumps([VERSION, settings, self.times, self.impressions, self.users], sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    @cached_property
    def skew(self) -> int:
        return int(self.settings.clock_skew_seconds * 1e6)


def _microseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1e6)


def times_of(conformed: Conformed, name: str = "timestamp") -> np.ndarray:
    """int64 [rows] microseconds since 1970, 0 for null."""
    return np.asarray(conformed.column(name).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False))


def check_time(conformed: Conformed, rules: Rules, day: str | None) -> None:
    """Marks timestamps in another unit, in the future, outside the window, or outside the partition's day."""
    if not rules.times:
        return
    array, times, valid = conformed.column("timestamp"), times_of(conformed), conformed.valid("timestamp")
    marks, raw = conformed.marks, np.abs(times_of(conformed))
    early = valid & (times < _microseconds(rules.settings.earliest))
    for unit, low, high, times_as in (("seconds", 5e8, 5e9, "1,000,000"), ("milliseconds", 5e11, 5e12, "1,000")):
        sentence = f"timestamp {{value}} looks like {unit} stored as microseconds; multiply it by {times_as}"
        marks.add(early & (raw > low) & (raw < high), "timestamp_unit", sentence, array)
    nanoseconds = valid & (raw > 5e17)
    sentence = "timestamp looks like nanoseconds stored as microseconds; divide it by 1,000"
    marks.add(nanoseconds, "timestamp_unit", sentence)
    marks.add(early, "timestamp_range", f"timestamp {{value}} is before {rules.settings.earliest}", array)
    future = valid & (times > int(datetime.now(UTC).timestamp() * 1e6) + DAY)
    marks.add(future, "future", "timestamp {value} lies in the future", array)
    if rules.start is not None and rules.end is not None:
        outside = valid & ((times < rules.start - rules.skew) | (times > rules.end + rules.skew))
        marks.add(outside, "outside_window", "timestamp {value} is outside the log's window", array)
    if day is not None:
        first = _microseconds(day)
        other = valid & ((times < first) | (times >= first + DAY))
        marks.add(other, "other_day", f"timestamp {{value}} is not in its partition dt={day}, a day in UTC", array)


def check_numbers(conformed: Conformed, name: str, low: float, high: float, above: bool = False) -> None:
    """Marks values of a number column that are not finite or not in [low, high] ((low, high] with `above`)."""
    if name not in conformed.columns:
        return
    array = conformed.columns[name]
    values = np.asarray(array.cast(pa.float64(), safe=False).fill_null(high).to_numpy(zero_copy_only=False))
    conformed.marks.add(~np.isfinite(values), "not_finite", f"{name} is not a finite number: {{value}}", array)
    with np.errstate(invalid="ignore"):
        low_bad = values <= low if above else values < low
        words = f"must be above {low:g}" if above else f"must be at least {low:g}"
        conformed.marks.add(low_bad, f"{name}_range", f"{name} {{value}} {words}", array)
        conformed.marks.add(values > high, f"{name}_range", f"{name} {{value}} must be at most {high:g}", array)


def is_day(text: str) -> bool:
    """True for a real date written YYYY-MM-DD."""
    try:
        return len(text) == 10 and bool(date.fromisoformat(text))
    except ValueError:
        return False
