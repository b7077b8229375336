"""`report.html`: one page a run, self-contained, that says what happened and why before it shows any figure."""

from pathlib import Path
from typing import Any

from components.common.files import read_json, write_text
from components.common.manifest import list_release_ids, read_release
from components.common.records import read_task_records
from components.runs.evaluation_view import evaluation_view
from components.runs.plots import bar_chart, line_chart

_TEMPLATE = Path(__file__).parent / "report.html.j2"
_HEADLINE = {
    "succeeded": "The run succeeded: {reason}",
    "stopped": "The run stopped at the {gate}: {reason} Nothing that is served changed.",
    "failed": "The run failed: {reason} Nothing that is served changed.",
    "killed": "The run was killed. Nothing that is served changed.",
    "running": "The run is still going on, or was killed.",
}


def write_report(workdir: Path, run_id: str) -> Path:
    """Writes the report of a run beside its `run.json` and returns the path. Raises NotFound for an unknown run."""
    from jinja2 import Environment, FileSystemLoader

    folder = Path(workdir) / "runs" / run_id
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATE.parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template(_TEMPLATE.name).render(**report_context(Path(workdir), folder))
    path = folder / "report.html"
    write_text(path, page)
    return path


def report_context(workdir: Path, folder: Path) -> dict[str, Any]:
    """Everything the page shows, from the run's own files alone."""
    run = read_json(folder / "run.json")
    figures = {name: record["figures"] for name, record in read_task_records(folder).items()}
    gate = (run["gate"] or "").replace("_", " ")
    evaluation_path = folder / "evaluation.json"
    evaluation = read_json(evaluation_path) if evaluation_path.exists() else None
    training_path = folder / "training.json"
    training = read_json(training_path)["curve"] if training_path.exists() else []
    verdict_path = folder / "data_gate.json"
    return {
        "run": run,
        "headline": _HEADLINE[run["state"]].format(reason=run["reason"], gate=gate),
        "figures": figures,
        "notes": [(task["task"], note) for task in run["tasks"] for note in task["notes"]],
        "stage_chart": bar_chart({task["task"]: {"seconds": task["seconds"]} for task in run["tasks"]}, "seconds"),
        "verdict": read_json(verdict_path) if verdict_path.exists() else None,
        "evaluation": evaluation_view(evaluation) if evaluation else None,
        "training": training,
        "loss_chart": line_chart(
            {"loss": [(row["step"], row["loss"]) for row in training if "loss" in row]}, "step", "loss"
        ),
        "validation_chart": line_chart(_validation_series(training), "step", "validation"),
        "releases": [read_release(workdir, release_id) for release_id in list_release_ids(workdir)][-5:],
    }


def _validation_series(training: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    series: dict[str, list[tuple[float, float]]] = {}
    for row in training:
        for name, value in (row.get("validation") or {}).items():
            series.setdefault(name, []).append((row["step"], value))
    return series
