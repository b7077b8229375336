"""The exit handler: settles run.json and writes the report, whatever happened before."""

import shutil
from pathlib import Path

from components.common.errors import NotFound
from components.common.manifest import current_release_id
from components.common.records import run_directory
from components.runs.report import write_report
from components.runs.state import RunRequest, finish_run, start_run


def report_run(workdir: Path, source: str, data: str, model: str, state: str, error: str, report: Path) -> None:
    """Settles the current run's `run.json`, writes its `report.html` and copies it to `report` (an artifact's path).

    On a cluster nobody has begun `run.json` before; it is begun here. Raises NotFound when the task does not know its
    run (TOWERLINE_RUN_DIR, or TOWERLINE_WORKDIR and TOWERLINE_RUN_ID).
    """
    folder = run_directory()
    if folder is None:
        raise NotFound("this task does not know its run: set TOWERLINE_WORKDIR and TOWERLINE_RUN_ID.")
    if not (folder / "run.json").exists():
        start_run(folder, RunRequest(folder.name, source, data, model, {}), current_release_id(workdir))
    finish_run(
        folder, current_release_id(workdir), error or ("" if state == "SUCCEEDED" else f"the run ended as {state}.")
    )
    page = write_report(workdir, folder.name)
    report.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(page, report)
