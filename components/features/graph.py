"""The query-product graph: for each product the queries that led to it, one hop away, weighted by what shoppers did.

The product tower of UEPPR (section 3.2) reads sampled neighbour queries. The query being trained on must not be among
them, or the tower would read the answer; `neighbours` leaves it out.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.common.errors import BadInput
from components.features.buckets import literal
from components.features.history import ACTION_CODES
from components.features.schema import GRAPH
from components.features.sequence import ragged_indices
from components.features.settings import FeatureSettings
from components.features.snapshots import lists_of


def build_graph(connection: duckdb.DuckDBPyConnection, train: Path, settings: FeatureSettings) -> pa.Table:
    """The graph of the training examples: GRAPH, a row per product, ordered by product id; queries heaviest first.

    A search adds to the edge from its query to a product the weight of the strongest thing done with the product, so
    ten clicks after one search count as one. Only training searches count: later ones would leak into the products.
    """
    cases = " ".join(
        f"WHEN {code} THEN {weight}" for code, weight in zip(ACTION_CODES.values(), settings.graph_weights, strict=True)
    )
    edges = (
        f"SELECT product_id, query, sum(CASE stage {cases} END)::FLOAT AS weight FROM "
        f"(SELECT query, unnest(product_ids) AS product_id, unnest(stages) AS stage "
        f"FROM read_parquet({literal(str(train))})) WHERE stage > 0 GROUP BY product_id, query"
    )
    table = connection.sql(f"{edges} ORDER BY product_id, weight DESC, query").to_arrow_table()
    products = table["product_id"].combine_chunks()
    starts = np.flatnonzero(pc.not_equal(products[1:], products[:-1])) + 1
    starts = np.concatenate((np.zeros(min(1, len(products)), dtype=np.int64), starts))
    lengths = np.minimum(np.diff(np.append(starts, len(products))), settings.graph_queries)
    kept = table.take(pa.array(ragged_indices(starts, lengths)[0]))
    return pa.table(
        {
            "product_id": products.take(pa.array(starts)),
            "queries": lists_of(lengths, kept["query"].combine_chunks()),
            "weights": lists_of(lengths, kept["weight"].combine_chunks()),
        },
        schema=GRAPH,
    )


class QueryProductGraph:
    """The graph in memory: who leads to a product, and a weighted sample of them.

    Args:
        table: of schema GRAPH. Raises BadInput when a column is missing.
    """

    def __init__(self, table: pa.Table) -> None:
        missing = [name for name in GRAPH.names if name not in table.column_names]
        if missing:
            raise BadInput(f"the query-product graph lacks the column {missing[0]!r}; build the features again.")
        products = table["product_id"].to_pylist()
        self._row = {product_id: row for row, product_id in enumerate(products)}
        queries, weights = table["queries"].combine_chunks(), table["weights"].combine_chunks()
        self._offsets = queries.offsets.to_numpy() - (queries.offsets[0].as_py() if len(products) else 0)
        self._queries = queries.flatten()
        self._weights = weights.flatten().to_numpy()

    @classmethod
    def read(cls, path: Path) -> QueryProductGraph:
        """The graph in `graph.parquet`."""
        return cls(pq.read_table(path))

    def __len__(self) -> int:
        return len(self._row)

    def edges(self, product_id: str) -> tuple[list[str], np.ndarray]:
        """All neighbour queries of a product and their weights float32 [n], heaviest first; empty if it has none."""
        row = self._row.get(product_id)
        if row is None:
            return [], np.zeros(0, dtype=np.float32)
        start, end = int(self._offsets[row]), int(self._offsets[row + 1])
        return self._queries[start:end].to_pylist(), self._weights[start:end]

    def neighbours(
        self, product_id: str, exclude_query: str | None, generator: np.random.Generator, n: int
    ) -> list[str]:
        """At most `n` neighbour queries drawn without repetition, in proportion to their weights.

        `exclude_query` (the example's own query, compared without case and outer spaces) is never among them.
        """
        queries, weights = self.edges(product_id)
        if exclude_query is not None:
            own = _same(exclude_query)
            keep = [place for place, query in enumerate(queries) if _same(query) != own]
            queries, weights = [queries[place] for place in keep], weights[keep]
        if len(queries) <= n:
            return queries
        # Exponential keys (Efraimidis and Spirakis 2006): the n smallest are a weighted sample without replacement.
        keys = generator.exponential(size=len(queries)) / weights
        return [queries[place] for place in np.argsort(keys, kind="stable")[:n]]


def _same(query: str) -> str:
    return " ".join(query.casefold().split())
