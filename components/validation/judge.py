"""From what was counted to alarms: shares of bad rows, floors, missing tables and days; and what was left out."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from components.logs.contract import OPTIONAL, PARTITIONED, TABLES
from components.validation.alarms import STOP, WARN, Alarms
from components.validation.baseline import good_days
from components.validation.comparison import percent
from components.validation.ledger import Outcome
from components.validation.night import Night

_DAY_COUNTS = 0.05


def rows_by_table(outcomes: dict[str, Outcome]) -> dict[str, dict[str, int]]:
    """Rows in, good and quarantined of each table; rows of unreadable files count where their footer tells them."""
    result: dict[str, dict[str, int]] = {}
    for outcome in outcomes.values():
        lost = sum(item["rows"] or 0 for item in outcome.unreadable.values())
        row = result.setdefault(outcome.table, {"in": 0, "good": 0, "quarantined": 0})
        row["in"] += outcome.rows + lost
        row["good"] += outcome.good
        row["quarantined"] += outcome.bad + lost
    return result


def quarantine_reasons(outcomes: dict[str, Outcome]) -> list[dict[str, Any]]:
    """Why rows are in quarantine, `{"table", "check", "rows", "example"}`, the most frequent reason first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for outcome in outcomes.values():
        for check, count in outcome.checks.items():
            example = outcome.examples.get(check, "")
            empty = {"table": outcome.table, "check": check, "rows": 0, "example": example}
            found.setdefault((outcome.table, check), empty)["rows"] += count
    return sorted(found.values(), key=lambda item: -item["rows"])


def judge_rows(night: Night, alarms: Alarms) -> None:
    """Adds what the row checks found, and closes on too many bad or too few good rows."""
    settings = night.rules.settings
    for outcome in night.outcomes.values():
        for item in outcome.findings:
            alarms.add(item["name"], item["sentence"], item["severity"], outcome.fingerprint)
    tables = rows_by_table(night.outcomes)
    for table in ("products", "searches", "events"):
        _missing_table(night, table, tables, alarms)
    for table, rows in tables.items():
        limit = getattr(settings, f"{table}_bad_share")
        # A partition whose badness was accepted before does not close the gate every night until it leaves the window.
        judged = [
            o for o in night.outcomes.values() if o.table == table and ("bad_day", o.fingerprint) not in alarms.earlier
        ]
        total, bad = sum(o.rows for o in judged), sum(o.bad for o in judged)
        if total and bad > limit * total:
            text = (
                f"Table {table}: {bad:,} of {total:,} rows ({percent(bad / total)}) are bad, more than "
                f"{percent(limit)}. Most common: {_common(judged)}"
            )
            alarms.add(f"bad_{table}", text)
        floor = getattr(settings, f"{table}_floor", 0)
        if rows["good"] < floor and rows["in"]:
            text = f"Table {table}: only {rows['good']:,} good rows of {rows['in']:,} are left, fewer than {floor:,}."
            alarms.add(f"few_{table}", text)
    _bad_days(night, alarms)
    _counts(night, tables, alarms)


def _missing_table(night: Night, table: str, tables: dict[str, dict[str, int]], alarms: Alarms) -> None:
    outcomes = [o for o in night.outcomes.values() if o.table == table]
    if any(len(o.files) > len(o.unreadable) for o in outcomes):
        if tables[table]["in"] == 0 and table == "products":
            alarms.add("missing_table", f"Table {table}: its files hold no row at all.")
        return
    spared = table != "products" and "judgements" in tables
    where = f"{table}/dt=YYYY-MM-DD/" if table != "products" else "products/"
    columns = ", ".join(item.name for item in TABLES[table] if not item.nullable)
    text = f"Table {table} is missing: there is no readable Parquet file in {where} (needed columns: {columns})."
    alarms.add("missing_table", text, WARN if spared else STOP)


def _common(outcomes: list[Outcome]) -> str:
    counts: dict[str, int] = {}
    examples: dict[str, str] = {}
    for outcome in outcomes:
        for check, count in outcome.checks.items():
            counts[check] = counts.get(check, 0) + count
            examples.setdefault(check, outcome.examples.get(check, check))
    check, count = max(counts.items(), key=lambda item: item[1])
    return f"{count:,} times {check}, as in: {examples[check]}."


def _bad_days(night: Night, alarms: Alarms) -> None:
    """A day with a large share of bad rows, unless it is so small that it can't matter."""
    limit = night.rules.settings.day_bad_share
    if not night.rules.days:
        return
    for table in ("searches", "events"):
        days = [o for o in night.outcomes.values() if o.table == table and o.day is not None]
        usual = sorted(o.rows for o in days)[len(days) // 2] if days else 0
        for outcome in days:
            if outcome.rows and outcome.bad > limit * outcome.rows and outcome.rows >= _DAY_COUNTS * usual:
                text = (
                    f"Table {table}: {outcome.bad:,} of {outcome.rows:,} rows of {outcome.day} "
                    f"({percent(outcome.bad / outcome.rows)}) are bad. Most common: {_common([outcome])}"
                )
                alarms.add("bad_day", text, STOP, outcome.fingerprint)


def _counts(night: Night, tables: dict[str, dict[str, int]], alarms: Alarms) -> None:
    stated = night.log.description.get("counts")
    for table, rows in tables.items():
        number = stated.get(table) if isinstance(stated, dict) else None
        of_table = [outcome for outcome in night.outcomes.values() if outcome.table == table]
        unknown = any(item["rows"] is None for outcome in of_table for item in outcome.unreadable.values())
        if isinstance(number, int) and number != rows["in"] and not unknown:
            held = f"the files hold {rows['in']:,}; a file is lost or new."
            text = f"Table {table}: log.json counts {number:,} rows, {held}"
            alarms.add("counts", text)


def judge_days(night: Night, newest: str | None, alarms: Alarms) -> None:
    """Adds days that hold nothing: the newest of the window closes the gate, an older one warns."""
    if newest is None:
        return
    stated = [outcome.day for outcome in night.outcomes.values() if outcome.day is not None]
    if night.rules.end is not None:
        stated.append(str(date(1970, 1, 1) + timedelta(microseconds=night.rules.end - 1)))
    # A day that lies ahead is a wrong clock; its rows are in quarantine and it is no part of the window.
    last = max(day for day in [newest, *stated] if day == newest or day <= str(datetime.now(UTC).date()))
    for table in PARTITIONED:
        present = [*good_days(night.outcomes, table), str(date.fromisoformat(last) + timedelta(days=1))]
        gaps: list[str] = []
        for before, after in pairwise(present):
            gap = (date.fromisoformat(after) - date.fromisoformat(before)).days - 1
            if gap == 0:
                continue
            first, end = (date.fromisoformat(before) + timedelta(days=n) for n in (1, gap))
            days = f"{first} holds" if gap == 1 else f"{first} to {end} hold"
            if after == present[-1]:
                text = f"Table {table}: {days} no good row, although the log reaches to {last}."
                alarms.add("empty_day", text, STOP)
            else:
                gaps.append(days)
        if gaps:
            more = f" ({len(gaps) - 1} more such gap{'s' * (len(gaps) > 2)})" if len(gaps) > 1 else ""
            text = f"Table {table}: {gaps[-1]} no good row, although the log reaches to {last}{more}."
            alarms.add("empty_day", text, WARN)


def describe_left_out(night: Night) -> list[str]:
    """What could not be checked because the log does not have it, in sentences."""
    has: dict[str, Any] = night.log.has
    notes = []
    if "search_id" in _absent(night, "events"):
        notes.append("No event carries the search_id of a search: there is nothing to train on.")
    if not has.get("times", True):
        notes.append("The log has no times: order, days, hours and volumes a day were not checked.")
    elif not night.rules.days:
        notes.append(
            "The log is split by query, its shoppers share no clock: empty days, hours and volumes a day were not "
            "checked, and it is compared as a whole."
        )
    if not has.get("users", True):
        notes.append("The log has no users: shoppers with too many events and programs were not looked for.")
    if not has.get("impressions", True):
        notes.append("The log has no impressions: click-through and the order of impressions were not checked.")
    for table in ("products", "searches", "events"):
        absent = _absent(night, table)
        if absent:
            notes.append(f"Table {table} has no {', '.join(absent)}: nothing was checked there.")
    return notes


def _absent(night: Night, table: str) -> list[str]:
    """Optional columns that hold nothing in any good row."""
    outcomes = [outcome for outcome in night.outcomes.values() if outcome.table == table and outcome.good]
    absent = set(OPTIONAL[table]).intersection(*(outcome.empty for outcome in outcomes)) if outcomes else set()
    return [name for name in OPTIONAL[table] if name in absent]
