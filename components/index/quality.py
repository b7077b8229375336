"""Quality features f(p) of products (UEPPR, ANN-based product boosting): rating, reviews, sales, freshness.

Each feature is its quantile in the catalogue minus one half, so it lies in [-0.5, 0.5] whatever its unit, and a product
without a value gets 0, as if it were the median. The quantiles are kept in the release: a product upserted later is
measured by the same scale.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.index.catalogue import number_column

FEATURES: dict[str, tuple[str, ...]] = {
    "rating": ("rating",),
    "reviews": ("review_count",),
    "sales": ("sales",),
    "freshness": ("created_at", "updated_at"),
}
"""Feature name -> catalogue columns, the first present one counts."""

_QUANTILES = 101
_LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Quality:
    """Sorted quantile values float64 [101] of each usable feature."""

    quantiles: dict[str, list[float]]

    @classmethod
    def learn(cls, products: pa.Table) -> "Quality":
        """Features that at least 5 % of the products have and that differ between products."""
        quantiles = {}
        for name in FEATURES:
            values = _column(products, name)
            values = values[np.isfinite(values)]
            if len(values) >= max(2, _LEAST_SHARE * products.num_rows) and values.min() < values.max():
                quantiles[name] = np.quantile(values, np.linspace(0.0, 1.0, _QUANTILES)).tolist()
        return cls(quantiles)

    @property
    def names(self) -> list[str]:
        """The features, in the order of the columns of `features`."""
        return list(self.quantiles)

    def features(self, products: pa.Table) -> np.ndarray:
        """f(p) float32 [n, f] in [-0.5, 0.5]; equal values get their mean quantile."""
        columns = [np.zeros((products.num_rows, 0), dtype=np.float32)]
        for name, grid in self.quantiles.items():
            values = _column(products, name)
            known = np.isfinite(values)
            values = np.where(known, values, 0.0)
            place = np.searchsorted(grid, values, "left") + np.searchsorted(grid, values, "right")
            columns.append(np.where(known, place / (2 * len(grid)) - 0.5, 0.0).astype(np.float32)[:, None])
        return np.concatenate(columns, axis=1)


def _column(products: pa.Table, name: str) -> np.ndarray:
    for column in FEATURES[name]:
        if column in products.column_names and products.column(column).null_count < products.num_rows:
            return number_column(products, column)
    return np.full(products.num_rows, np.nan)
