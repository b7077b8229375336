"""Rows brought to the contract's types, or one sentence that names table, column, row and value."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from components.common.errors import BadInput
from components.logs.contract import TABLES, TIMESTAMP


def fit(table: str, rows: pa.Table, where: str = "", first_row: int = 0, nulls: bool = False) -> pa.Table:
    """The rows in contract order and types; optional columns that are absent stay absent.

    Types that hold the same values are converted: other integer or float widths, large or dictionary strings, integer
    ids, other timestamp units; a timestamp without a zone is taken as UTC.

    Args:
        where: what the error names beside the table: the file, say.
        first_row: number of the first row within it.
        nulls: a null in a required column stays, for the validation to judge.

    Raises:
        BadInput: an unknown column, a value its column can't hold, or, without `nulls`, a null where none may be.
    """
    schema = TABLES[table]
    place = f" in {where}" if where else ""
    unknown = sorted(set(rows.column_names) - set(schema.names))
    if unknown:
        raise BadInput(f"Table {table}{place}: the contract has no column {', '.join(unknown)}; leave it out.")
    fields = [field.with_nullable(field.nullable or nulls) for field in schema if field.name in rows.column_names]
    columns = [_fitted(rows[field.name], field, table, place, first_row) for field in fields]
    return pa.table(columns, schema=pa.schema(fields))


def _fitted(column: pa.ChunkedArray, field: pa.Field, table: str, place: str, first_row: int) -> pa.ChunkedArray:
    if column.type != field.type:
        fitted = _cast(column, field.type)
        if fitted is None:
            row, value = _first_misfit(column, field.type)
            raise BadInput(
                f"Table {table}{place}: column {field.name}, row {first_row + row}: the value {value!r} "
                f"is not of the type {field.type}; {_remedy(column.type, field)}."
            )
        column = fitted
    if not field.nullable and column.null_count:
        row = next(number for number, value in enumerate(column) if not value.is_valid)
        raise BadInput(
            f"Table {table}{place}: column {field.name}, row {first_row + row}: the value is null; every row needs one."
        )
    return column


def _remedy(given: pa.DataType, field: pa.Field) -> str:
    """What to do about a column of another type, by how such a column usually comes about."""
    if pa.types.is_dictionary(given):
        given = given.value_type
    number = pa.types.is_integer(given) or pa.types.is_floating(given)
    if pa.types.is_timestamp(field.type):
        unit = 'unit="ms", ' if number else ""
        how = f"write it as timestamps in UTC, such as pandas.to_datetime(column, {unit}utc=True)"
    elif pa.types.is_string(field.type) and pa.types.is_floating(given):
        how = (
            'write it as text or whole numbers (pandas: column.astype("Int64") keeps them whole where some are missing)'
        )
    elif pa.types.is_string(field.type) and pa.types.is_nested(given):
        how = 'join each into one text, such as "A > B > C"'
    elif pa.types.is_map(field.type):
        how = "write it as a map of text to text"
    elif pa.types.is_floating(field.type) or pa.types.is_integer(field.type):
        how = "write it as numbers alone, without currency or unit, the decimals behind a point"
    else:
        how = "write the column in that type"
    return how + (", or leave the column out" if field.nullable else "")


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    if not _comparable(column.type, kind):
        return None
    try:
        # Nanoseconds lose digits that the contract has no room for; everything else must convert without loss.
        return column.cast(kind, safe=kind != TIMESTAMP)
    except pa.ArrowException:
        return None


def _comparable(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a conversion keeps the meaning: numbers are no times, texts are no numbers, truth values are no ids."""
    if pa.types.is_dictionary(given):
        given = given.value_type
    if pa.types.is_null(given):
        return True
    text = pa.types.is_string(given) or pa.types.is_large_string(given) or pa.types.is_string_view(given)
    number = pa.types.is_integer(given) or pa.types.is_floating(given) or pa.types.is_decimal(given)
    if pa.types.is_string(wanted):
        return text or pa.types.is_integer(given)
    if pa.types.is_timestamp(wanted):
        return pa.types.is_timestamp(given)
    if pa.types.is_integer(wanted) or pa.types.is_floating(wanted):
        return number
    return True


def _first_misfit(column: pa.ChunkedArray, kind: pa.DataType) -> tuple[int, Any]:
    """Row and value of the first element that can't be converted."""
    for number, value in enumerate(column):
        if value.is_valid and _cast(pa.chunked_array([pa.array([value.as_py()], column.type)]), kind) is None:
            return number, value.as_py()
    return 0, None
