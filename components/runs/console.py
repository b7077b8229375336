"""What the terminal shows of a run: a line when a task begins and ends, its progress, its notes, a table at the end."""

import os
import sys
import threading
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from components.common.records import read_task_records
from components.runs.state import TASKS

STYLE = {"done": "green", "reused": "cyan", "closed": "yellow", "failed": "red", "killed": "red", "not reached": "dim"}


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
        if sys.stderr.isatty():  # a console that is told to show colours believes to be a terminal anywhere
            return os.ttyname(sys.stderr.fileno())
        return str(self.folder / "progress.log")

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
            style = STYLE.get(record["state"], "")
            self.console.print(f"[bold]{name}[/] [{style}]{record['state']}[/] in {record['seconds']:.1f} s")
            for note in record["notes"]:
                self._line(note, "dim")
            if record["reason"]:
                self._line(record["reason"], style)

    def _line(self, text: str, style: str) -> None:
        """One line of text; only a terminal wraps it, so that a log file keeps a sentence together."""
        self.console.print(f"  {escape(text)}", style=style, soft_wrap=not self.console.is_terminal)

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
            self._line(line, "dim")
