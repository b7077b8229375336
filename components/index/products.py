"""The release's catalogue at search time: product ids by row, rows by id, and what a page or a filter shows of them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.common.errors import BadInput, NotFound
from components.index.codes import TEXT_FIELDS
from components.index.store import SCALARS

SHOWN = ("product_id", "title", "brand", "category", "shop_id", "price", "rating", "country", "in_stock", "attributes")
CODE_SUFFIX = "_code"


class Products:
    """Rows of `index/products.parquet`, aligned with the vectors.

    Raises NotFound for a missing file, BadInput for one without the code columns.
    """

    def __init__(self, path: Path) -> None:
        if not Path(path).exists():
            raise NotFound(f"{path} does not exist; rebuild the release.")
        names = pq.read_schema(path).names
        missing = [column for column in stored_names() if column not in names]
        if missing:
            raise BadInput(f"{path} lacks the column {missing[0]}; rebuild the release.")
        wanted = [name for name in dict.fromkeys((*SHOWN, *stored_names())) if name in names]
        table = pq.read_table(path, columns=wanted).combine_chunks()
        self.ids: list[str] = table.column("product_id").to_pylist()
        self.columns: dict[str, np.ndarray] = {
            column: np.ascontiguousarray(table.column(stored).to_numpy(zero_copy_only=False))
            for column, stored in zip(SCALARS, stored_names(), strict=True)
        }
        self._table = table.select([name for name in SHOWN if name in names])

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def absent(self) -> frozenset[str]:
        """The fields of a filter that no product has a value of: filtering by one leaves nothing."""
        kept = {**TEXT_FIELDS, "category": "category_1"}
        found = {name for name, column in kept.items() if not self.columns[column].any()}
        if not (self.columns["price"] >= 0).any():
            found |= {"price_min", "price_max"}
        return frozenset(found)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row by product id."""
        return {product_id: row for row, product_id in enumerate(self.ids)}

    def rows(self, product_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        """The shown columns of each product, None for one the catalogue does not have."""
        found = [self.row_of.get(product_id, -1) for product_id in product_ids]
        taken = iter(self.at([row for row in found if row >= 0]))
        return [next(taken) if row >= 0 else None for row in found]

    def at(self, rows: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """The shown columns of catalogue rows; `attributes` as a dict."""
        taken = self._table.take(pa.array(rows, type=pa.int64())).to_pylist()
        for product in taken:
            product["attributes"] = dict(product.get("attributes") or [])
        return taken


def stored_names() -> list[str]:
    """Names of the scalar columns in products.parquet, in the order of `store.SCALARS`."""
    return [f"{column}{CODE_SUFFIX}" for column in SCALARS]


def with_scalars(table: pa.Table, scalars: dict[str, np.ndarray]) -> pa.Table:
    """The catalogue with its scalar columns (codes, price -1 where absent, stock) appended or replaced."""
    for column, stored in zip(SCALARS, stored_names(), strict=True):
        if stored in table.column_names:
            table = table.drop_columns([stored])
        table = table.append_column(stored, pa.array(scalars[column]))
    return table
