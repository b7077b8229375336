"""A log looked at before its first run: what a run's first tasks say of it, in seconds and without training."""

from pathlib import Path
from typing import Any

from components.common.lock import workdir_lock


def check_log(
    workdir: Path, source: str, data: str, accept: str, log_settings: str = "{}", validation_settings: str = "{}"
) -> dict[str, Any]:
    """Takes a log in and validates it, in `<workdir>/check/`, which is replaced; a closed gate is an answer, no error.

    It is compared with the log of the served release, as a run would. Settings are JSON objects of overrides of
    `LogSettings` and `ValidationSettings`.

    Returns {"open", "reason", "rows": {table: {"in", "good", "quarantined"}}, "alarms": [names], "quarantine",
    "report"}; the last two are paths. Raises BadInput, BadSetting, NotFound, and WorkdirBusy while another check writes
    there.
    """
    from components.logs.step import load_log
    from components.validation.step import run

    folder = workdir / "check"
    with workdir_lock(folder, "check"):
        load_log(source, data, log_settings, folder / "log", folder / "truth")
        verdict = run(
            log=folder / "log",
            checked=folder / "checked",
            quarantine=folder / "quarantine",
            statistics=folder / "statistics",
            verdict=folder / "verdict.json",
            report=folder / "report.html",
            settings=validation_settings,
            previous_statistics=str(workdir / "statistics"),
            accept=accept,
        )
    return {**verdict, "quarantine": str(folder / "quarantine"), "report": str(folder / "report.html")}


def describe_check(verdict: dict[str, Any]) -> str:
    """The answer of `check_log` in lines: rows by table, the verdict, and where to look."""
    lines = [
        f"{table}: {rows['in']:,} rows, {rows['quarantined']:,} of them in quarantine"
        for table, rows in verdict["rows"].items()
    ]
    lines.append(verdict["reason"])
    if any(rows["quarantined"] for rows in verdict["rows"].values()):
        lines.append(f"quarantine: {verdict['quarantine']}")
    return "\n".join([*lines, f"report: {verdict['report']}"])
