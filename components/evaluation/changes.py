"""Where a model wins and loses against the served release: the queries that moved most, both lists side by side."""

from collections import defaultdict
from typing import Any

import numpy as np

from components.evaluation.measure import Measured
from components.evaluation.slices import ALL
from components.evaluation.testset import TestSet

METRIC = "ndcg@10"
SHOWN = 8
_UNCHANGED = 1e-9


def changes(test: TestSet, model: Measured, current: Measured, shown: int = SHOWN) -> dict[str, Any]:
    """The body of `changes.json`: how many searches got better and worse, and the queries that moved most.

    Searches of one query (as typed, without case) count together; queries are ordered by the sum of the differences of
    nDCG@10, which is what they add to the mean over all searches. Of each query the search that moved most is shown.

    Returns `{"metric", "searches", "better", "worse", "same", "shared": mean number of products that both first tens
    have, "wins": [...], "losses": [...]}`; each entry is `{"query", "searches", "model", "current": mean metric,
    "example": {"user_id", "engaged", "model", "current": [{"product_id", "title", "engaged"}]}}`.
    """
    ours, theirs = model.values[ALL][METRIC], current.values[ALL][METRIC]
    difference = np.nan_to_num(ours - theirs)
    by_query: dict[str, list[int]] = defaultdict(list)
    for search, query in enumerate(test.queries):
        by_query[query.strip().lower()].append(search)
    moved = {query: float(difference[searches].sum()) for query, searches in by_query.items()}
    order = sorted(moved, key=lambda query: (-moved[query], query))

    def entry(query: str, sign: int) -> dict[str, Any]:
        searches = by_query[query]
        example = max(searches, key=lambda search: sign * difference[search])
        return {
            "query": test.queries[example],
            "searches": len(searches),
            "model": round(float(np.nanmean(ours[searches])), 4),
            "current": round(float(np.nanmean(theirs[searches])), 4),
            "example": _example(test, model, current, example),
        }

    return {
        "metric": METRIC,
        "searches": len(test),
        "better": int((difference > _UNCHANGED).sum()),
        "worse": int((difference < -_UNCHANGED).sum()),
        "same": int((np.abs(difference) <= _UNCHANGED).sum()),
        "shared": round(_shared(model.top, current.top), 2),
        "wins": [entry(query, 1) for query in order[:shown] if moved[query] > _UNCHANGED],
        "losses": [entry(query, -1) for query in reversed(order[-shown:]) if moved[query] < -_UNCHANGED],
    }


def _example(test: TestSet, model: Measured, current: Measured, search: int) -> dict[str, Any]:
    engaged = set(test.targets.row(search).tolist())

    def listed(rows: np.ndarray) -> list[dict[str, Any]]:
        found = rows[rows >= 0]
        names, titles = (test.catalogue[column].take(found).to_pylist() for column in ("product_id", "title"))
        return [
            {"product_id": name, "title": title or "", "engaged": row in engaged}
            for name, title, row in zip(names, titles, found.tolist(), strict=True)
        ]

    return {
        "user_id": test.rows["user_id"][search].as_py(),
        "engaged": len(engaged),
        "model": listed(model.top[search]),
        "current": listed(current.top[search]),
    }


def _shared(one: np.ndarray, two: np.ndarray) -> float:
    """Mean number of products in both lists, of int32 [searches, 10] with -1 for nothing."""
    pairs = zip(one.tolist(), two.tolist(), strict=True)
    return float(np.mean([len((set(a) & set(b)) - {-1}) for a, b in pairs])) if len(one) else 0.0
