"""What is read of a product beside its title: coded fields, token groups, numbers. Columns of the data contract."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

from components.towers.price_levels import PriceLevels
from components.towers.text import cut

TOKEN_GROUPS: tuple[str, ...] = ("category", "brand", "attributes", "description")
"""Token groups beside the title that a model may ask for in `needs`."""

_LEVEL = re.compile(r"\s*>\s*")


def strings(products: pa.Table, name: str) -> list[str | None]:
    """A string column; all None where the table lacks it."""
    if name not in products.column_names:
        return [None] * products.num_rows
    return products[name].to_pylist()


def floats(products: pa.Table, name: str) -> np.ndarray:
    """A numeric column as float32 [P]; NaN where a value or the column is missing."""
    if name not in products.column_names:
        return np.full(products.num_rows, np.nan, np.float32)
    return products[name].cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)


def field_values(products: pa.Table, price_levels: PriceLevels) -> dict[str, list[str | None]]:
    """Value of every coded field for each product: leaf and top category, brand, shop, price level, country."""
    levels = [category_levels(path) for path in strings(products, "category")]
    prices = floats(products, "price").tolist()
    return {
        "leaf": [" > ".join(path) if path else None for path in levels],
        "top": [path[0] if path else None for path in levels],
        "brand": [_folded(value) for value in strings(products, "brand")],
        "shop": strings(products, "shop_id"),
        "price_level": [price_levels.level(*pair) for pair in zip(levels, prices, strict=True)],
        "country": strings(products, "country"),
    }


def fit_price_levels(products: pa.Table) -> PriceLevels:
    """Price quantiles of the categories of a catalogue."""
    paths = [category_levels(path) for path in strings(products, "category")]
    return PriceLevels.fit(paths, floats(products, "price"))


def group_tokens(products: pa.Table, name: str, word_unit: str, limit: int) -> list[list[tuple[str, str]]]:
    """Tokens (unit, token) of one of `TOKEN_GROUPS` for each product, at most `limit`.

    Whole values are tokens of the group's own unit; their words are those of titles and queries, so that all share one
    vector. category: each level with its path, and its words; brand: the brand and its words; attributes: "key=value"
    and the words of the value; description: its distinct words (UEPPR keeps it in a group of its own, as it is noisy).
    """

    def word_tokens(text: str | None) -> list[tuple[str, str]]:
        return [(word_unit, word) for word in cut(text or "", word_unit)]

    if name == "category":
        paths = [category_levels(path) for path in strings(products, name)]
        return [
            [(name, " > ".join(path[:depth])) for depth in range(1, len(path) + 1)] + word_tokens(" ".join(path))
            for path in paths
        ]
    if name == "brand":
        brands = [_folded(value) for value in strings(products, name)]
        return [[(name, brand), *word_tokens(brand)] if brand else [] for brand in brands]
    if name == "description":
        return [list(dict.fromkeys(word_tokens(text)))[:limit] for text in strings(products, name)]
    rows = products["attributes"].to_pylist() if "attributes" in products.column_names else [None] * products.num_rows
    pairs = [[(key, value) for key, value in row or () if value] for row in rows]
    return [
        [token for key, value in row for token in ((name, f"{key}={_folded(value)}"), *word_tokens(value))][:limit]
        for row in pairs
    ]


def category_levels(path: str | None) -> list[str]:
    """Levels of a category path "A > B > C", from the top."""
    return [level for level in _LEVEL.split(path.strip()) if level] if path else []


def _folded(value: str | None) -> str | None:
    return " ".join(value.casefold().split()) or None if value else None
