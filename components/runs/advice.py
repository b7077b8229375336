"""What a person does next after a run: sentences and commands by how the run ended, for the report and the terminal."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.common.stopping import STOPPED


def next_steps(run: Mapping[str, Any], folder: Path, verdict: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """Steps in the order to try them, `{"text", "command"}`; a command may be empty.

    `run` is a settled `run.json`, `folder` the run's folder in its work directory, `verdict` that of the gate that
    closed, where one did.
    """
    workdir = folder.parents[1]
    if run["state"] == "succeeded":
        return _succeeded(run, workdir)
    if run["state"] == "stopped":
        return _stopped(run, workdir, verdict or {})
    if run["state"] in ("failed", "killed"):
        task = next((task["task"] for task in run["tasks"] if task["state"] in ("failed", "killed")), None)
        where = f"It ended in {task}; " if task else ""
        log = f"{where}{folder / 'log.txt'} has every word of it." if (folder / "log.txt").exists() else where
        steps = [_step(log)] if log else []
        when = "" if run.get("exit_code") in STOPPED else " when the cause is gone"
        again = f"Run it again{when}: tasks whose data and code are unchanged are reused."
        return [*steps, _step(again, run.get("command", ""))]
    return []


def _succeeded(run: Mapping[str, Any], workdir: Path) -> list[dict[str, str]]:
    steps = [_step("See it answer.", command(workdir, "serve"))]
    if run.get("served_before"):
        steps.append(_step("Should it disappoint, serve the release before it again.", command(workdir, "rollback")))
    return steps


def _stopped(run: Mapping[str, Any], workdir: Path, verdict: Mapping[str, Any]) -> list[dict[str, str]]:
    again = str(run.get("command", ""))
    if run["gate"] == "data_gate":
        closing = [a for a in verdict.get("alarms", []) if a["severity"] == "stop" and not a["accepted"]]
        names = ",".join(dict.fromkeys(alarm["name"] for alarm in closing))
        return [
            _step("If the log is broken, mend it at its source and run again.", again),
            _step("If the change is meant, accept it by name; it is then usual for the next nights.",
                  f"{again} --accept {names}" if again and names else ""),
        ]  # fmt: skip
    if run["gate"] == "quality_gate":
        return [
            _step("Look at the comparisons that did not pass, and at the queries it loses, in the report."),
            _step("If the model learned too little, train longer or on more days.",
                  f"{_without(again, 'towers.epochs')} --set towers.epochs=N" if again else ""),
            _step("If the loss is one you accept, the gate's limits are settings: evaluation.tolerance, "
                  "evaluation.slice_tolerance and evaluation.lexical_margin."),
        ]  # fmt: skip
    candidate = _candidate(run)
    steps = [_step("Start the candidate yourself and see what it says.",
                   command(workdir, "serve", "--release", candidate))] if candidate else []  # fmt: skip
    if run["gate"] == "infrastructure_gate":
        steps.append(_step("If the machine was busy, run again: everything before this gate is reused.", again))
    else:
        steps.append(_step("Run it again when the cause is gone.", again))
    return steps


def _without(again: str, setting: str) -> str:
    return re.sub(rf" --set {re.escape(setting)}=\S+", "", again)


def _candidate(run: Mapping[str, Any]) -> str:
    figures = [task["figures"] for task in run["tasks"] if task["task"] == "upsert_embeddings"]
    return str(figures[0].get("release", "")) if figures else ""


def command(workdir: Path, *words: str) -> str:
    """A command line of `pipeline.py` on a work directory, which is named unless it is the default one."""
    place = [] if workdir == Path.cwd() / ".towerline" else ["--workdir", str(workdir)]
    return "python pipeline.py " + shlex.join([words[0], *place, *words[1:]])


def _step(text: str, command: str = "") -> dict[str, str]:
    return {"text": text, "command": command}
