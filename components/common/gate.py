"""A gate reads a verdict file and lets the run through, or stops it."""

import shutil
from pathlib import Path

from components.common.errors import BadInput, GateClosed
from components.common.files import read_json
from components.common.records import run_directory, task_record


def pass_gate(name: str, verdict: Path, evidence: Path | None = None) -> None:
    """Returns when `verdict` ({"open": bool, "reason": sentence}) is open; raises GateClosed with its reason otherwise.

    A verdict that cannot be read, or does not say `true`, is closed: silence never opens a gate. The verdict, and the
    `evidence` it was given on (a folder's JSON files, or a page), are kept in the run's folder for the report.
    """
    with task_record(name) as record:
        _keep(name, verdict, evidence)
        body = read_json(verdict)
        if not isinstance(body, dict) or "open" not in body:
            raise BadInput(f"{verdict} is not a verdict: it lacks 'open'.")
        record.figure("verdict", body)
        if body["open"] is not True:
            raise GateClosed(str(body.get("reason") or "the verdict is closed and gives no reason."))
        if body.get("reason"):
            record.note(str(body["reason"]))


def _keep(name: str, verdict: Path, evidence: Path | None) -> None:
    folder = run_directory()
    if folder is None:
        return
    if verdict.is_file():
        shutil.copyfile(verdict, folder / f"{name}.json")
    if evidence is not None and evidence.is_dir():
        for path in (*evidence.glob("*.json"), *evidence.glob("*.parquet")):
            shutil.copyfile(path, folder / path.name)
    elif evidence is not None and evidence.is_file():
        shutil.copyfile(evidence, folder / f"{name}.html")
