"""`report.html`: one page a run, self-contained, that says what happened and why before it shows any figure."""

import contextlib
import re
from pathlib import Path
from typing import Any

from components.common.errors import BadInput
from components.common.files import read_json, write_text
from components.common.manifest import Release, list_release_ids, read_release
from components.common.records import read_task_records
from components.runs.advice import next_steps
from components.runs.evaluation_view import evaluation_view, headline
from components.runs.log_view import log_view
from components.runs.plots import DARK, LIGHT, Chart, line_chart
from components.runs.serving_view import index_view, server_view
from components.runs.state import log_tail

_FOLDER = Path(__file__).parent
_HEADLINE = {
    "succeeded": "The run succeeded: {reason}",
    "stopped": "The run stopped at the {gate}: {reason} Nothing that is served changed.",
    "failed": "The run failed{where}: {reason} Nothing that is served changed.",
    "killed": "{reason}",
    "running": "The run is still going on, or was killed.",
}


def write_report(workdir: Path, run_id: str) -> Path:
    """Writes the report of a run beside its `run.json` and returns the path. Raises NotFound for an unknown run."""
    from jinja2 import Environment, FileSystemLoader

    folder = Path(workdir) / "runs" / run_id
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    page = environment.get_template("report.html.j2").render(**report_context(Path(workdir), folder))
    path = folder / "report.html"
    write_text(path, page)
    return path


def report_context(workdir: Path, folder: Path) -> dict[str, Any]:
    """Everything the page shows, from the run's own files alone."""
    run = read_json(folder / "run.json")
    figures = {name: record["figures"] for name, record in read_task_records(folder).items()}
    verdict, quality = _optional(folder / "data_gate.json"), _optional(folder / "quality_gate.json")
    evaluation = _optional(folder / "evaluation.json")
    training = (_optional(folder / "training.json") or {}).get("curve", [])
    said, more = run_headline(run)
    closed = _optional(folder / f"{run['gate']}.json") if run["gate"] else None
    return {
        "run": run,
        "palette": {"light": LIGHT, "dark": DARK},
        "headline": said,
        "more": more,
        "lead": headline(evaluation) if evaluation else "",
        "steps": next_steps(run, folder.absolute(), closed),
        "tail": log_tail(folder) if run["state"] == "failed" and run.get("exit_code", 1) == 1 else "",
        "simulated": bool(run.get("simulated") or (evaluation or verdict or {}).get("simulated")),
        "notes": [(task["task"], note) for task in run["tasks"] for note in task["notes"]],
        "slowest": max((task["seconds"] for task in run["tasks"]), default=0.0),
        "log": log_view(verdict) if verdict else None,
        "evaluation": evaluation_view(evaluation) if evaluation else None,
        "quality": quality,
        "changes": _optional(folder / "changes.json"),
        "training": training,
        "training_charts": _training_charts(training),
        "index": index_view(figures.get("upsert_embeddings", {})),
        "server": server_view(figures.get("smoke_test", {}).get("blessing", {})),
        "releases": _readable_releases(workdir)[-5:][::-1],
    }


def _readable_releases(workdir: Path) -> list[Release]:
    """The complete releases, oldest first; one of another format, from before an update, is passed over."""
    found = []
    for release_id in list_release_ids(workdir):
        with contextlib.suppress(BadInput):
            found.append(read_release(workdir, release_id))
    return found


def run_headline(run: dict[str, Any]) -> tuple[str, list[str]]:
    """How the run ended and why, in one or two sentences, and the further reasons where there are several."""
    ended = next((task["task"] for task in run["tasks"] if task["state"] in ("failed", "killed")), None)
    where = f" in {ended}" if ended else ""
    first, *more = re.split(r"(?<=[.!?])\s+", run["reason"].strip())
    first = first if first.endswith((".", "!", "?")) else f"{first}."
    first = first[0].upper() + first[1:] if run["state"] == "killed" else first
    gate = (run["gate"] or "").replace("_", " ")
    return _HEADLINE[run["state"]].format(reason=first, gate=gate, where=where), more


def _optional(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def _training_charts(training: list[dict[str, Any]]) -> list[Chart]:
    loss = [(float(row["step"]), row["loss"]) for row in training if "loss" in row]
    validation: dict[str, list[tuple[float, float]]] = {}
    for row in training:
        for name, value in (row.get("validation") or {}).items():
            validation.setdefault(name, []).append((float(row["step"]), value))
    charts = [
        line_chart("Training loss", {"loss": loss}, ("step", "loss")),
        line_chart("Searches held out of training", validation, ("step", "recall")),
    ]
    return [chart for chart in charts if chart is not None]
