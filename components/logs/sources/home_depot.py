"""The Home Depot relevance set: real queries, titles and mean human grades from 1 to 3; no shoppers, no times.

Public form: `train.csv` (or `train.csv.zip`), latin-1, columns id, product_uid, product_title, search_term, relevance.
"""

from __future__ import annotations

import zipfile
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

POSITIVE_FROM = 2.33
_NAMES = ("train.csv", "train.csv.zip")
_COLUMNS = {
    "product_uid": pa.string(),
    "product_title": pa.string(),
    "search_term": pa.string(),
    "relevance": pa.float64(),
}


def files(data: Path) -> list[Path]:
    """The source's files. Raises NotFound."""
    candidates = [data] if data.is_file() else [data / name for name in _NAMES]
    found = [path for path in candidates if path.is_file()]
    if not found:
        raise NotFound(
            f"{data} holds neither train.csv nor train.csv.zip of the Home Depot set; give its folder with --data."
        )
    return found[:1]


def load(data: Path, writer: LogWriter, record: TaskRecord, options: LogSettings) -> None:
    """Writes the set as a log: a search per distinct query, a click per pair graded 2.33 or better, all grades kept."""
    pairs = _read(files(data)[0])
    products = pairs.group_by("product_uid", use_threads=False).aggregate([("product_title", "first")])
    titles = pc.fill_null(tidy_column(products["product_title_first"]), "")
    writer.write("products", pa.table({"product_id": products["product_uid"], "title": titles}))
    # Which query is a test query follows from its bytes; published figures on this set hash the lower-case query.
    queries = nfc_column(pc.utf8_lower(pairs["search_term"]))
    graded = {"query": queries, "product_id": pairs["product_uid"], "grade": pairs["relevance"]}
    write_graded(writer, pa.table(graded), POSITIVE_FROM)
    note = f"Pairs graded {POSITIVE_FROM} or better stand as clicks; about six products a query were graded, no more."
    writer.note(note)
    record.note(note)


def _read(path: Path) -> pa.Table:
    options = {
        "read_options": csv.ReadOptions(encoding="latin-1"),
        "convert_options": csv.ConvertOptions(column_types=_COLUMNS, include_columns=list(_COLUMNS)),
        "parse_options": csv.ParseOptions(newlines_in_values=True),
    }
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open("train.csv") as file:
                return csv.read_csv(file, **options)
        return csv.read_csv(path, **options)
    except (pa.ArrowException, zipfile.BadZipFile, KeyError) as error:
        raise BadInput(
            f"{path} is not the Home Depot set: {str(error).splitlines()[0]}; give the published train.csv, whose "
            f"columns are {', '.join(_COLUMNS)} and more."
        ) from error
