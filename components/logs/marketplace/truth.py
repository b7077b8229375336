"""What the generator knows and the log does not say: relevance, taste and quality, in files outside the log.

The folder holds products.parquet (codes, quality, picture), shoppers/part-*.parquet (tastes on the last day),
queries/dt=YYYY-MM-DD/part-*.parquet (distinct queries of a day and what they mean) and truth.json (the settings).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.common.errors import NotFound
from components.common.files import read_json, write_json
from components.common.settings import as_overrides, from_overrides
from components.logs.marketplace.catalogue import Catalogue
from components.logs.marketplace.day import user_ids
from components.logs.marketplace.lexicon import SLOTS, lexicon
from components.logs.marketplace.relevance import Relevance
from components.logs.marketplace.shoppers import Shoppers
from components.logs.marketplace.wants import Wants
from components.logs.marketplace.world import World
from components.logs.settings import LogSettings

_SCALARS = ("type", "brand", "product", "band", "occasion")


class Truth:
    """The truth of one marketplace log."""

    def __init__(self, catalogue: Catalogue, products: list[str], queries: dict[str, list[int]], wants: Wants) -> None:
        self._relevance = Relevance(lexicon(), catalogue)
        self._products = products
        self._numbers = {product: number for number, product in enumerate(products)}
        self._queries = queries
        self._wants = wants

    @classmethod
    def read(cls, path: str | Path) -> Truth:
        """Opens a truth folder. Raises NotFound where there is none."""
        path = Path(path)
        if not (path / "truth.json").is_file():
            raise NotFound(f"{path} holds no truth: only the simulated marketplace knows it.")
        products = pq.read_table(path / "products.parquet")
        columns = {name: products[name].to_numpy() for name in products.column_names if name != "product_id"}
        columns["slots"] = np.stack([columns.pop(f"slot{slot}") for slot in range(SLOTS)], axis=1)
        parts = [pq.ParquetFile(file).read() for file in sorted((path / "queries").glob("dt=*/*.parquet"))]
        queries = pa.concat_tables(parts)
        rows: dict[str, list[int]] = {}
        for row, text in enumerate(queries["query"].to_pylist()):
            rows.setdefault(text, []).append(row)
        slots = np.stack([queries[f"slot{slot}"].to_numpy() for slot in range(SLOTS)], axis=1)
        wants = Wants(slots=slots, **{name: queries[name].to_numpy() for name in _SCALARS})
        return cls(Catalogue(**columns), products["product_id"].to_pylist(), rows, wants)

    @property
    def queries(self) -> list[str]:
        """Every query of the log, once."""
        return list(self._queries)

    def relevance(self, query: str, product_ids: Sequence[str]) -> NDArray[np.float32]:
        """Relevance of each product [n] in 0..1, 1 being relevant; 0 for products or queries the log does not have.

        A text that stands for several needs gives each product the best grade it has for any of them.
        """
        numbers = np.array([self._numbers.get(product, -1) for product in product_ids], dtype=np.int32)
        if not len(numbers) or query not in self._queries:
            return np.zeros(len(numbers), dtype=np.float32)
        return np.where(numbers >= 0, self._grades(query, np.maximum(numbers, 0)), 0).astype(np.float32)

    def relevant(self, query: str) -> set[str]:
        """The products of relevance 1."""
        if query not in self._queries:
            return set()
        everything = np.arange(len(self._products), dtype=np.int32)
        return {self._products[number] for number in np.flatnonzero(self._grades(query, everything) >= 1.0)}

    def _grades(self, query: str, numbers: NDArray[np.int32]) -> NDArray[np.float32]:
        meanings = np.unique(self._table(query), axis=0)
        wants = Wants(
            slots=meanings[:, :SLOTS], **{name: meanings[:, SLOTS + place] for place, name in enumerate(_SCALARS)}
        )
        return self._relevance.grades(wants, np.broadcast_to(numbers, (len(wants), len(numbers)))).max(axis=0)

    def _table(self, query: str) -> NDArray[np.int64]:
        wants = self._wants.take(np.array(self._queries[query]))
        scalars = [getattr(wants, name).astype(np.int64)[:, None] for name in _SCALARS]
        return np.concatenate([wants.slots.astype(np.int64), *scalars], axis=1)


def truth_settings(path: str | Path) -> LogSettings:
    """The settings the log was generated with."""
    return from_overrides(LogSettings, read_json(Path(path) / "truth.json")["settings"])


def write_world(path: Path, world: World) -> None:
    """Writes the truth about products, and the settings."""
    columns = {name.name: getattr(world.catalogue, name.name) for name in dataclasses.fields(Catalogue)}
    slots = columns.pop("slots")
    columns |= {f"slot{slot}": slots[:, slot] for slot in range(SLOTS)}
    path.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"product_id": world.product_ids, **columns}), path / "products.parquet")
    write_json(path / "truth.json", {"simulated": True, "settings": as_overrides(world.settings)})


def write_shoppers(path: Path, shoppers: Shoppers, shard: int) -> None:
    """Writes the tastes of one shard of shoppers, nested by group."""
    (path / "shoppers").mkdir(parents=True, exist_ok=True)
    columns = {"user_id": user_ids(shoppers, np.arange(len(shoppers)))}
    for field in dataclasses.fields(Shoppers):
        value = getattr(shoppers, field.name)
        columns[field.name] = pa.array(value if value.ndim == 1 else value.reshape(len(shoppers), -1).tolist())
    pq.write_table(pa.table(columns), path / "shoppers" / f"part-{shard:05d}.parquet")


def write_queries(path: Path, day: str, part: int, queries: list[str], wants: Wants) -> None:
    """Writes what the distinct queries of one shard of a day mean."""
    folder = path / "queries" / f"dt={day}"
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"query": pa.array(queries, pa.string())} | {name: getattr(wants, name) for name in _SCALARS}
    columns |= {f"slot{slot}": wants.slots[:, slot] for slot in range(SLOTS)}
    pq.write_table(pa.table(columns), folder / f"part-{part:05d}.parquet", compression="zstd")
