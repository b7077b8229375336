"""Catalogue values as integer codes, so that no text of a user ever enters a filter expression.

Milvus Lite, the older servers and their drivers know no expression parameters. Therefore every filterable text (brand,
shop, country, each level of a category path) gets a code from the catalogue's own vocabulary; a request's value is
looked up there, and only codes, numbers and booleans are written into an expression.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.common.errors import BadInput
from components.common.files import read_json, write_json
from components.index.catalogue import number_column
from components.index.filters import Filter

CATEGORY_LEVELS = 6
"""Levels with a column of their own; a longer path is kept whole in the last one."""

TEXT_FIELDS = {"brand": "brand", "shop_id": "shop", "country": "country"}  # filter and catalogue name -> code column
CODE_COLUMNS = ("brand", "shop", "country", *(f"category_{level + 1}" for level in range(CATEGORY_LEVELS)))
MISSING = 0
"""The code of an absent value; no filter value ever has it."""

NO_PRICE = -1.0


def normalise(value: str) -> str:
    """The form in which values are compared: case folded, runs of white space as one space."""
    return " ".join(value.casefold().split())


def category_levels(path: str) -> list[str]:
    """Prefixes of a category path, one a level: "A > B" gives ["a", "a > b"]; the last level holds a longer rest."""
    parts = _parts(path)
    prefixes = [" > ".join(parts[: level + 1]) for level in range(len(parts))]
    return prefixes if len(prefixes) <= CATEGORY_LEVELS else [*prefixes[: CATEGORY_LEVELS - 1], prefixes[-1]]


@dataclass(frozen=True)
class Condition:
    """Products whose code in one of the columns is among the codes given for it."""

    any_of: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Resolved:
    """A filter in codes: conditions that must all hold. `notes` says which values the catalogue does not know."""

    conditions: tuple[Condition, ...] = ()
    price_min: float | None = None
    price_max: float | None = None
    in_stock: bool | None = None
    notes: tuple[str, ...] = ()

    @property
    def impossible(self) -> bool:
        """True when a value is unknown to the catalogue: no product can match, and no search is needed."""
        return bool(self.notes)

    @property
    def free(self) -> bool:
        """True when every product matches."""
        return not self.notes and not self.conditions and self.price_min is None and self.price_max is None and (
            self.in_stock is None
        )  # fmt: skip

    def expression(self) -> str:
        """The filter in Milvus' expression language: column names of this file, integers, floats, booleans."""
        parts = []
        for condition in self.conditions:
            choices = [f"{name} in [{', '.join(str(int(code)) for code in codes)}]" for name, codes in condition.any_of]
            parts.append(choices[0] if len(choices) == 1 else f"({' or '.join(choices)})")
        if self.price_min is not None or self.price_max is not None:
            parts.append(f"price >= {float(self.price_min or 0.0)!r}")
        if self.price_max is not None:
            parts.append(f"price <= {float(self.price_max)!r}")
        if self.in_stock is not None:
            parts.append(f"in_stock == {'true' if self.in_stock else 'false'}")
        return " and ".join(parts)

    def mask(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """The filter as bool [n] over the columns of `Codes.columns`; selects the same rows as `expression`."""
        keep = np.full(len(columns["price"]), not self.impossible)
        for condition in self.conditions:
            found = np.zeros(len(keep), dtype=bool)
            for name, codes in condition.any_of:
                found |= columns[name] == codes[0] if len(codes) == 1 else np.isin(columns[name], codes)
            keep &= found
        if self.price_min is not None or self.price_max is not None:
            keep &= columns["price"] >= (self.price_min or 0.0)
        if self.price_max is not None:
            keep &= columns["price"] <= self.price_max
        if self.in_stock is not None:
            keep &= columns["in_stock"] == self.in_stock
        return keep


@dataclass
class Codes:
    """Vocabularies of one catalogue: normalised value -> code from 1, for each column of `CODE_COLUMNS`."""

    values: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in CODE_COLUMNS})

    @classmethod
    def learn(cls, products: pa.Table, known: "Codes | None" = None) -> "Codes":
        """Codes of a catalogue, in sorted order of its values; the codes of `known` stay, new values come after."""
        codes = cls({name: dict(known.values[name]) if known else {} for name in CODE_COLUMNS})
        for column, name in TEXT_FIELDS.items():
            codes._extend(name, (normalise(value) for value in _distinct(products, column)))
        paths = [category_levels(path) for path in _distinct(products, "category")]
        for level in range(CATEGORY_LEVELS):
            codes._extend(f"category_{level + 1}", (prefixes[level] for prefixes in paths if len(prefixes) > level))
        return codes

    def _extend(self, name: str, values: Iterable[str]) -> None:
        vocabulary = self.values[name]
        for value in sorted(set(values)):
            if value and value not in vocabulary:
                vocabulary[value] = len(vocabulary) + 1

    def columns(self, products: pa.Table) -> dict[str, np.ndarray]:
        """The scalar columns of a catalogue [n]: codes int32, price float64 (-1 where absent), in_stock bool."""
        result: dict[str, np.ndarray] = {}
        for column, name in TEXT_FIELDS.items():
            lookup = self.values[name]
            result[name] = _encoded(products, column, lambda value, lookup=lookup: [lookup.get(normalise(value), 0)])[0]
        levels = [self.values[f"category_{level + 1}"] for level in range(CATEGORY_LEVELS)]
        paths = _encoded(products, "category", lambda path: _level_codes(path, levels), CATEGORY_LEVELS)
        for level in range(CATEGORY_LEVELS):
            result[f"category_{level + 1}"] = paths[level]
        price = number_column(products, "price")
        result["price"] = np.where(np.isfinite(price) & (price >= 0.0), price, NO_PRICE)
        stock = products.column("in_stock").to_pylist() if "in_stock" in products.column_names else []
        result["in_stock"] = np.array([value is not False for value in stock] or [True] * products.num_rows, dtype=bool)
        return result

    def resolve(self, wanted: Filter | None) -> Resolved:
        """A filter in codes. An unknown value is no error: the result is impossible and its note says why."""
        if wanted is None:
            return Resolved()
        conditions, notes = [], []
        for column, name in TEXT_FIELDS.items():
            value = getattr(wanted, column)
            if value is None:
                continue
            code = self.values[name].get(normalise(value))
            if code is None:
                notes.append(f"No product has the {column} {value!r}.")
            else:
                conditions.append(Condition(((name, (code,)),)))
        if wanted.category is not None:
            found = self._category(wanted.category)
            if found:
                conditions.append(Condition(found))
            else:
                notes.append(f"No product is in the category {wanted.category!r}.")
        return Resolved(tuple(conditions), wanted.price_min, wanted.price_max, wanted.in_stock, tuple(notes))

    def _category(self, text: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
        levels = [self.values[f"category_{level + 1}"] for level in range(CATEGORY_LEVELS)]
        parts = _parts(text)
        if not parts:
            return ()
        path, depth = " > ".join(parts), len(parts)
        if depth < CATEGORY_LEVELS and path in levels[depth - 1]:
            return ((f"category_{depth}", (levels[depth - 1][path],)),)
        last = levels[-1]
        deep = tuple(code for value, code in last.items() if value == path or value.startswith(path + " > "))
        if deep:
            return ((f"category_{CATEGORY_LEVELS}", deep),)
        if depth > 1:
            return ()
        return tuple(
            (f"category_{level + 1}", codes)
            for level, vocabulary in enumerate(levels)
            if (codes := tuple(code for value, code in vocabulary.items() if value.rsplit(" > ", 1)[-1] == path))
        )

    def write(self, path: Path) -> None:
        """Writes codes.json."""
        write_json(path, {"missing": MISSING, "category_levels": CATEGORY_LEVELS, "values": self.values})

    @classmethod
    def read(cls, path: Path) -> "Codes":
        """Reads codes.json. Raises NotFound or BadInput."""
        body: Any = read_json(path)
        if not isinstance(body, dict) or set(body.get("values", {})) != set(CODE_COLUMNS):
            raise BadInput(f"{path} does not hold the columns {', '.join(CODE_COLUMNS)}; rebuild the release.")
        return cls({name: {str(key): int(code) for key, code in body["values"][name].items()} for name in CODE_COLUMNS})


def _parts(path: str) -> list[str]:
    return [part for part in (normalise(part) for part in path.split(">")) if part]


def _distinct(products: pa.Table, column: str) -> list[str]:
    if column not in products.column_names:
        return []
    return [value for value in products.column(column).unique().to_pylist() if value]


def _encoded(products: pa.Table, column: str, encode: Any, width: int = 1) -> list[np.ndarray]:
    """Code columns int32 [width][n] of a text column, encoding each distinct value once."""
    if column not in products.column_names:
        return [np.zeros(products.num_rows, dtype=np.int32) for _ in range(width)]
    dictionary = products.column(column).combine_chunks().dictionary_encode()
    if isinstance(dictionary, pa.ChunkedArray):
        dictionary = dictionary.combine_chunks()
    table = np.zeros((len(dictionary.dictionary) + 1, width), dtype=np.int32)
    for row, value in enumerate(dictionary.dictionary.to_pylist()):
        table[row] = encode(value) if value else [MISSING] * width
    rows = dictionary.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
    return [np.ascontiguousarray(table[rows, level]) for level in range(width)]


def _level_codes(path: str, levels: list[dict[str, int]]) -> list[int]:
    prefixes = category_levels(path)
    found = [vocabulary.get(prefix, MISSING) for vocabulary, prefix in zip(levels, prefixes, strict=False)]
    return found + [MISSING] * (len(levels) - len(found))
