"""A batch as the contract sees it: its columns in the contract's types, with the rows marked that can't be read so."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from components.logs.contract import REQUIRED, TABLES
from components.validation.alarms import STOP, WARN, Finding
from components.validation.conversion import convert, plain_name
from components.validation.hashing import Hashed, hash_column
from components.validation.marks import Marks, shown
from components.validation.reading import Piece

Note = Callable[[Finding], None]


@dataclass
class Conformed:
    """Contract columns of one piece that the file has, in contract types; `marks` grows with each check.

    `converted` names the columns whose stored type was another one: such a file is written anew.
    """

    table: str
    piece: Piece
    columns: dict[str, pa.Array]
    marks: Marks
    converted: set[str] = field(default_factory=set)
    _hashed: dict[str, Hashed] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return int(self.piece.batch.num_rows)

    def column(self, name: str) -> pa.Array:
        """The column, or nulls where the file lacks it."""
        return self.columns.get(name, pa.nulls(self.rows, TABLES[self.table].field(name).type))

    def hashed(self, name: str) -> Hashed:
        """The hashes of a text column, computed once; call it after the checks that may replace the column's values."""
        if name not in self._hashed:
            self._hashed[name] = hash_column(self.column(name))
        return self._hashed[name]

    def valid(self, name: str) -> np.ndarray:
        """bool [rows]: the column is not null."""
        return np.asarray(self.column(name).is_valid().to_numpy(zero_copy_only=False), dtype=bool)

    def rewritten(self) -> pa.RecordBatch:
        """The stored batch with every contract column in its contract type; columns unknown to it stay as they are."""
        batch = self.piece.batch
        arrays = [self.columns.get(name, batch.column(i)) for i, name in enumerate(batch.schema.names)]
        return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def conform(table: str, piece: Piece, file: str, note: Note) -> Conformed:
    """Reads a piece's columns as the contract's; `note` receives what is worth an alarm, `file` names it there."""
    schema = TABLES[table]
    batch, marks = piece.batch, Marks(piece.batch.num_rows)
    conformed = Conformed(table, piece, {}, marks)
    for name in REQUIRED[table]:
        if name not in batch.schema.names:
            marks.add(np.ones(batch.num_rows, dtype=bool), "missing_column", f"the file has no column {name}")
    for item in schema:
        if item.name not in batch.schema.names:
            continue
        stored = batch.column(batch.schema.names.index(item.name))
        result = convert(stored, item.type)
        conformed.columns[item.name] = result.array
        if stored.type != item.type:
            conformed.converted.add(item.name)
        if result.naive:
            sentence = f"Table {table}: column {item.name} in {file} has no time zone; it was read as UTC."
            note(Finding("naive_time", sentence, WARN))
        if result.bad.any():
            _note_type(table, item, stored, result.bad, piece, file, note)
            wanted = plain_name(item.type)
            marks.add(result.bad, "column_type", f"column {item.name} holds {{value}}, which is not {wanted}", stored)
    for name in REQUIRED[table]:
        if name in conformed.columns:
            marks.add(~conformed.valid(name), "missing_value", f"column {name} is null")
    return conformed


def _note_type(
    table: str, item: pa.Field, stored: pa.Array, bad: np.ndarray, piece: Piece, file: str, note: Note
) -> None:
    row = int(np.flatnonzero(bad)[0])
    none_fits = bad.sum() == len(stored) - stored.null_count
    sentence = (
        f"Table {table}: column {item.name} in {file} has the type {stored.type}; row {piece.first_row + row} of row "
        f"group {piece.row_group} holds {shown(stored[row])}, which is not {plain_name(item.type)}."
    )
    note(Finding("column_type", sentence, STOP if none_fits else WARN))
