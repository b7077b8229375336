"""The catalogue of a UBI log: given beside it in the contract's form, or gathered from what events say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.common.records import TaskRecord
from components.logs.buffer import RowBuffer
from components.logs.contract import open_parquet
from components.logs.sources.text import tidy
from components.logs.writer import LogWriter


class Catalogue:
    """Products that events may name.

    Args:
        folder: where `products.parquet` or `products/` may lie.
    """

    def __init__(self, folder: Path) -> None:
        self._given = self.files(folder)
        self._known: set[str] = set()
        self._gathered: dict[str, dict[str, Any]] = {}

    @staticmethod
    def files(folder: Path) -> list[Path]:
        """The Parquet files of a catalogue in the contract's form; none where it is not given."""
        return sorted([*folder.glob("products.parquet"), *(folder / "products").glob("*.parquet")])

    def notice(self, thing: dict[str, Any]) -> None:
        """Takes in what one event says about its object; of two descriptions the first stays."""
        name, title = thing.get("object_id"), thing.get("description")
        if self._given or not name or not title or str(name) in self._gathered:
            return
        detail = thing.get("object_detail") if isinstance(thing.get("object_detail"), dict) else {}
        price = (detail or {}).get("price")
        brand = (detail or {}).get("supplier") or (detail or {}).get("brand")
        self._gathered[str(name)] = {
            "product_id": str(name),
            "title": tidy(str(title)),
            "brand": tidy(str(brand)) if brand else None,
            "price": float(price) if isinstance(price, int | float) and price > 0 else None,
        }

    def write(self, writer: LogWriter, rows: RowBuffer) -> None:
        """Writes the products table."""
        for path in self._given:
            writer.adopt("products", path)
            with open_parquet(path, "products") as file:
                for batch in file.iter_batches(columns=["product_id"]):
                    self._known.update(str(value) for value in batch.column(0).to_pylist())
        for product in self._gathered.values():
            rows.add("products", product)
        self._known.update(self._gathered)

    def product_id(self, thing: dict[str, Any]) -> str | None:
        """The id of an event's object, None when the catalogue does not have it."""
        name = str(thing.get("object_id") or "")
        return name if name in self._known else None

    def report(self, writer: LogWriter, record: TaskRecord) -> None:
        """Says where the catalogue came from."""
        if self._given:
            return
        note = (
            f"UBI has no catalogue: {len(self._gathered):,} products were gathered from what events say about them; "
            "put products.parquet in the contract's form beside the logs to have them all."
        )
        writer.note(note)
        record.note(note)
