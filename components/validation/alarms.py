"""Alarms: what may close the gate, by name, with its sentence; and what a person accepted by name."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from components.common.errors import BadSetting

STOP, WARN = "stop", "warn"

ALARMS: dict[str, str] = {
    "missing_table": "a table has no readable file at all",
    "missing_column": "a required column is missing in a file",
    "column_type": "a column has a type that can't be read as the contract's",
    "unknown_column": "a column that the contract does not know, probably renamed",
    "unreadable_file": "a file is torn or not Parquet; it is kept in quarantine whole",
    "partition_name": "a partition folder is not named dt=YYYY-MM-DD",
    "naive_time": "timestamps carry no time zone and were read as UTC",
    "doubled_partition": "a partition, or a large part of it, was written twice",
    "counts": "the files hold another number of rows than log.json says",
    "bad_products": "too large a share of the products is bad",
    "bad_searches": "too large a share of the searches is bad",
    "bad_events": "too large a share of the events is bad",
    "bad_judgements": "too large a share of the judgements is bad",
    "bad_day": "too large a share of one day is bad",
    "few_products": "fewer good products than the floor",
    "few_searches": "fewer good searches than the floor",
    "few_events": "fewer good events than the floor",
    "empty_day": "a day of the window holds nothing",
    "missing_hours": "hours of the newest day hold nothing",
    "catalogue_size": "the catalogue grew or shrank too much",
    "category_separator": "categories seem to be paths with another separator",
    "category_mix": "the categories of the catalogue changed",
    "brand_mix": "the brands of the catalogue changed",
    "prices": "the prices of the catalogue changed",
    "title_length": "the lengths of titles changed",
    "null_share": "an optional column became empty",
    "one_shopper": "one shopper made too large a share of a day",
    "bot_traffic": "searches or actions come faster than a person acts",
    "one_query": "one query is too large a share of a day's searches",
    "label_leak": "the order of rows or the positions give the clicks away",
    "other_user": "events carry another user than their search",
    "search_volume": "unusual number of searches",
    "query_length": "unusual lengths of queries",
    "unknown_words": "queries use more words that the catalogue does not know",
    "event_volume": "unusual number of events of an action",
    "hour_profile": "events spread over the hours in an unusual way",
    "click_through": "clicks per impression at a position changed",
    "conversion": "carts, favourites or orders per click changed",
    "traffic_categories": "events go to other categories than usual",
    "traffic_brands": "events go to other brands than usual",
}
"""Every alarm that the gate's own code can raise, causes before what follows from them; a suite's expectations add
theirs by their `name`."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check found: the alarm's name, a plain sentence, "stop" or "warn".

    `scope` is the fingerprint of the partition it was found in, if it belongs to one: an acceptance then holds for
    exactly that content, also on later nights.
    """

    name: str
    sentence: str
    severity: str = STOP
    scope: str = ""


class Alarms:
    """Collects findings and decides, with what was accepted, whether the gate is open.

    Args:
        accept: names that a person accepts for this run.
        earlier: (name, scope) pairs accepted when the served release was made.
        warn_only: names that never close the gate in this shop.
        expectations: names that the suites add to `ALARMS`.

    Raises:
        BadSetting: an accepted name is unknown.
    """

    def __init__(
        self,
        accept: Iterable[str] = (),
        earlier: Iterable[tuple[str, str]] = (),
        warn_only: Iterable[str] = (),
        expectations: Iterable[str] = (),
    ) -> None:
        known = {*ALARMS, *expectations}
        self.accept = _checked(accept, known, "accept")
        self.warn_only = _checked(warn_only, known, "validation.warn_only")
        self.earlier = set(earlier)
        self.found: list[Finding] = []

    def add(self, name: str, sentence: str, severity: str = STOP, scope: str = "") -> None:
        """Records a finding; the same sentence twice counts once."""
        if name in self.warn_only:
            severity = WARN
        finding = Finding(name, sentence, severity, scope)
        if finding not in self.found:
            self.found.append(finding)

    def accepted(self, finding: Finding) -> bool:
        """True when a person accepted this finding, in this run or, for the same content, in an earlier one."""
        return finding.name in self.accept or (bool(finding.scope) and (finding.name, finding.scope) in self.earlier)

    def closing(self) -> list[Finding]:
        """The findings that close the gate, in the order of `ALARMS`: a day cut short before the volumes it lacks."""
        place = {name: number for number, name in enumerate(ALARMS)}
        closing = [item for item in self.found if item.severity == STOP and not self.accepted(item)]
        return sorted(closing, key=lambda item: place.get(item.name, len(place)))

    def as_json(self) -> list[dict[str, object]]:
        """Every finding, closing ones first."""
        closing = self.closing()
        rest = [item for item in self.found if item not in closing]
        return [
            {"name": i.name, "sentence": i.sentence, "severity": i.severity, "accepted": self.accepted(i)}
            for i in closing + rest
        ]

    def acceptances(self) -> list[tuple[str, str]]:
        """(name, scope) of every finding that was accepted, to be kept with the statistics."""
        return sorted({(item.name, item.scope) for item in self.found if self.accepted(item)})

    def unused(self) -> list[str]:
        """Accepted names that nothing was found for."""
        return sorted(self.accept - {item.name for item in self.found})


def parse_accept(text: str) -> list[str]:
    """Names from a comma-separated string."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _checked(names: Iterable[str], known: set[str], where: str) -> set[str]:
    names = set(names)
    for name in sorted(names - known):
        near = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(sorted(known))}."
        raise BadSetting(f"{where} names the unknown alarm {name!r}.{hint}")
    return names
