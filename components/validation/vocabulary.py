"""Vocabularies and quantile buckets from a run's statistics: what the towers need to know of the columns' values."""

from pathlib import Path

import numpy as np

from components.common.errors import BadSetting
from components.validation.baseline import good_days, window
from components.validation.ledger import Store
from components.validation.sketches import Quantiles
from components.validation.summaries import HEAVY, QUANTILES, Summary


def vocabulary(
    statistics: Path, table: str, column: str, size: int, minimum: float = 1.0, days: list[str] | None = None
) -> list[tuple[str, float]]:
    """The `size` most frequent values of a column with their counts, the most frequent first.

    Args:
        statistics: a run's statistics folder.
        table: products, searches or events.
        column: one of `HEAVY[table]`: title_words, brand, category; query_words, query, user_id; product_id, user_id.
        size: values wanted, at most the `vocabulary` setting of the run.
        minimum: counts below it are left out. Counts are off by at most total / `vocabulary` setting.
        days: the days to count over, all of the log if None; the training window's, to keep test days out.

    Raises BadSetting for another table or column.
    """
    if column not in HEAVY.get(table, ()):
        raise BadSetting(f"There are no counts of {table}.{column}; there are {HEAVY}.")
    summary = _summary(statistics, table, days)
    if summary is None:
        return []
    return [(value, count) for value, count in summary.heavy[column].counts(size).items() if count >= minimum]


def bucket_edges(statistics: Path, table: str, column: str, buckets: int, days: list[str] | None = None) -> np.ndarray:
    """Inner edges float64 [at most buckets - 1], ascending, that divide a number column into equally full buckets.

    `column` is one of `QUANTILES[table]`; ranks are exact to 0.003 of the rows (`Quantiles`). Bucket of x:
    `np.searchsorted(edges, x, side="right")`. Raises BadSetting for another column or fewer than 2 buckets.
    """
    if column not in QUANTILES.get(table, ()) or buckets < 2:
        raise BadSetting(f"There are no {buckets} buckets of {table}.{column}; quantiles are kept of {QUANTILES}.")
    summary = _summary(statistics, table, days)
    points = summary.quantiles[column] if summary is not None else Quantiles(np.zeros(0), np.zeros(0))
    if points.rows == 0:
        return np.zeros(0)
    return np.unique(points.quantile(np.arange(1, buckets) / buckets))


def _summary(statistics: Path, table: str, days: list[str] | None) -> Summary | None:
    store = Store(Path(statistics))
    if table == "products":
        return Summary.merge(window_of_products(store))
    return Summary.merge(window(store.folder(""), store.outcomes, table, days or good_days(store.outcomes, table)))


def window_of_products(store: Store) -> list[Summary]:
    """The catalogue's summary as a window of one."""
    from components.validation.baseline import read_summary

    return [read_summary(store.folder(""), "products")] if "products" in store.outcomes else []
