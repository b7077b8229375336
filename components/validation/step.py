"""The step `validate_logs`: a log in; good rows, bad rows, statistics, a verdict and a report out."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from components.common.files import staged_directory, write_json, write_text
from components.common.records import TaskRecord, task_record
from components.common.settings import from_overrides
from components.logs.contract import Log
from components.validation.alarms import Alarms, parse_accept
from components.validation.category_paths import judge_categories
from components.validation.distributions import Compared, judge_distributions, newest_day
from components.validation.expectations import SuiteResult, expectation_names, run_suites
from components.validation.frames import day_figures, frames
from components.validation.judge import (
    describe_left_out,
    judge_days,
    judge_rows,
    quarantine_reasons,
    rows_by_table,
)
from components.validation.ledger import FORMAT, Store, open_store
from components.validation.limits import day_limits
from components.validation.night import Night, publish
from components.validation.report import render
from components.validation.rules import Rules
from components.validation.settings import ValidationSettings

DAYS_SHOWN = 60
_TOLD = 3  # alarms of one name among the run's notes: a broken table has one a day; the report has all


def run(
    log: Path,
    checked: Path,
    quarantine: Path,
    statistics: Path,
    verdict: Path,
    report: Path,
    settings: str,
    previous_statistics: str = "",
    accept: str = "",
) -> dict[str, Any]:
    """Checks a log and writes its verdict; a closed gate is a verdict with `open: false`, not an error.

    Args:
        log: the log folder, in the contract.
        checked: gets the same log with its good rows only; unchanged files are hard links.
        quarantine: gets the bad rows as text, each with check, reason, file, row group and row; and `unreadable/`.
        statistics: gets the mergeable statistics of each partition (`ledger`).
        verdict: gets {"gate", "open", "reason", "alarms", "rows", ...} as JSON, with `quarantine` (bad rows by table
            and check), `days` (figures of each of the last 60 days) and `limits` (their volumes beside the limits) for
            the run's report.
        report: gets one self-contained HTML page.
        settings: JSON object of overrides of `ValidationSettings`.
        previous_statistics: the statistics folder of the served release, or a folder of such folders (the newest is
            taken): the baseline of the drift checks, and the memory of partitions that need not be read again. May
            not exist.
        accept: names of alarms that a person accepts in this run, comma-separated.

    Returns:
        {"open", "reason", "rows", "alarms": [names]}: the verdict in short.

    Raises:
        NotFound: there is no log at `log`. BadInput: its log.json is not usable. BadSetting: a setting or an accepted
        name is unknown or out of range.
    """
    with task_record("validate_logs") as record:
        chosen = from_overrides(ValidationSettings, settings)
        source = Log(log)
        rules = Rules.of(source.description, chosen)
        store, remark = open_store(previous_statistics)
        alarms = Alarms(parse_accept(accept), store.accepted, chosen.warn_only, expectation_names())
        with (
            staged_directory(statistics) as new,
            staged_directory(quarantine) as bad,
            staged_directory(checked) as good,
        ):
            night = Night(source, rules, store, new)
            night.run()
            publish(night, good, bad)
            _describe_checked(night, good)
            notes = [*describe_left_out(night), *([remark] if remark else [])]
            newest = newest_day(night)
            judge_rows(night, alarms)
            judge_categories(night, alarms)
            judge_days(night, newest, alarms)
            compared = judge_distributions(night, newest, alarms)
            notes += _comparison_notes(night, compared, newest)
            days = day_figures(night) if night.rules.days else []
            suites = _suites(night, Log(good), alarms, notes)
            body = _verdict(night, alarms, notes, newest, compared)
            limits = day_limits(days, night.rules.settings, DAYS_SHOWN)
            body.update(quarantine=quarantine_reasons(night.outcomes), days=days[-DAYS_SHOWN:], limits=limits)
            write_json(new / "statistics.json", _statistics(night, alarms, newest))
        write_text(report, render(body, suites))
        write_json(verdict, body)
        _record(record, body, night)
    short = {"open": body["open"], "reason": body["reason"], "rows": body["rows"]}
    return {**short, "alarms": sorted({item["name"] for item in body["alarms"]})}


def _suites(night: Night, checked: Log, alarms: Alarms, notes: list[str]) -> list[SuiteResult]:
    if not night.rules.settings.expectations:
        notes.append("The expectation suites were switched off (validation.expectations=false).")
        return []
    results = run_suites(frames(night, checked), {**night.log.has, "days": night.rules.days})
    for result in results:
        for finding in result.findings:
            alarms.add(finding.name, finding.sentence, finding.severity)
        if result.evaluated == 0:
            notes.append(f"The suite {result.name} had nothing to look at.")
    return results


def _comparison_notes(night: Night, compared: Compared, newest: str | None) -> list[str]:
    store: Store = night.earlier
    notes = [*compared.notes]
    if len(compared.days) > 1:
        notes.append(f"{len(compared.days)} days are new since the served release; each was compared.")
    if store and store.source != str(night.log.description.get("source", "")):
        notes.append(f"The served release comes from the source {store.source!r}: it was not compared with this log.")
    elif night.rules.days and newest is not None and store.newest is not None and newest <= store.newest:
        went_back = f": the log ends on {newest}" if newest < store.newest else ""
        notes.append(f"No day is newer than {store.newest}, the newest that the served release knows{went_back}.")
    if not compared.baselines:
        notes.append("There is nothing to compare with yet: drift was not checked.")
    if night.reused:
        notes.append(f"{len(night.reused)} of {len(night.outcomes)} partitions are unchanged and were not read again.")
    return notes


def _describe_checked(night: Night, checked: Path) -> None:
    """The checked log's own log.json: the same description, its own counts and content fingerprint."""
    rows = rows_by_table(night.outcomes)
    contents = []
    for outcome in night.outcomes.values():
        for name, mark in outcome.files.items():
            if name not in outcome.unreadable and name not in outcome.dropped:
                contents.append(f"{name}\0{outcome.rewritten.get(name, mark['sha256'])}\n")
    counts = night.log.description.get("counts")
    description = {
        **night.log.description,
        "counts": {**(counts if isinstance(counts, dict) else {}), **{t: row["good"] for t, row in rows.items()}},
        "fingerprint": hashlib.sha256("".join(sorted(contents)).encode()).hexdigest(),
    }
    checked.mkdir(parents=True, exist_ok=True)
    write_json(checked / "log.json", description)


def _verdict(night: Night, alarms: Alarms, notes: list[str], newest: str | None, compared: Compared) -> dict[str, Any]:
    closing = alarms.closing()
    rows = rows_by_table(night.outcomes)
    if closing:
        more = f" ({len(closing) - 1} more in the report)" if len(closing) > 1 else ""
        reason = f"{closing[0].sentence}{more} If this is meant, accept {closing[0].name!r} by name."
    else:
        total, good = (sum(row[name] for row in rows.values()) for name in ("in", "good"))
        count = len(alarms.found)
        alarmed = f"{count} alarm{'s' * (count > 1)} in the report, warned of or accepted" if count else "no alarm"
        reason = f"The log is sound: {good:,} of {total:,} rows go on; {alarmed}."
    if unused := alarms.unused():
        notes.append(f"Accepted but not found: {', '.join(unused)}.")
    unreadable = {n: item["reason"] for o in night.outcomes.values() for n, item in o.unreadable.items()}
    return {
        "gate": "validate_logs",
        "open": not closing,
        "reason": reason,
        "alarms": alarms.as_json(),
        "accepted": sorted(alarms.accept),
        "rows": rows,
        "unreadable_files": unreadable,
        "newest_day": newest,
        "judged_days": compared.days,
        "compared_with": compared.baselines,
        "reused_partitions": len(night.reused),
        "notes": notes,
        "simulated": bool(night.log.description.get("simulated", False)),
        "source": str(night.log.description.get("source", "")),
    }


def _statistics(night: Night, alarms: Alarms, newest: str | None) -> dict[str, Any]:
    days = sorted({o.day for o in night.outcomes.values() if o.day is not None and o.good})
    scopes = {outcome.fingerprint for outcome in night.outcomes.values()}
    kept = [pair for pair in alarms.earlier if pair[1] in scopes]
    return {
        "format": FORMAT,
        "source": str(night.log.description.get("source", "")),
        "simulated": bool(night.log.description.get("simulated", False)),
        "days": days,
        "newest_day": newest,
        "accepted": sorted({*map(tuple, kept), *(pair for pair in alarms.acceptances() if pair[1])}),
        "partitions": {key: outcome.as_json() for key, outcome in night.outcomes.items()},
    }


def _record(record: TaskRecord, body: dict[str, Any], night: Night) -> None:
    record.figure("rows", body["rows"])
    record.figure("alarms", [{"name": i["name"], "severity": i["severity"]} for i in body["alarms"]])
    record.figure("reused_partitions", body["reused_partitions"])
    for note in body["notes"]:
        record.note(note)
    told: Counter[str] = Counter()
    for item in body["alarms"]:
        told[item["name"]] += 1
        if told[item["name"]] <= _TOLD:
            record.note(f"{item['severity']}{' (accepted)' if item['accepted'] else ''}: {item['sentence']}")
    for name, count in told.items():
        if count > _TOLD:
            record.note(f"{count - _TOLD} more alarms {name} are in the report.")
    bad = sum(row["quarantined"] for row in body["rows"].values())
    if bad:
        record.note(f"{bad:,} rows are in quarantine, each with its reason and origin.")
