"""The evaluation table as people read it: methods down, metrics across, one table a slice, intervals in every cell."""

from typing import Any

from components.runs.plots import line_chart


def evaluation_view(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Tables and the recall chart of an `evaluation.json`.

    Returns `{"simulated", "split", "notes", "slices": [{"name", "metrics", "rows": [{"method", "n", "cells"}]}],
    "recall_chart"}`; a cell is a text such as `0.412 (0.398 to 0.425)`, or a dash where a method lacks the metric.
    """
    slices: dict[str, dict[str, Any]] = {}
    for row in evaluation["rows"]:
        table = slices.setdefault(row["slice"], {"name": row["slice"], "metrics": [], "rows": []})
        for name in row["metrics"]:
            if name not in table["metrics"]:
                table["metrics"].append(name)
        table["rows"].append(row)
    for table in slices.values():
        table["rows"] = [
            {"method": row["method"], "n": row["n"], "cells": [_cell(row["metrics"].get(m)) for m in table["metrics"]]}
            for row in table["rows"]
        ]
    ordered = sorted(slices.values(), key=lambda table: table["name"] != "all")
    return {
        "simulated": evaluation["simulated"],
        "split": evaluation["split"],
        "catalogue": evaluation.get("catalogue"),
        "notes": evaluation.get("notes", []),
        "slices": ordered,
        "recall_chart": line_chart(_recall_curves(evaluation), "K", "recall@K", log_x=True),
    }


def _cell(metric: dict[str, float] | None) -> str:
    if metric is None:
        return "-"
    if metric.get("low") is None:
        return f"{metric['value']:.3f}"
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"


def _recall_curves(evaluation: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in evaluation["rows"]:
        if row["slice"] == "all":
            points = [
                (float(n.split("@")[1]), m["value"]) for n, m in row["metrics"].items() if n.startswith("recall@")
            ]
            curves[row["method"]] = sorted(points)
    return curves
