"""What a day is compared with: the days before it, and the window the served release was trained on."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from components.validation.counts import HashedCounts
from components.validation.identity import Catalogue, Mix
from components.validation.ledger import Outcome, Store
from components.validation.summaries import Summary

_MIXED = 7
_MOST = 0.75


@dataclass
class Baseline:
    """A past to compare with. `label` completes "against ..."; summaries, without sketches, are None where it has none.

    `daily` holds the hours' counts a day of searches [24] and of events [5 actions, 24], oldest first; none where the
    past is no daily one, and then no day's volume or hours are compared with it: `irregular` says why. `unknown` counts
    the query words that the catalogue lacks, and all. `mix` counts events by category and brand, `mixes` those of the
    last days one by one; None and none without events.
    """

    label: str
    searches: Summary | None = None
    events: Summary | None = None
    products: Summary | None = None
    daily: dict[str, list[np.ndarray]] = field(default_factory=lambda: {"searches": [], "events": []})
    irregular: list[str] = field(default_factory=list)
    unknown: tuple[float, float] = (0.0, 0.0)
    mix: Mix | None = None
    mixes: deque[Mix] = field(default_factory=lambda: deque(maxlen=_MIXED))

    def table(self, name: str) -> Summary | None:
        """The summary of a table over the whole past."""
        found: Summary | None = getattr(self, name)
        return found


def read_summary(root: Path, key: str) -> Summary:
    """A partition's summary in a statistics folder."""
    return Summary.load(root / key)


def good_days(outcomes: dict[str, Outcome], table: str) -> list[str]:
    """Days of a table with at least one good row, in order."""
    return sorted(o.day for o in outcomes.values() if o.table == table and o.day is not None and o.good)


def window(root: Path, outcomes: dict[str, Outcome], table: str, days: list[str]) -> Iterator[Summary]:
    """The summaries of some days without their sketches, read one at a time."""
    present = set(good_days(outcomes, table))
    for day in days:
        if day in present:
            yield Summary.load(root / f"{table}/dt={day}", sketches=False)


def trailing(root: Path, outcomes: dict[str, Outcome], day: str, count: int, catalogue: Catalogue) -> Baseline | None:
    """What this log holds of the `count` days before a day; None when that is nothing."""
    first = str(date.fromisoformat(day) - timedelta(days=count))
    days = {table: [d for d in known if d >= first] for table, known in _comparable(outcomes, day).items()}
    seen = max(len(part) for part in days.values())
    if seen == 0:
        return None
    base = Baseline(f"the {seen} days before" if seen > 1 else "the day before")
    _fill(base, root, outcomes, days, catalogue, day)
    return base


def release(
    store: Store, outcomes: dict[str, Outcome], newest: str | None, count: int, catalogue: Catalogue
) -> Baseline | None:
    """The window of the served release, without the newest day where it has that too; None for an empty store.

    Where three quarters of its days are among the `count` days before the newest one, as on the night after it was
    made, its searches and events tell nothing that those days do not, and only its catalogue is given. `newest` is None
    for a log whose days are not comparable: then the logs are compared as wholes.
    """
    if not store:
        return None
    root = store.folder("")
    base = Baseline("the log of the served release")
    if "products" in store.outcomes and store.outcomes["products"].good:
        base.products = read_summary(root, "products")
    days = _comparable(store.outcomes, newest)
    if newest is None or not _told(store.outcomes, outcomes, newest, count):
        _fill(base, root, store.outcomes, days, catalogue, newest)
    return base


def _comparable(outcomes: dict[str, Outcome], newest: str | None) -> dict[str, list[str]]:
    """Days to compare the newest one with, by table: where the log has searches, days before its first search are not.

    Such days hold the behaviour outside search that histories start from; their volumes and rates are of another kind.
    """
    searches, events = ([day for day in good_days(outcomes, t) if day != newest] for t in ("searches", "events"))
    days = {"searches": searches, "events": [day for day in events if not searches or day >= searches[0]]}
    return days if newest is None else {t: [d for d in part if d < newest] for t, part in days.items()}


def _told(before: dict[str, Outcome], now: dict[str, Outcome], newest: str, count: int) -> bool:
    recent = set(sorted({o.day for o in now.values() if o.day is not None and o.day < newest and o.good})[-count:])
    days = [o for o in before.values() if o.day is not None and o.day != newest and o.good]
    same = [o for o in days if o.day in recent and o.key in now and now[o.key].fingerprint == o.fingerprint]
    return len(same) >= _MOST * len(days)


def _fill(
    base: Baseline,
    root: Path,
    outcomes: dict[str, Outcome],
    days: dict[str, list[str]],
    catalogue: Catalogue,
    newest: str | None,
) -> None:
    def seen(table: str) -> Iterator[Summary]:
        for summary in window(root, outcomes, table, days[table]):
            base.daily[table].append(summary.figures["hours"])
            for counts in summary.counts.values():
                _count(base, table, counts, catalogue)
            summary.counts = {}
            yield summary

    base.searches = Summary.merge(seen("searches"))
    base.events = Summary.merge(seen("events"))
    for table, known in days.items():
        if newest is None:
            base.daily[table] = []
        elif known and 2 * len(known) < (
            span := (date.fromisoformat(known[-1]) - date.fromisoformat(known[0])).days + 1
        ):
            base.daily[table] = []
            base.irregular.append(
                f"Only {len(known)} of the {span} days from {known[0]} to {known[-1]} hold {table}: the volume and the "
                f"hours of {newest} were not compared with them."
            )


def _count(base: Baseline, table: str, counts: HashedCounts, catalogue: Catalogue) -> None:
    """Adds a day's words or products to the baseline's counts."""
    if table == "searches":
        missing, total = catalogue.unknown_share(counts)
        base.unknown = base.unknown[0] + missing, base.unknown[1] + total
        return
    mix = catalogue.mix(counts)
    base.mix = mix if base.mix is None else (base.mix[0] + mix[0], base.mix[1] + mix[1])
    base.mixes.append(mix)
