"""The distributions of the days that are new: by themselves, and against what they are compared with."""

from dataclasses import dataclass, field

from components.logs.contract import PARTITIONED
from components.validation.alarms import STOP, Alarms, Finding
from components.validation.baseline import Baseline, good_days, read_summary, release, trailing
from components.validation.behaviour import events_behaviour, searches_behaviour
from components.validation.catalogue_drift import catalogue_drift
from components.validation.drift import events_drift, null_drift, searches_drift
from components.validation.night import Night
from components.validation.summaries import Summary

_WHOLE = "this log"


def newest_day(night: Night) -> str | None:
    """The last day with a good row of searches or events; None for a log whose days are not comparable."""
    return max(_days(night), default=None) if night.rules.days else None


def new_days(night: Night) -> list[str]:
    """The days whose searches or events the served release's log did not have, or had otherwise; in order.

    All days of a first log. At most the newest `trailing_days`: older ones are no day's baseline any more.
    """

    def same(day: str) -> bool:
        keys = [key for table in PARTITIONED if (key := f"{table}/dt={day}") in night.outcomes]
        before = night.earlier.outcomes
        return all(key in before and before[key].fingerprint == night.outcomes[key].fingerprint for key in keys)

    return [day for day in sorted(_days(night)) if not same(day)][-night.rules.settings.trailing_days :]


def _days(night: Night) -> set[str]:
    return {day for table in PARTITIONED for day in good_days(night.outcomes, table)}


@dataclass
class Compared:
    """What was compared: the days that were judged, the baselines of the newest of them (or of the log), remarks."""

    days: list[str] = field(default_factory=list)
    baselines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge_distributions(night: Night, newest: str | None, alarms: Alarms) -> Compared:
    """Looks at the behaviour of every new day, and compares new days with their baselines.

    After a served release every day that is new since its log is compared with the days before it, the newest one
    also with the release's log. Of a first log only the newest day is: the earlier ones are its past. A log whose days
    are not comparable (`newest` None) is judged as a whole.
    """
    fresh = [day for day in new_days(night) if day != newest] if newest is not None else []
    for day in [*fresh, newest]:
        _judge_behaviour(night, day, alarms)
    known = night.earlier.source == str(night.log.description.get("source", ""))
    compared = [*fresh, newest] if known else [newest]
    found = Compared(days=[day for day in compared if day is not None])
    for day in compared:
        _judge_day(night, day, alarms, found, against_release=known and day == newest)
    return found


def _judge_behaviour(night: Night, day: str | None, alarms: Alarms) -> None:
    searches, events = (_summary(night, table, day) for table in PARTITIONED)
    findings: list[Finding] = []
    if searches is not None:
        findings += searches_behaviour(day or _WHOLE, searches, night.rules.settings)
    if events is not None:
        findings += events_behaviour(day or _WHOLE, events, night.rules.settings)
    for finding in findings:
        alarms.add(finding.name, finding.sentence, finding.severity)


def _judge_day(night: Night, day: str | None, alarms: Alarms, found: Compared, against_release: bool) -> None:
    count, catalogue = night.rules.settings.trailing_days, night.catalogue
    before = [
        trailing(night.statistics, night.outcomes, day, count, catalogue) if day is not None else None,
        release(night.earlier, night.outcomes, day, count, catalogue) if against_release else None,
    ]
    searches, events = (_summary(night, table, day) for table in PARTITIONED)
    said: dict[str, str] = {}
    for base in before:
        if base is None:
            continue
        drifted = _against(night, day or _WHOLE, searches, events, base)
        # What the days before already showed as strongly need not be said of the release's window again.
        for finding in drifted:
            if said.get(finding.name) not in (STOP, finding.severity):
                alarms.add(finding.name, finding.sentence, finding.severity)
        said.update({finding.name: finding.severity for finding in sorted(drifted, key=lambda f: f.severity == STOP)})
        found.notes += base.irregular
    found.baselines = [base.label for base in before if base is not None]


def _against(
    night: Night, name: str, searches: Summary | None, events: Summary | None, base: Baseline
) -> list[Finding]:
    settings = night.rules.settings
    found: list[Finding] = []
    if searches is not None:
        found += searches_drift(name, searches, base, night.catalogue, settings)
    if events is not None:
        count = searches.rows if searches is not None else 0
        found += events_drift(name, events, base, night.catalogue, settings, count)
    for table, now in zip(PARTITIONED, (searches, events), strict=True):
        past = base.table(table)
        if now is not None and past is not None and min(now.rows, past.rows) >= settings.sample_minimum:
            found += null_drift(name, table, now, past, base.label, settings.null_share)
    if base.products is not None and night.outcomes["products"].good:
        found += catalogue_drift(read_summary(night.statistics, "products"), base.products, settings)
    return found


def _summary(night: Night, table: str, day: str | None) -> Summary | None:
    """A day's summary, or the whole log's; None where it holds nothing."""
    days = good_days(night.outcomes, table)
    if day is None:
        return Summary.merge(read_summary(night.statistics, f"{table}/dt={item}") for item in days)
    return read_summary(night.statistics, f"{table}/dt={day}") if day in days else None
