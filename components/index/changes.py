"""Reads a file of changed products and compares it with the catalogue of a release."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.common.errors import BadInput, NotFound
from components.index.catalogue import MAX_ID_BYTES
from components.logs.contract import PRODUCTS

DELETED = "deleted"


@dataclass(frozen=True)
class Difference:
    """What a file of changes does to a catalogue.

    kept: rows int64 of the old catalogue that stay as they are; upserted: the new and changed products, with the old
    catalogue's columns; deleted: ids that go.
    """

    kept: np.ndarray
    upserted: pa.Table
    deleted: list[str]
    counts: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """True when the catalogue stays as it is."""
        return not self.upserted.num_rows and not self.deleted


def read_changes(path: Path) -> pa.Table:
    """The rows of a Parquet file of changes, contract columns in the contract's types; NaN is read as null.

    Raises NotFound, or BadInput naming file, column, row and value: not Parquet, no product_id, a column of another
    type, an empty or repeated id.
    """
    if not path.exists():
        raise NotFound(f"there is no products file at {path}.")
    if path.is_dir() and not any(path.rglob("*.parquet")):
        raise NotFound(f"{path} holds no Parquet file; give a file of products, or a folder of such files.")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise BadInput(f"Table products: {path} is not readable Parquet ({reason}); write the file again.") from error
    if "product_id" not in table.column_names:
        raise BadInput(f"Table products: the required column product_id is missing in {path}; add it.")
    for field in [*PRODUCTS, pa.field(DELETED, pa.bool_())]:
        if field.name not in table.column_names:
            continue
        try:
            column = table.column(field.name).cast(field.type)
        except pa.ArrowException as error:
            raise BadInput(
                f"Table products: column {field.name} in {path} cannot be read as {field.type} "
                f"({str(error).splitlines()[0]}); write it in that type."
            ) from error
        if pa.types.is_floating(field.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        table = table.set_column(table.schema.get_field_index(field.name), field.name, column)
    seen: set[str] = set()
    for row, key in enumerate(table.column("product_id").to_pylist()):
        if not key or len(key.encode()) > MAX_ID_BYTES or key in seen:
            what = "occurs before" if key in seen else f"is not a text of 1 to {MAX_ID_BYTES} bytes"
            raise BadInput(f"Table products: column product_id in {path}, row {row}: {key!r} {what}.")
        seen.add(key)
    return table


def compare(catalogue: pa.Table, changes: pa.Table, where: str) -> Difference:
    """What `changes` does to `catalogue` (both by product_id). A change that changes nothing is left out.

    Raises BadInput for a product without a title, and for a price that is none.
    """
    row_of = {key: row for row, key in enumerate(catalogue.column("product_id").to_pylist())}
    columns = [name for name in changes.column_names if name in catalogue.column_names]
    ids = changes.column("product_id").to_pylist()
    gone = changes.column(DELETED).to_pylist() if DELETED in changes.column_names else [False] * len(ids)
    known = [row_of[key] for key in ids if key in row_of]
    old = {row["product_id"]: row for row in catalogue.take(pa.array(known, type=pa.int64())).to_pylist()}
    upserted: list[dict[str, Any]] = []
    deleted: list[str] = []
    absent = 0
    added = 0
    for number, (row, removed) in enumerate(zip(changes.select(columns).to_pylist(), gone, strict=True)):
        key = row["product_id"]
        if removed:
            deleted += [key] if key in old else []
            absent += key not in old
            continue
        new = {**old.get(key, dict.fromkeys(catalogue.column_names)), **row}
        place = f"in {where}, row {number} (product {key!r})"
        if not (new["title"] or "").strip():
            raise BadInput(f"Table products: column title {place}, is missing, null or empty.")
        price = new.get("price")
        if price is not None and not 0 < price < math.inf:
            raise BadInput(f"Table products: column price {place}, is {price}; a price is above 0, or null.")
        if key not in old or new != old[key]:
            upserted.append(new)
            added += key not in old
    touched = {row["product_id"] for row in upserted} | set(deleted)
    kept = np.array([row for key, row in row_of.items() if key not in touched], dtype=np.int64)
    counts = {"added": added, "changed": len(upserted) - added, "removed": len(deleted)}
    unknown = [name for name in changes.column_names if name not in catalogue.column_names and name != DELETED]
    notes = [f"Products to remove that were not in the catalogue: {absent}."] if absent else []
    if unknown:
        notes.append(f"Columns the catalogue does not have are ignored: {', '.join(unknown)}.")
    return Difference(kept, pa.Table.from_pylist(upserted, schema=catalogue.schema), deleted, counts, tuple(notes))
