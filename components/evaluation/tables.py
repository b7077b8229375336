"""The tables of an evaluation: a row per method and slice, paired differences, and one row per test search."""

from typing import Any

import numpy as np
import pyarrow as pa

from components.evaluation.bootstrap import Interval, intervals
from components.evaluation.measure import Measured
from components.evaluation.settings import EvaluationSettings
from components.evaluation.slices import Slice
from components.evaluation.targets import Targets
from components.evaluation.testset import TestSet

_HEADLINE = ("recall@10", "recall@100", "ndcg@10")


def rows_and_differences(
    measured: dict[str, Measured], slices: list[Slice], clusters: np.ndarray, model: str, settings: EvaluationSettings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row per method and slice, and per slice the difference of `model` to every other method.

    All methods of a slice are resampled with the same draws, so the differences are paired.
    """
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for part in slices:
        tables = {method: result.values[part.name] for method, result in measured.items()}
        keys = [(method, "", metric) for method, table in tables.items() for metric in table]
        columns = [tables[method][metric] for method, _, metric in keys]
        for other in tables:
            for metric in tables[model] if other != model else ():
                keys.append((model, other, metric))
                columns.append(tables[model][metric] - tables[other][metric])
        values = np.stack(columns, axis=1)
        drawing = (settings.bootstrap_samples, settings.confidence, settings.seed)
        bounds = intervals(values, clusters[part.mask], *drawing)
        by_method: dict[str, dict[str, Any]] = {method: {} for method in tables}
        for (method, other, metric), interval in zip(keys, bounds, strict=True):
            if interval is None:
                continue
            if other:
                differences.append(
                    {"method": method, "against": other, "slice": part.name, "metric": metric, **_shown(interval)}
                )
            else:
                by_method[method][metric] = _shown(interval)
        n = int(part.mask.sum())
        rows.extend({"method": m, "slice": part.name, "n": n, "metrics": metrics} for m, metrics in by_method.items())
    return rows, differences


def query_table(test: TestSet, slices: list[Slice], shown: dict[str, Measured]) -> pa.Table:
    """One row per test search: query, shopper, slices, what was engaged, and per method the first ten and the ranks.

    Columns per method key: `<key>_products` list<string>, `<key>_scores` list<float>, both best first, and
    `<key>_ranks` list<int32>, aligned with `positives`: null where the product is not within the largest cutoff.
    """
    ids = test.catalogue["product_id"].to_numpy()
    labels = [[part.name for part in slices if part.mask[search]] for search in range(len(test))]
    columns: dict[str, Any] = {
        "search_id": test.rows["search_id"],
        "query": test.rows["query"],
        "user_id": test.rows["user_id"],
        "slices": pa.array(labels, pa.list_(pa.string())),
        "positives": pa.array(_per_search(ids[test.targets.products], test.targets), pa.list_(pa.string())),
        "gains": pa.array(_per_search(test.targets.gains, test.targets), pa.list_(pa.float64())),
    }
    for key, result in shown.items():
        real = result.top >= 0
        products = [ids[row[mask]].tolist() for row, mask in zip(result.top, real, strict=True)]
        scores = [row[mask].tolist() for row, mask in zip(result.top_scores, real, strict=True)]
        ranks = [[rank or None for rank in row] for row in _per_search(result.ranks, test.targets)]
        columns[f"{key}_products"] = pa.array(products, pa.list_(pa.string()))
        columns[f"{key}_scores"] = pa.array(scores, pa.list_(pa.float32()))
        columns[f"{key}_ranks"] = pa.array(ranks, pa.list_(pa.int32()))
    return pa.table(columns)


def headline(rows: list[dict[str, Any]], model: str, metrics: tuple[str, ...] = _HEADLINE) -> dict[str, float]:
    """The main figures over all searches: the model's by their names, those of others with the method in front."""
    result: dict[str, float] = {}
    for row in rows:
        for metric in metrics if row["slice"] == "all" else ():
            if metric in row["metrics"]:
                name = metric if row["method"] == model else f"{row['method']} {metric}"
                result[name] = row["metrics"][metric]["value"]
    return result


def _shown(interval: Interval) -> dict[str, Any]:
    bounds = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {**{name: round(value, 6) for name, value in bounds.items()}, "n": interval.n}


def _per_search(values: np.ndarray, targets: Targets) -> list[list[Any]]:
    return [values[start:stop].tolist() for start, stop in zip(targets.offsets[:-1], targets.offsets[1:], strict=True)]
