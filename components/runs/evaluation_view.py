"""The evaluation as people read it: methods down, metrics across, intervals in every cell; recall against K; slices."""

from typing import Any

from components.runs.plots import Chart, Point, interval_chart, line_chart

_MAIN = ("recall@10", "recall@100", "ndcg@10", "good_rate@10", "judged_ndcg@10", "purchase_recall@100")
_PLACES = {"current release": 1, "bm25": 2, "popularity": 4, "random": 6}
_METRIC = "recall@10"
_ORDER = {"current release": 2, "bm25": 3, "popularity": 4, "random": 5}


def evaluation_view(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Tables and charts of an `evaluation.json`.

    Returns `{"simulated", "split", "catalogue", "confidence", "notes", "main", "slices", "recall_chart",
    "slice_chart"}`; a table is `{"name", "n", "metrics", "rows": [{"method", "ours", "cells"}]}`, the model first; a
    cell is `{"value": "0.412", "interval": "0.398 to 0.425"}`, a dash where a method lacks the metric. `main` is the
    table of all searches with the metrics that decide.
    """
    model = evaluation.get("model")
    slices: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(
        evaluation["rows"], key=lambda row: _ORDER.get(row["method"], 0 if row["method"] == model else 1)
    ):
        slices.setdefault(row["slice"], []).append(row)
    names = sorted(slices, key=lambda name: name != "all")
    every = slices.get("all", [])
    measured = {metric for row in every for metric in row["metrics"]}
    return {
        "simulated": evaluation["simulated"],
        "split": evaluation["split"],
        "catalogue": evaluation.get("catalogue"),
        "confidence": f"{evaluation.get('confidence', 0.95):.0%}",
        "notes": evaluation.get("notes", []),
        "main": _table("all searches", every, model, [name for name in _MAIN if name in measured]) if every else None,
        "slices": [_table(name, slices[name], model) for name in names],
        "recall_chart": _recall_chart(every, evaluation),
        "slice_chart": _slice_chart(slices, names, evaluation),
    }


def headline(evaluation: dict[str, Any]) -> str:
    """One sentence with the model's recall@10, BM25's, and the difference to the served release; empty without it."""
    values = {row["method"]: row["metrics"].get(_METRIC) for row in evaluation["rows"] if row["slice"] == "all"}
    model = evaluation.get("model")
    if model is None or not values.get(model):
        return ""
    sentence = f"Of the products that shoppers engaged with, {model} has {_percent(values[model])} among its first ten"
    for entry in evaluation.get("differences", []):
        if (entry["against"], entry["slice"], entry["metric"]) == ("current release", "all", _METRIC):
            points = f"{abs(100 * entry['value']):.1f} points {'more' if entry['value'] >= 0 else 'less'} than"
            sure = entry["low"] > 0 or entry["high"] < 0
            sentence += f", {points if sure else 'measurably neither more nor less than'} the release served before"
    if values.get("bm25"):
        sentence += f"; search by words (BM25) has {_percent(values['bm25'])}"
    return f"{sentence}."


def _percent(metric: Any) -> str:
    return f"{100 * metric['value']:.1f} %"


def _table(
    name: str, rows: list[dict[str, Any]], model: str | None, metrics: list[str] | None = None
) -> dict[str, Any]:
    shown = metrics or list(dict.fromkeys(metric for row in rows for metric in row["metrics"]))
    lines = [
        {
            "method": row["method"],
            "ours": row["method"] == model,
            "cells": [_cell(row["metrics"].get(metric)) for metric in shown],
        }
        for row in rows
    ]
    return {"name": name, "n": max(row["n"] for row in rows), "metrics": shown, "rows": lines}


def _cell(metric: dict[str, float] | None) -> dict[str, str]:
    if metric is None:
        return {"value": "-", "interval": ""}
    interval = "" if metric.get("low") is None else f"{metric['low']:.3f} to {metric['high']:.3f}"
    return {"value": f"{metric['value']:.3f}", "interval": interval}


def _colours(evaluation: dict[str, Any]) -> dict[str, int]:
    model = evaluation.get("model") or ""
    return {**_PLACES, model: 0, f"{model} without history": 3}


def _point(x: float, metric: dict[str, float]) -> Point:
    if metric.get("low") is None:
        return (x, metric["value"])
    return (x, metric["value"], metric["low"], metric["high"])


def _recall_chart(every: list[dict[str, Any]], evaluation: dict[str, Any]) -> Chart | None:
    curves: dict[str, list[Point]] = {}
    for row in every:
        points = [
            _point(float(name.split("@")[1]), metric)
            for name, metric in row["metrics"].items()
            if name.startswith("recall@")
        ]
        curves[row["method"]] = sorted(points)
    labels = ("K, products looked at", "recall@K")
    return line_chart("Recall against K", curves, labels, log_x=True, colours=_colours(evaluation))


def _slice_chart(slices: dict[str, list[dict[str, Any]]], names: list[str], evaluation: dict[str, Any]) -> Chart | None:
    labels = {name: f"{name} ({max(row['n'] for row in slices[name]):,})" for name in names}
    series: dict[str, dict[str, Point]] = {}
    for method in (name for name in (evaluation.get("model"), "current release", "bm25") if name):
        series[method] = {
            labels[name]: _point(0, row["metrics"][_METRIC])
            for name in names
            for row in slices[name]
            if row["method"] == method and row["metrics"].get(_METRIC, {}).get("low") is not None
        }
    title = f"{_METRIC} by kind of search (and how many there are)"
    return interval_chart(title, list(labels.values()), series, _METRIC, _colours(evaluation))
