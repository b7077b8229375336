"""What commands print: tables where there is a terminal, plain aligned lines where not, JSON where it is asked for."""

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.common.errors import TowerlineError
from components.common.files import read_json
from components.runs.advice import command, next_steps
from components.runs.console import STYLE

_NARROW = 60
_WHOLE = ("release", "run", "stage", "product", "state")  # what a person copies or looks for
_PLAIN_WIDTH = 400  # a log file or a pipe wraps nothing


def print_search(answer: dict[str, Any], query: str, user: str | None, as_json: bool) -> None:
    """Prints a search's products, the release that answered and whether the answer was degraded."""
    if as_json:
        return print_json(answer)
    who = f"shopper {user}" if user else "anonymous"
    rows = [
        [str(rank), product["product_id"], product.get("title"), product.get("brand"), f"{product['score']:.3f}"]
        for rank, product in enumerate(answer["products"], 1)
    ]
    console = _console()
    _print_table(console, f"“{query}”, {who}", ["", "product", "title", "brand", "score"], rows, ("", "score"))
    if not rows:
        console.print("no product matches.")
    degraded = f"; degraded: {', '.join(answer['degraded'])}" if answer["degraded"] else ""
    console.print(f"release {answer['release']}{escape(degraded)}", style="dim")


def print_releases(releases: list[dict[str, Any]], workdir: Path, as_json: bool) -> None:
    """Prints the releases, oldest first, the served one marked; below them what is wrong with a broken one."""
    if as_json:
        return print_json(releases)
    console = _console()
    if not releases:
        return console.print(
            f"no releases yet; `{command(workdir.absolute(), 'run')}` makes the first.", soft_wrap=True
        )
    rows = [
        ["→" if release["current"] else "", release["release_id"], release["state"], release["model"], _data(release),
         _moment(release["created_at"]), release["parent"]]
        for release in releases
    ]  # fmt: skip
    _print_table(console, "", ["", "release", "state", "model", "data", "made (UTC)", "parent"], rows)
    for release in releases:
        if "problem" in release:
            console.print(release["problem"], style="red", markup=False, highlight=False, soft_wrap=True)


def _data(release: dict[str, Any]) -> str:
    if "problem" in release:
        return ""
    return "simulated" if release["simulated"] else "real"


def print_runs(runs: list[dict[str, Any]], workdir: Path, as_json: bool) -> None:
    """Prints the runs, newest first, with how each ended and why."""
    if as_json:
        return print_json(runs)
    console = _console()
    if not runs:
        return console.print(f"no runs yet; `{command(workdir.absolute(), 'run')}` makes the first.", soft_wrap=True)
    rows = [
        [run["run"], _state(run["state"]), _moment(run["started"]), f"{run['seconds']:,.0f} s", run["reason"]]
        for run in runs
    ]
    _print_table(console, "", ["run", "state", "begun (UTC)", "took", "why"], rows, ("took",), markup=(1,))


def print_run(run: dict[str, Any], folder: Path, as_json: bool) -> None:
    """Prints a settled run: its stages, why it ended, what to do next and where its report is; or its `run.json`."""
    if as_json:
        return print_json(run)
    console = _console()
    rows = []
    for task in run["tasks"]:
        peak = task.get("peak_bytes")
        seconds = f"{task['seconds']:.1f}" if task["seconds"] else "-"
        rows.append([task["task"], _state(task["state"]), seconds, f"{peak / 2**20:,.0f} MB" if peak else "-"])
    rows.append(["all", _state(run["state"]), f"{run['seconds']:.1f}", ""])
    head = ["stage", "state", "seconds", "peak memory"]
    _print_table(console, f"{run['run']}: {run['state']}", head, rows, ("seconds", "peak memory"), markup=(1,))
    console.print(f"[bold]{_state(run['state'])}[/]: {escape(run['reason'])}", soft_wrap=True)
    verdict = folder / f"{run['gate']}.json"
    for step in next_steps(run, folder.absolute(), read_json(verdict) if run["gate"] and verdict.exists() else None):
        console.print(f"- {escape(step['text'])}", soft_wrap=True)
        if step["command"]:
            console.print(f"    {escape(step['command'])}", soft_wrap=True)
    if (folder / "report.html").exists():
        console.print(f"report: {folder / 'report.html'}", soft_wrap=True)


def print_settings(rooms: Mapping[str, Sequence[tuple[str, str, str, str]]], as_json: bool) -> None:
    """Prints settings by room, from rows of (name, type, default, reason)."""
    if as_json:
        names = ("name", "type", "default", "reason")
        return print_json({room: [dict(zip(names, row, strict=True)) for row in rows] for room, rows in rooms.items()})
    console = _console()
    for room, rows in rooms.items():
        shown = [[f"{room}.{name}", default, reason] for name, _, default, reason in rows]
        _print_table(console, "", ["setting", "default", "reason"], shown)


def canary_sentence(state: dict[str, Any]) -> str:
    """The state of the canary (`releases.rollout.canary_state`) in one sentence."""
    stable, canary, stopped = state["stable"], state["canary"], state["stopped"]
    if stopped:
        why = f"the canary {stopped['release']} was stopped: {stopped['reason']}"
        return f"release {stable} is served to everybody; {why}"
    if canary is None:
        return f"release {stable} is served to everybody; there is no canary."
    return f"release {canary} is served to {state['percent']:g} % of the shoppers, {stable} to the others."


def announce_server(workdir: Path) -> None:
    """Says on the terminal that a server of this process starts, and where it is as soon as it answers."""
    announcement = Path(workdir) / "server.json"
    print("starting the server; this takes some seconds …", file=sys.stderr)

    def watch() -> None:
        while True:
            try:
                found = read_json(announcement)
            except TowerlineError:
                found = None
            if isinstance(found, dict) and found.get("pid") == os.getpid():
                print(f"the search page is at {found['url']}/ (Ctrl-C stops the server)", file=sys.stderr)
                return
            threading.Event().wait(0.2)

    threading.Thread(target=watch, name="announce", daemon=True).start()


def print_json(value: Any) -> None:
    """Prints a value as JSON with a final newline."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _print_table(
    console: Console,
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    right: Sequence[str] = (),
    markup: Sequence[int] = (),
) -> None:
    """`right` names the columns of numbers; cells of the columns `markup` carry colours, all others are text."""
    drawn = {} if console.is_terminal else {"box": None, "pad_edge": False}
    table = Table(title=escape(title) or None, title_justify="left", **drawn)  # type: ignore[arg-type]
    for name in head:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name in _WHOLE)
    for row in rows:
        table.add_row(*(str(cell) if n in markup else escape(cell or "") for n, cell in enumerate(row)))
    console.print(table)


def _state(state: str) -> str:
    style = {**STYLE, "succeeded": "green", "stopped": "yellow"}.get(state, "")
    return f"[{style}]{state}[/]" if style else state


def _moment(text: str) -> str:
    return text[:16].replace("T", " ")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves a reader who has gone away to the command line; rich would end the process with exit code 1."""
        raise


def _console() -> Console:
    """The terminal's console; plain lines where there is none, or where it is too narrow for a table."""
    console = _Console(highlight=False)
    if console.is_terminal and console.width >= _NARROW:
        return console
    return _Console(highlight=False, width=_PLAIN_WIDTH, force_terminal=False)
