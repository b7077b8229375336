"""ESCI, Amazon's Shopping Queries: products of three locales, labels Exact, Substitute, Complement, Irrelevant.

Public form: two Parquet files, `shopping_queries_dataset_examples.parquet` and `..._products.parquet`, or the same
tables under the names `examples.parquet` and `products.parquet`.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.common.errors import BadInput, BadSetting, NotFound
from components.common.progress import Progress
from components.common.records import TaskRecord
from components.logs.contract import open_parquet
from components.logs.settings import LogSettings
from components.logs.sources.graded import write_graded
from components.logs.sources.text import nfc_column, tidy_column
from components.logs.writer import LogWriter

GRADES = {"E": 3.0, "S": 2.0, "C": 1.0, "I": 0.0}
POSITIVE_FROM = GRADES["E"]
LOCALES = ("us", "es", "jp")
_EXAMPLES, _PRODUCTS = "examples.parquet", "products.parquet"
_PREFIX = "shopping_queries_dataset_"
_LABELS = ("query", "product_id", "product_locale", "esci_label")


def files(data: Path) -> list[Path]:
    """The two files, examples first. Raises NotFound for a missing one."""
    found = []
    for name in (_EXAMPLES, _PRODUCTS):
        paths = [path for path in (data / f"{_PREFIX}{name}", data / name) if path.is_file()]
        if not paths:
            raise NotFound(f"{data} lacks {_PREFIX}{name} of ESCI; run without --data to download the set.")
        found.append(paths[0])
    return found


def load(data: Path, writer: LogWriter, record: TaskRecord, options: LogSettings) -> None:
    """Writes products, a search per query, a click per Exact pair, and every label as a grade 3, 2, 1 or 0.

    One locale is kept (`logs.locale`); with all of them, ids end in the locale, because locales share ids.
    """
    if options.locale and options.locale not in LOCALES:
        raise BadSetting(f"logs.locale must be one of {', '.join(LOCALES)} or empty, not {options.locale!r}.")
    examples, products = files(data)
    with open_parquet(products, "products") as file, Progress(file.metadata.num_rows, "ESCI", "products") as progress:
        _require(file.schema_arrow, products, ("product_id", "product_title", "product_locale"))
        for batch in file.iter_batches(batch_size=65_536):
            rows = _kept(pa.Table.from_batches([batch]), options.locale)
            if len(rows):
                writer.write("products", _products(rows, options.locale))
            progress.advance(batch.num_rows)
    parts = []
    with open_parquet(examples, "examples") as file:
        _require(file.schema_arrow, examples, _LABELS)
        done = 0
        for batch in file.iter_batches(columns=list(_LABELS)):
            _check_labels(batch, options.locale, examples, done)
            done += batch.num_rows
            parts.append(_kept(pa.Table.from_batches([batch]), options.locale))
    pairs = pa.concat_tables(parts)
    grades = pa.array(list(GRADES.values())).take(pc.index_in(pairs["esci_label"], pa.array(list(GRADES))))
    columns = {
        "query": nfc_column(pairs["query"]),
        "product_id": _ids(pairs, options.locale),
        "grade": grades,
        "locale": pairs["product_locale"],
    }
    write_graded(writer, pa.table(columns), POSITIVE_FROM)
    note = "Exact pairs stand as clicks; substitutes, complements and irrelevant products are grades only."
    writer.note(note)
    record.note(note)
    if options.locale:
        record.note(f"Only the locale {options.locale} was read (logs.locale).")


def _check_labels(rows: pa.RecordBatch, locale: str, path: Path, first_row: int) -> None:
    """Raises BadInput for a label of the locale that has no grade; `first_row` is the number of the first row."""
    unknown = pc.invert(pc.is_in(rows["esci_label"], value_set=pa.array(list(GRADES))))
    if locale:
        unknown = pc.and_(unknown, pc.equal(rows["product_locale"], locale))
    row = pc.index(unknown, True).as_py()
    if row >= 0:
        raise BadInput(
            f"{path}: row {first_row + row} has the unknown esci_label {rows['esci_label'][row].as_py()!r} (known: "
            f"{', '.join(GRADES)}); correct the row, or run without --data to download the set."
        )


def _products(rows: pa.Table, locale: str) -> pa.Table:
    columns = {"product_id": _ids(rows, locale), "title": pc.fill_null(tidy_column(rows["product_title"]), "")}
    for name, source in (("brand", "product_brand"), ("description", "product_description")):
        if source in rows.column_names:
            columns[name] = tidy_column(rows[source])
    if "product_color" in rows.column_names:
        colours = tidy_column(rows["product_color"]).to_pylist()
        pairs = [[("colour", colour)] if colour else [] for colour in colours]
        columns["attributes"] = pa.array(pairs, pa.map_(pa.string(), pa.string()))
    return pa.table(columns)


def _kept(rows: pa.Table, locale: str) -> pa.Table:
    return rows.filter(pc.equal(rows["product_locale"], locale)) if locale else rows


def _ids(rows: pa.Table, locale: str) -> pa.ChunkedArray:
    if locale:
        return rows["product_id"]
    return pc.binary_join_element_wise(rows["product_id"], rows["product_locale"], "_")


def _require(schema: pa.Schema, path: Path, columns: tuple[str, ...]) -> None:
    for name in columns:
        if name not in schema.names:
            raise BadInput(
                f"{path}: the column {name} is missing (its columns are {', '.join(schema.names)}); run without --data "
                "to download the set."
            )
