"""Chorus/Icecat: electronics products and 135 queries graded 0 to 3 by three people; evaluation only.

Public form: `1.json.zip` .. `4.json.zip` (each a JSON list of products, the price in cents) and
`Broad_Query_Set_rated.csv` (query, docid, rating).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv

from components.common.errors import BadInput, NotFound
from components.common.progress import track
from components.common.records import TaskRecord
from components.logs.contract import PRODUCTS
from components.logs.settings import LogSettings
from components.logs.sources.graded import write_graded
from components.logs.sources.text import tidy
from components.logs.writer import LogWriter

POSITIVE_FROM = 2.0
_RATINGS = "Broad_Query_Set_rated.csv"
_COLUMNS = ("product_id", "title", "description", "brand", "category", "price", "attributes")


def files(data: Path) -> list[Path]:
    """The product files and the ratings. Raises NotFound for a missing one."""
    products = sorted([*data.glob("*.json.zip"), *data.glob("*.json")])
    if not products or not (data / _RATINGS).is_file():
        missing = _RATINGS if products else "product files (1.json.zip ..)"
        raise NotFound(f"{data} lacks the {missing} of Chorus; give the folder that holds both with --data.")
    return [*products, data / _RATINGS]


def load(data: Path, writer: LogWriter, record: TaskRecord, options: LogSettings) -> None:
    """Writes products, a search per graded query, and the grades; no events."""
    *products, ratings = files(data)
    seen: set[str] = set()
    for path in track(products, label="Chorus products", unit="files"):
        rows = [product for item in _items(path) if (product := _product(item, path))["product_id"] not in seen]
        seen.update(product["product_id"] for product in rows)
        writer.write("products", _table(rows))
    types = {"query": pa.string(), "docid": pa.string(), "rating": pa.float64()}
    try:
        pairs = csv.read_csv(ratings, convert_options=csv.ConvertOptions(column_types=types, include_columns=[*types]))
    except pa.ArrowException as error:
        raise BadInput(
            f"{ratings} is not the rated query set: {str(error).splitlines()[0]}; its columns must be "
            f"{', '.join(types)}."
        ) from error
    pairs = pairs.rename_columns(["query", "product_id", "grade"])
    write_graded(writer, pairs, POSITIVE_FROM, clicks=False)
    note = "This set has judgements only: it evaluates towers, it does not train any."
    writer.note(note)
    record.note(note)


def _items(path: Path) -> Iterable[dict[str, Any]]:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
                items = json.load(file)
        else:
            items = json.loads(path.read_text(encoding="utf-8"))
    except (zipfile.BadZipFile, json.JSONDecodeError, UnicodeDecodeError, IndexError) as error:
        raise BadInput(f"{path} is not a product file of Chorus: {error}; unpack or write it again.") from error
    if not isinstance(items, list):
        raise BadInput(f"{path} is not a product file of Chorus: it holds no JSON list of products.")
    return items


def _product(item: dict[str, Any], path: Path) -> dict[str, Any]:
    if not isinstance(item, dict) or "id" not in item:
        raise BadInput(f"{path}: a product has no id: {str(item)[:80]!r}; give it an `id` or take it out.")
    kind = item.get("attr_t_product_type")
    # attr_t_, attr_n_ and attr_b_ are text, numbers and truth values.
    attributes = {name[7:]: tidy(str(value)) for name, value in sorted(item.items()) if name.startswith("attr_")}
    return {
        "product_id": str(item["id"]),
        "title": tidy(str(item.get("title") or item.get("name") or "")),
        "description": tidy(str(item["short_description"])) if item.get("short_description") else None,
        "brand": tidy(str(item["supplier"])) if item.get("supplier") else None,
        "category": tidy(str(kind)) if kind else None,
        "price": item["price"] / 100 if isinstance(item.get("price"), int | float) else None,
        "attributes": list(attributes.items()),
    }


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], PRODUCTS.field(name).type) for name in _COLUMNS})
