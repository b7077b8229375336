"""What the terminal shows of a run: a line when a task begins and ends, its progress, its notes, a table at the end."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.common.records import read_task_records
from components.runs.state import TASKS

_STYLE = {"done": "green", "reused": "cyan", "closed": "yellow", "failed": "red", "killed": "red", "not reached": "dim"}


class RunConsole:
    """Follows the task records of a run's folder in a thread and shows what changes. Use as a context manager.

    On a terminal the tasks draw their bars on it themselves; elsewhere they append plain lines to `progress.log`,
    which is followed here.
    """

    def __init__(self, folder: Path, console: Console | None = None) -> None:
        self.folder = folder
        self.console = console or Console(stderr=True, highlight=False)
        self._states: dict[str, str] = {}
        self._position = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="run-console", daemon=True)

    def progress_target(self) -> str:
        """Where tasks show their progress: the terminal's device, or a file of the run."""
        return os.ttyname(sys.stderr.fileno()) if self.console.is_terminal else str(self.folder / "progress.log")

    def __enter__(self) -> "RunConsole":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._show()

    def _follow(self) -> None:
        while not self._stop.wait(0.3):
            self._show()

    def _show(self) -> None:
        records = read_task_records(self.folder)
        self._show_progress()
        for name in (*TASKS, *(name for name in records if name not in TASKS)):
            record = records.get(name)
            if record is None or self._states.get(name) == record["state"]:
                continue
            self._states[name] = record["state"]
            if record["state"] == "running":
                self.console.print(f"[bold]{name}[/] …")
                continue
            style = _STYLE.get(record["state"], "")
            self.console.print(f"[bold]{name}[/] [{style}]{record['state']}[/] in {record['seconds']:.1f} s")
            for note in record["notes"]:
                self.console.print(f"  {escape(note)}", style="dim")
            if record["reason"]:
                self.console.print(f"  {escape(record['reason'])}", style=style)

    def _show_progress(self) -> None:
        path = self.folder / "progress.log"
        if not path.exists():
            return
        with open(path, encoding="utf-8", errors="replace") as file:
            file.seek(self._position)
            text = file.read()
            complete = text.rfind("\n") + 1
            self._position += len(text[:complete].encode("utf-8"))
        for line in text[:complete].splitlines():
            self.console.print(f"  {escape(line)}", style="dim")


def stage_table(run: dict[str, Any]) -> Table:
    """The table of stages and seconds that ends every run."""
    table = Table(title=f"{run['run']}: {run['state']}", title_justify="left")
    table.add_column("stage")
    table.add_column("state")
    table.add_column("seconds", justify="right")
    table.add_column("peak memory", justify="right")
    for task in run["tasks"]:
        peak = task.get("peak_bytes")
        table.add_row(
            task["task"],
            f"[{_STYLE.get(task['state'], '')}]{task['state']}[/]",
            f"{task['seconds']:.1f}" if task["seconds"] else "-",
            f"{peak / 2**20:,.0f} MB" if peak else "-",
        )
    table.add_row("[bold]all[/]", run["state"], f"{run['seconds']:.1f}", "")
    return table
