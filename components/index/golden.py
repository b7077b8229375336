"""Golden requests: stored with the vector and the products they gave when the release was made.

Before promotion a real server is started on the candidate and must answer them the same way; it is the promise that
features, query tower, index and boosting in the server are those of the release. A request keeps its shopper's history,
which the tower needs, and not the shopper's id.
"""

from pathlib import Path
from typing import Any

import numpy as np

from components.common.errors import BadInput
from components.common.files import read_json, write_json
from components.index.search import Searcher
from components.index.searches import Searches

PRODUCTS = 10


def choose_golden(searches: Searches, count: int) -> list[int]:
    """Numbers of up to `count` searches: first the half with the longest histories, then the others in order."""
    lengths = [0] * len(searches)
    if "history_product_ids" in searches.rows.column_names:
        lengths = [len(ids or []) for ids in searches.rows.column("history_product_ids").to_pylist()]
    by_length = sorted(range(len(searches)), key=lambda number: (-lengths[number], number))
    with_history = [number for number in by_length if lengths[number]][: count // 2]
    rest = [number for number in range(len(searches)) if number not in set(with_history)]
    rest.sort(key=lambda number: (lengths[number] > 0, number))
    return sorted(with_history + rest[: count - len(with_history)])


def make_golden(searches: Searches, vectors: np.ndarray, searcher: Searcher) -> list[dict[str, Any]]:
    """golden.json: request, query vector (of the tower, float32 [d]), best products and scores, a dict each."""
    from components.features.history import History

    golden = []
    for number, (row, hits) in enumerate(
        zip(searches.rows.to_pylist(), searcher.search(vectors, PRODUCTS), strict=True)
    ):
        moment = row.get("timestamp")
        request = {
            "query": row["query"],
            "now": 0 if moment is None else _microseconds(searches, number),
            "history": History.from_row(row).as_lists() if "history_product_ids" in row else History.empty().as_lists(),
            "latitude": row.get("latitude"),
            "longitude": row.get("longitude"),
            "country": row.get("country"),
            "k": PRODUCTS,
        }
        golden.append(
            {
                "request": request,
                "vector": [float(value) for value in vectors[number]],
                "products": [hit.product_id for hit in hits],
                "scores": [hit.score for hit in hits],
            }
        )
    return golden


def refresh_golden(golden: list[dict[str, Any]], searcher: Searcher) -> list[dict[str, Any]]:
    """The same requests and vectors with the products that another index gives (a child release)."""
    vectors = np.array([one["vector"] for one in golden], dtype=np.float32)
    return [
        {**one, "products": [hit.product_id for hit in hits], "scores": [hit.score for hit in hits]}
        for one, hits in zip(golden, searcher.search(vectors, PRODUCTS), strict=True)
    ]


def write_golden(path: Path, golden: list[dict[str, Any]]) -> None:
    """Writes golden.json."""
    write_json(path, golden)


def read_golden(release: Path) -> list[dict[str, Any]]:
    """The golden requests of a release's directory. Raises NotFound or BadInput."""
    golden = read_json(Path(release) / "golden.json")
    if not isinstance(golden, list) or not golden:
        raise BadInput(f"{Path(release) / 'golden.json'} holds no requests; rebuild the release.")
    return golden


def _microseconds(searches: Searches, number: int) -> int:
    import pyarrow as pa

    column = searches.rows.column("timestamp")
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())
    return int(column[number].as_py())
