"""How the candidate was found to answer: recall against latency of each index, and latency by stage of the server."""

from collections.abc import Mapping
from typing import Any

from components.runs.plots import Chart, line_chart

_STAGES = {
    "queue": "waiting for a batch",
    "features": "the shopper's history",
    "tower": "query tower",
    "search": "index",
    "control": "relevance control",
    "request": "the whole request",
}


def index_view(figures: Mapping[str, Any]) -> dict[str, Any] | None:
    """The curve of `upsert_embeddings`: `{"chart", "rows", "products", "milvus"}`; None where it was not measured.

    Rows are `{"engine", "parameters", "recall", "p50", "p99", "build", "chosen"}`, times in milliseconds. A collection
    is searched in one batch, so its time is the mean of the batch and stands without a p99.
    """
    curve = figures.get("curve")
    if not curve:
        return None
    resident = figures.get("resident", {})
    rows = [_row(entry, resident) for entry in curve]
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        series.setdefault(row["engine"], []).append((row["p50"], row["recall"]))
    chart: Chart | None = line_chart(
        "Index: recall against latency of one search",
        series,
        ("milliseconds (median, log scale)", "recall against exact search"),
        log_x=True,
        shared_x=False,
    )
    milvus = figures.get("milvus", {})
    return {"chart": chart, "rows": rows, "products": figures.get("products"), "milvus": milvus}


def _row(entry: dict[str, Any], resident: dict[str, Any]) -> dict[str, Any]:
    same = ("engine", "parameters", "precision")
    parameters = ", ".join(f"{name} {value}" for name, value in entry["parameters"].items())
    return {
        "engine": entry["engine"],
        "parameters": parameters or "-",
        "recall": entry["recall"],
        "p50": entry.get("p50_ms", entry.get("batch_ms")),
        "p99": entry.get("p99_ms"),
        "chosen": all(entry[name] == resident.get(name) for name in same),
    }


def server_view(blessing: Mapping[str, Any]) -> dict[str, Any] | None:
    """The smoke test's figures: `{"ready", "p50", "p99", "stages"}`, ready in seconds; None where no server was timed.

    Stages are `{"stage", "count", "mean", "p50", "p99"}` in milliseconds, in the order a request passes them.
    """
    latency = blessing.get("latency_ms")
    if not latency:
        return None
    measured = blessing.get("stages_ms", {})
    names = [*(name for name in _STAGES if name in measured), *(name for name in measured if name not in _STAGES)]
    stages = [{"stage": _STAGES.get(name, name), **measured[name]} for name in names]
    return {"ready": blessing.get("seconds_to_ready"), **latency, "stages": stages}
