"""WANDS, Wayfair's annotated set: 42,994 home products, 480 queries, 233,448 labels Exact, Partial or Irrelevant.

Public form: `product.csv`, `query.csv`, `label.csv`, tab-separated, in the folder or its sub-folder `dataset`.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from components.common.errors import BadInput, NotFound
from components.common.records import TaskRecord
from components.logs.settings import LogSettings
from components.logs.sources.graded import write_graded
from components.logs.sources.text import nfc_column, tidy_column
from components.logs.writer import LogWriter

GRADES = {"Exact": 2.0, "Partial": 1.0, "Irrelevant": 0.0}
POSITIVE_FROM = GRADES["Exact"]
_NAMES = ("product.csv", "query.csv", "label.csv")
_PRODUCT = {
    "product_id": pa.string(),
    "product_name": pa.string(),
    "category hierarchy": pa.string(),
    "product_description": pa.string(),
    "product_features": pa.string(),
    "average_rating": pa.float64(),
    "review_count": pa.float64(),
}


def files(data: Path) -> list[Path]:
    """The three files. Raises NotFound for a missing one."""
    folder = data / "dataset" if (data / "dataset").is_dir() else data
    missing = [name for name in _NAMES if not (folder / name).is_file()]
    if missing:
        raise NotFound(f"{folder} lacks {', '.join(missing)} of WANDS; run without --data to download the set.")
    return [folder / name for name in _NAMES]


def load(data: Path, writer: LogWriter, record: TaskRecord, options: LogSettings) -> None:
    """Writes products, a search per query, a click per Exact pair, and every label as a grade 2, 1 or 0."""
    products, queries, labels = files(data)
    rows = _read(products, _PRODUCT)
    columns = {
        "product_id": rows["product_id"],
        "title": pc.fill_null(tidy_column(rows["product_name"]), ""),
        "description": tidy_column(rows["product_description"]),
        "category": pc.replace_substring_regex(tidy_column(rows["category hierarchy"]), r"\s*/\s*", " > "),
        "attributes": _features(rows["product_features"].to_pylist()),
        "rating": rows["average_rating"],
        "review_count": rows["review_count"].cast(pa.int64(), safe=False),
    }
    writer.write("products", pa.table(columns))
    asked = _read(queries, {"query_id": pa.string(), "query": pa.string()})
    given = _read(labels, {"query_id": pa.string(), "product_id": pa.string(), "label": pa.string()})
    grades = pa.array(list(GRADES.values())).take(pc.index_in(given["label"], pa.array(list(GRADES))))
    place = pc.index_in(given["query_id"], asked["query_id"])
    for name, column, bad in (("label", given["label"], grades), ("query_id", given["query_id"], place)):
        if bad.null_count:
            row = pc.index(pc.is_null(bad), True).as_py()
            known = ", ".join(GRADES) if name == "label" else f"those of {queries.name}"
            raise BadInput(
                f"{labels}: row {row} has the unknown {name} {column[row].as_py()!r} (known: {known}); correct the "
                "row, or run without --data to download the set."
            )
    texts = nfc_column(asked["query"]).take(place)
    pairs = pa.table({"query": texts, "product_id": given["product_id"], "grade": grades})
    write_graded(writer, pairs, POSITIVE_FROM)
    note = "Exact pairs stand as clicks; Partial and Irrelevant ones are grades only."
    writer.note(note)
    record.note(note)


def _read(path: Path, types: dict[str, pa.DataType]) -> pa.Table:
    try:
        return csv.read_csv(
            path,
            parse_options=csv.ParseOptions(delimiter="\t", newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=types, include_columns=list(types)),
        )
    except (pa.ArrowException, KeyError) as error:
        raise BadInput(
            f"{path} is not the WANDS file: {str(error).splitlines()[0]}; run without --data to download the set."
        ) from error


def _features(column: list[str | None]) -> pa.Array:
    """`name : value|name : value` as maps; of a name that comes twice the first value stays."""
    rows = []
    for text in column:
        pairs: dict[str, str] = {}
        for part in (text or "").split("|"):
            name, colon, value = part.partition(":")
            if colon and name.strip() and value.strip():
                pairs.setdefault(name.strip(), value.strip())
        rows.append(list(pairs.items()))
    return pa.array(rows, pa.map_(pa.string(), pa.string()))
