"""`run.json`: what a run did, task by task, and why it stopped. Built from the task records, never from log lines."""

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.common.errors import BadInput, NotFound
from components.common.files import read_json, write_json
from components.common.manifest import current_release_id
from components.common.processes import is_alive
from components.common.records import read_task_records
from components.common.stopping import stopped_by
from components.runs.advice import command

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TASKS = (
    "inspect_inputs",
    "load_log",
    "validate_logs",
    "data_gate",
    "build_features",
    "materialise_features",
    "train_towers",
    "evaluate_towers",
    "quality_gate",
    "embed_catalogue",
    "upsert_embeddings",
    "smoke_test",
    "infrastructure_gate",
    "deploy_endpoint",
    "promote_release",
)
"""The tasks in the order the DAG runs them; a task of the DAG that is not here would be missing in `run.json`."""


@dataclass(frozen=True)
class RunRequest:
    """What was asked for when a run was started."""

    run_id: str
    source: str
    data: str
    model: str
    settings: Mapping[str, str]
    command: str = ""
    """The command line that asks for the same run again; empty where no person typed one."""


def new_run_id(moment: datetime | None = None) -> str:
    """A sortable run id, `run-YYYYMMDD-HHMMSS-<pid>`: two runs of one second are told apart by their process."""
    return f"run-{(moment or datetime.now(UTC)).strftime('%Y%m%d-%H%M%S')}-{os.getpid():x}"


def start_run(folder: Path, request: RunRequest, parent: str | None) -> None:
    """Writes the first `run.json` of a run, state `running`, so that a killed run is seen as one."""
    write_json(
        folder / "run.json",
        {
            "run": request.run_id,
            "state": "running",
            "reason": "",
            "gate": None,
            "exit_code": None,
            "source": request.source,
            "data": request.data,
            "model": request.model,
            "settings": dict(request.settings),
            "command": request.command,
            "release": None,
            "served_before": parent,
            "started": datetime.now(UTC).isoformat(),
            "seconds": 0.0,
            "pid": os.getpid(),
            "tasks": [],
        },
    )


def finish_run(folder: Path, served_now: str | None, failure: str = "") -> dict[str, Any]:
    """Settles `run.json` from the task records and returns it. Idempotent: exit handler and command both call it.

    `failure` is the orchestrator's own error; it decides only when no task recorded a reason. `exit_code` is that of
    the command: 0, 3 for a closed gate, else that of the task's error, 1 for one that nobody expected.
    """
    run = read_json(folder / "run.json")
    tasks = task_table(read_task_records(folder))
    stopped = next((task for task in tasks if task["state"] in ("closed", "failed", "killed")), None)
    finished = tasks[-1]["state"] == "done"
    run["tasks"] = tasks
    run["seconds"] = round((datetime.now(UTC) - datetime.fromisoformat(run["started"])).total_seconds(), 1)
    run["release"] = tasks[-1]["figures"].get("release") if finished else None
    run["served_now"] = served_now
    run["simulated"] = any(
        figures.get("simulated") for task in tasks for figures in (task["figures"], task["figures"].get("verdict", {}))
    )  # a reused task has no record, but its gate's verdict says so too
    if stopped is not None:
        run["state"] = "stopped" if stopped["state"] == "closed" else "failed"
        run["gate"] = stopped["task"] if stopped["state"] == "closed" else None
        run["reason"] = stopped["reason"] or f"{stopped['task']} ended without a word; its log has more."
        run["exit_code"] = stopped["exit_code"] or 1
    elif finished:
        run["state"], run["reason"], run["exit_code"] = "succeeded", f"release {run['release']} is served.", 0
    else:
        run["state"], run["exit_code"] = "failed", 1
        run["reason"] = failure or "the run ended before its last task."
    write_json(folder / "run.json", run)
    return run


def stop_run(folder: Path, code: int) -> dict[str, Any]:
    """Settles `run.json` of a run that Ctrl-C or a signal ended, with its exit code, and returns it."""
    tasks = task_table(read_task_records(folder))
    run = _cut_off(read_json(folder / "run.json"), tasks, folder, f"stopped {stopped_by(code)}")
    run |= {"exit_code": code, "served_now": current_release_id(folder.parents[1])}
    write_json(folder / "run.json", run)
    return run


def task_table(records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a task in DAG order: state (done, reused, closed, failed, killed, not reached), seconds, notes, figures.

    A task without a record was answered from the cache when a later task has one; otherwise it was not reached. A
    record still `running` when the run is over belongs to a killed task. Parallel parts of a task are one row.
    """
    records = {name: _joined(name, records) for name in TASKS if _parts(name, records)}
    last = max((index for index, name in enumerate(TASKS) if name in records), default=-1)
    rows = []
    for index, name in enumerate(TASKS):
        record = records.get(name)
        if record is None:
            state = "reused" if index < last else "not reached"
            rows.append({"task": name, "state": state, "seconds": 0.0, "reason": "", "notes": [], "figures": {}})
            continue
        state = "killed" if record["state"] == "running" else record["state"]
        rows.append({**{key: record[key] for key in ("task", "seconds", "reason", "notes", "figures")}, "state": state})
        rows[-1] |= {"peak_bytes": record["peak_bytes"], "exit_code": record.get("exit_code")}
    return rows


_WORST_FIRST = ("failed", "closed", "killed", "running", "done")


def _parts(name: str, records: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A task's record, or those of its parts, `<task>_<number>_of_<count>`."""
    part = re.compile(rf"{name}(_\d+_of_\d+)?")
    return [record for other, record in records.items() if part.fullmatch(other)]


def _joined(name: str, records: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """One record of a task's parts: the worst state with its reason, the longest seconds, the largest memory."""
    parts = sorted(_parts(name, records), key=lambda part: _WORST_FIRST.index(part["state"]))
    if len(parts) == 1:
        return {**parts[0], "task": name}
    return {
        **parts[0],
        "task": name,
        "seconds": max(part["seconds"] for part in parts),
        "peak_bytes": max(part["peak_bytes"] for part in parts),
        "notes": list(dict.fromkeys(note for part in parts for note in part["notes"])),
        "figures": {"parts": len(parts)},
    }


def settle_killed_runs(workdir: Path) -> list[str]:
    """Marks runs that say `running` although no process runs them, also one of this process that an error cut off.

    Call it with the lock held and before a run begins. Returns their ids.
    """
    settled = []
    for folder in _folders(workdir):
        run = _read(folder)
        if run["state"] != "running":
            continue
        write_json(folder / "run.json", _cut_off(run, task_table(read_task_records(folder)), folder))
        settled.append(run["run"])
    return settled


def _cut_off(run: dict[str, Any], tasks: list[dict[str, Any]], folder: Path, how: str = "killed") -> dict[str, Any]:
    """A run that did not come to its end: it took until its last word. One that promoted its release is told apart."""
    paths = (folder / "run.json", folder / "log.txt", *folder.glob("tasks/*.json"))
    written = [path.stat().st_mtime for path in paths if path.exists()]
    seconds = max(written) - datetime.fromisoformat(run["started"]).timestamp()
    candidate = next(task["figures"].get("release") for task in tasks if task["task"] == "upsert_embeddings")
    if tasks[-1]["state"] == "done":
        release = tasks[-1]["figures"].get("release")
        reason = f"the run was {how} after its last task; release {release} is served."
    elif candidate is not None and candidate == current_release_id(folder.parents[1]):
        release, reason = candidate, f"the run was {how} when release {candidate} was served already."
    else:
        where = next((f" in {task['task']}" for task in tasks if task["state"] == "killed"), "")
        release, reason = None, f"the run was {how}{where}; nothing that is served changed."
    done = {"state": "killed", "reason": reason, "release": release, "tasks": tasks}
    return {**run, **done, "seconds": round(max(seconds, 0.0), 1)}


def _folders(workdir: Path) -> list[Path]:
    return sorted(path.parent for path in (Path(workdir) / "runs").glob("*/run.json"))


def list_runs(workdir: Path) -> list[dict[str, Any]]:
    """Every `run.json` of a work directory, newest first; one that is going on as far as it has come.

    Newest is what began last: a cluster's run ids tell no time. A run that began in the future, before the clock was
    set back, comes after those that the clock knows.
    """
    now = datetime.now(UTC).isoformat()
    runs = [_as_seen(folder) for folder in _folders(workdir)]
    return sorted(runs, key=lambda run: (run["started"] <= now, run["started"], run["run"]), reverse=True)


def find_run(workdir: Path, name: str) -> tuple[Path, dict[str, Any]]:
    """A run's folder and its `run.json`, by id or as `latest`. Raises NotFound."""
    runs = list_runs(workdir)
    found = next((run for run in runs if name in ("latest", run["run"])), None)
    if not runs:
        raise NotFound(f"{workdir} holds no run; `{command(Path(workdir).absolute(), 'run')}` makes the first.")
    if found is None:
        raise NotFound(f"there is no run {name!r} in {workdir}; `python pipeline.py runs` lists them.")
    return Path(workdir) / "runs" / found["run"], found


def _read(folder: Path) -> dict[str, Any]:
    """A run's `run.json`; one that is damaged is a run of state `broken`, so that it hides no other."""
    path = folder / "run.json"
    with contextlib.suppress(BadInput):
        run = read_json(path)
        if isinstance(run, dict) and {"run", "state", "reason", "started", "seconds", "tasks", "gate"} <= run.keys():
            return run
    empty: dict[str, Any] = {
        "gate": None,
        "exit_code": None,
        "started": "",
        "seconds": 0.0,
        "tasks": [],
        "release": None,
    }
    return {"run": folder.name, "state": "broken", "reason": f"{path} cannot be read; delete its folder.", **empty}


def _as_seen(folder: Path) -> dict[str, Any]:
    run = _read(folder)
    if run["state"] != "running":
        return run
    tasks = task_table(read_task_records(folder))
    if not is_alive(run["pid"]):
        return _cut_off(run, tasks, folder)
    run["seconds"] = round((datetime.now(UTC) - datetime.fromisoformat(run["started"])).total_seconds(), 1)
    for task in tasks:
        task["state"] = "running" if task["state"] == "killed" else task["state"]
    return {**run, "tasks": tasks, "reason": "it is going on."}


def log_tail(folder: Path, lines: int = 12) -> str:
    """The last lines of a run's log, to show under a failure that recorded no reason."""
    path = folder / "log.txt"
    if not path.exists():
        return ""
    text = without_colours(path.read_text(encoding="utf-8", errors="replace")).splitlines()
    return "\n".join(line for line in text[-lines:] if line.strip())


def without_colours(text: str) -> str:
    """The text without a terminal's colour codes, which kfp writes anywhere."""
    return _COLOURS.sub("", text)
