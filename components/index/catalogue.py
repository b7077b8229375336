"""The catalogue as the index sees it: contract columns, one row a product, in the order of the product ids.

The order is the tie order of every search: of two products with equal scores the one with the smaller id comes first,
in every engine, release and process.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.common.errors import BadInput, NotFound
from components.logs.contract import PRODUCTS

MAX_ID_BYTES = 512  # the length of the primary key's VARCHAR in Milvus


def read_catalogue(path: Path) -> pa.Table:
    """The products of a Parquet file (or folder of Parquet files), checked and in index order.

    Raises NotFound, or BadInput naming file, column, row and value.
    """
    path = Path(path)
    if not path.exists():
        raise NotFound(f"there is no products file at {path}.")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise BadInput(f"Table products: {path} is not readable Parquet ({reason}); write the file again.") from error
    return in_order(complete(table, str(path)), str(path))


def complete(table: pa.Table, where: str) -> pa.Table:
    """All contract columns in contract order (missing optional ones as nulls), further columns after them.

    Raises BadInput for a missing required column or one that cannot be read in its type.
    """
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for field in PRODUCTS:
        if field.name not in table.column_names:
            if not field.nullable:
                raise BadInput(
                    f"Table products: the required column {field.name} is missing in {where} "
                    f"(its columns are {', '.join(table.column_names)}); add it or rename the column that holds it."
                )
            columns[field.name] = pa.nulls(table.num_rows, field.type)
            continue
        column = table.column(field.name)
        try:
            columns[field.name] = column if column.type == field.type else column.cast(field.type)
        except pa.ArrowException as error:
            raise BadInput(
                f"Table products: column {field.name} in {where} has the type {column.type}, which can't be read as "
                f"{field.type} ({str(error).splitlines()[0]}); write it in that type."
            ) from error
    for name in table.column_names:
        if name not in columns:
            columns[name] = table.column(name)
    return pa.table(columns)


def in_order(table: pa.Table, where: str) -> pa.Table:
    """The table sorted by product_id. Raises BadInput for an empty table and a null, empty, long or repeated id."""
    if table.num_rows == 0:
        raise BadInput(f"Table products: {where} holds no product.")
    ids = table.column("product_id")
    bad = pc.fill_null(pc.or_(pc.equal(ids, ""), pc.greater(pc.binary_length(ids), MAX_ID_BYTES)), True)
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        raise BadInput(
            f"Table products: column product_id in {where}, row {row}, holds {ids[row].as_py()!r}; "
            f"an id is a text of 1 to {MAX_ID_BYTES} bytes."
        )
    if pc.any(pc.is_null(table.column("title"))).as_py():
        row = pc.index(pc.is_null(table.column("title")), True).as_py()
        raise BadInput(f"Table products: column title in {where}, row {row} (product {ids[row].as_py()!r}), is null.")
    ordered = table.take(pc.sort_indices(ids)).combine_chunks()
    ids = ordered.column("product_id")
    same = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)) if len(ids) > 1 else pa.array([], pa.bool_())
    if pc.any(same).as_py():
        repeated = ids[pc.index(same, True).as_py()].as_py()
        raise BadInput(f"Table products: product_id {repeated!r} occurs more than once in {where}; keep one row of it.")
    return ordered


def number_column(table: pa.Table, name: str) -> np.ndarray:
    """A numeric column as float64 [n]; null and absent values are NaN. Timestamps are microseconds since the epoch."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    column = table.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
