"""UEPPR's random walk baseline: products reached from a query over the query-product graph of the training window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy import sparse

from components.evaluation.slices import normalised


class RandomWalkScorer:
    """Scores of a walk query -> product -> query -> product, mixed with its first step.

    `score = (1 - far) * q T + far * q T S T`, with T the query-to-product and S the product-to-query step, each row
    normalised. A query that training never saw reaches nothing. The paper does not describe its walk; this one is ours.

    Args:
        graph: graph.parquet of the examples. product_ids: catalogue order. queries: texts of the searches.
        far: weight of products two queries away.
    """

    def __init__(self, graph: Path, product_ids: list[str], queries: list[str], far: float = 0.3) -> None:
        table = pq.read_table(graph)
        rows = {product_id: row for row, product_id in enumerate(product_ids)}
        names: dict[str, int] = {}
        entries = []
        columns = (table[name].to_pylist() for name in ("product_id", "queries", "weights"))
        for product_id, texts, weights in zip(*columns, strict=True):
            for text, weight in zip(texts, weights, strict=True):
                if product_id in rows:
                    entries.append((names.setdefault(normalised(text), len(names)), rows[product_id], weight))
        places, products, weights = (np.array(column) for column in zip(*entries, strict=True))
        seen = sparse.csr_matrix((weights, (places, products)), shape=(len(names), len(product_ids)), dtype=np.float32)
        to_product, to_query = _normalised(seen), _normalised(seen.T.tocsr())
        asked = np.array([names.get(normalised(query), -1) for query in queries])
        start = to_product[np.maximum(asked, 0)]
        self._scores = ((1 - far) * start + far * (start @ to_query @ to_product)).tocsr()
        self._known = asked >= 0
        self.products = len(product_ids)

    def scores(self, rows: slice, columns: slice) -> np.ndarray:
        """float32 [rows, columns]; minus infinity for what the walk does not reach."""
        found = self._scores[rows, columns].toarray().astype(np.float32)
        return np.where((found > 0) & self._known[rows, None], found, -np.inf).astype(np.float32)


def _normalised(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    return sparse.diags(1.0 / np.maximum(sums, 1e-12)) @ matrix
