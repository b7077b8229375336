"""What each task of a run did: its state, its seconds, its notes and figures, one small file per task.

The run's folder is named by the environment (TOWERLINE_RUN_DIR, or TOWERLINE_WORKDIR with TOWERLINE_RUN_ID on a
cluster), outside the task's arguments, so that the same task of two runs has the same cache key. `run.json` and the
report are made from these files.
"""

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.common.errors import DISK, BadInput, GateClosed, TowerlineError, disk_trouble
from components.common.files import read_json, write_json
from components.common.processes import end_with_owner
from components.common.stopping import exit_code, stoppable, stopped_by

_WRITTEN = {"task", "state", "seconds", "peak_bytes", "reason", "notes", "figures"}


@dataclass
class TaskRecord:
    """State of one task; `note` and `figure` add to it while it works."""

    name: str
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def note(self, sentence: str) -> None:
        """Adds a plain sentence that a person should read in the report (what was left out, what was assumed)."""
        if sentence not in self.notes:
            self.notes.append(sentence)
            print(f"{self.name}: {sentence}", flush=True)

    def figure(self, name: str, value: Any) -> None:
        """Adds a JSON value worth showing: a count, a rate, a small table."""
        self.figures[name] = value


def run_directory() -> Path | None:
    """The folder of the current run, or None outside a run."""
    value = os.environ.get("TOWERLINE_RUN_DIR")
    if value:
        return Path(value)
    workdir, run_id = os.environ.get("TOWERLINE_WORKDIR"), os.environ.get("TOWERLINE_RUN_ID")
    return Path(workdir) / "runs" / run_id if workdir and run_id else None


@contextlib.contextmanager
def task_record(name: str) -> Iterator[TaskRecord]:
    """Records a task: running, then done, closed (a gate refused), failed with its sentence, or killed when it was
    stopped. Errors pass through."""
    record = TaskRecord(name)
    started, clock = datetime.now(UTC), time.monotonic()

    def save(state: str, reason: str = "", code: int | None = None) -> None:
        folder = run_directory()
        if folder is None:
            return
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        write_json(
            folder / "tasks" / f"{name}.json",
            {
                "task": name,
                "state": state,
                "started": started.isoformat(),
                "seconds": round(time.monotonic() - clock, 3),
                "peak_bytes": peak,
                "reason": reason,
                "exit_code": code,
                "notes": record.notes,
                "figures": record.figures,
                "pid": os.getpid(),
            },
        )

    end_with_owner()
    with stoppable():
        save("running")
        try:
            yield record
        except GateClosed as error:
            save("closed", str(error), error.exit_code)
            raise
        except TowerlineError as error:
            save("failed", str(error), error.exit_code)
            raise
        except KeyboardInterrupt as stop:
            save("killed", f"it was stopped {stopped_by(exit_code(stop))}.", exit_code(stop))
            raise
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
            if isinstance(error, OSError) and error.errno in DISK:
                said = f"{disk_trouble(error)}."
            save("failed", said, TowerlineError.exit_code)
            raise
        save("done", code=0)


def read_task_records(folder: Path) -> dict[str, dict[str, Any]]:
    """All task records of a run's folder by task name; one that is damaged is left out, and hides no other."""
    found = {}
    for path in sorted((Path(folder) / "tasks").glob("*.json")):
        with contextlib.suppress(BadInput):
            body = read_json(path)
            if isinstance(body, dict) and body.keys() >= _WRITTEN:
                found[path.stem] = body
    return found
