"""Good rows into a new file, bad rows into quarantine with reason and origin, every row into exactly one of the two."""

import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.validation.conform import Conformed

ORIGIN = ("check", "reason", "file", "row_group", "row")


class Router:
    """Splits the pieces of one file. Files are created when their first row arrives.

    Args:
        file: the file's path inside the log, as it stands in quarantine's column `file`.
        good: where the good rows go.
        bad: where the bad rows go: the stored columns as text, then check, reason, file, row_group, row (both counted
            from 0, the row inside its row group).
    """

    def __init__(self, file: str, good: Path, bad: Path) -> None:
        self.file, self._paths = file, {"good": good, "bad": bad}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._stack = ExitStack()
        self.good_rows = 0

    def __enter__(self) -> "Router":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def route(self, conformed: Conformed) -> None:
        """Sends every row of a checked piece to one of the two files."""
        good = conformed.marks.good
        if good.any():
            self._write("good", conformed.rewritten().filter(pa.array(good)))
            self.good_rows += int(good.sum())
        if not good.all():
            self._write("bad", quarantined(conformed, self.file))

    def _write(self, kind: str, batch: pa.RecordBatch) -> None:
        if kind not in self._writers:
            path = self._paths[kind]
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = pq.ParquetWriter(path, batch.schema, compression="zstd", write_page_checksum=True)
            self._writers[kind] = self._stack.enter_context(writer)
        self._writers[kind].write_batch(batch)


def quarantined(conformed: Conformed, file: str) -> pa.RecordBatch:
    """The bad rows of a piece as text with their reason and origin."""
    rows, checks, sentences = conformed.marks.sentences()
    piece, picked = conformed.piece, pa.array(rows)
    columns = {
        (f"stored_{name}" if name in ORIGIN else name): as_text(piece.batch.column(i).take(picked))
        for i, name in enumerate(piece.batch.schema.names)
    }
    columns["check"] = pa.array(checks, pa.string())
    columns["reason"] = pa.array(sentences, pa.string())
    columns["file"] = pa.array([file] * len(rows), pa.string())
    columns["row_group"] = pa.array(np.full(len(rows), piece.row_group), pa.int32())
    columns["row"] = pa.array(rows + piece.first_row, pa.int64())
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def as_text(array: pa.Array) -> pa.Array:
    """Any column as a string column; bytes that are not UTF-8 are written as \\x escapes, nested values as JSON."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return as_text(array.dictionary_decode())
    if pa.types.is_nested(kind):
        # A map arrives as its list of pairs; undecodable text inside can only be shown by way of its bytes.
        return pa.array([_nested(value) for value in array], pa.string())
    try:
        text = array.cast(pa.string())
        text.validate(full=True)
        return text
    except pa.ArrowException:
        return pa.array([_escaped(value) for value in array], pa.string())


def _nested(value: pa.Scalar) -> str | None:
    try:
        plain = value.as_py()
    except UnicodeDecodeError:
        return "(holds text that is not valid UTF-8)"
    return None if plain is None else json.dumps(plain, ensure_ascii=False, default=str)


def _escaped(value: pa.Scalar) -> str | None:
    if not value.is_valid:
        return None
    if hasattr(value, "as_buffer"):
        return value.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    return str(value)


def link(source: Path, target: Path) -> None:
    """The same file under another name: a hard link where the file system allows it, else a copy."""
    try:
        try:
            os.link(source, target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
