"""Files, partitions and schemas gone wrong."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.validation.corruption import corruption
from tests.validation.shop import day_name, edit, edit_description, file_of, write_table


def _rewrite(path: Path, column: str, array: pa.Array | pa.ChunkedArray) -> None:
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.set_column(table.column_names.index(column), column, array), path)


@corruption(stops="unreadable_file", says=("events", "part-00000.parquet", "not readable", "write it again"))
def torn_file(log: Path) -> None:
    path = file_of(log, "events")
    path.write_bytes(path.read_bytes()[:-500])


@corruption(stops="unreadable_file", says=("events/dt=2024-03-06/part-00000.parquet",))
def damaged_in_the_middle(log: Path) -> None:
    path = file_of(log, "events")
    body = bytearray(path.read_bytes())
    body[2_000:6_000] = bytes(4_000)
    path.write_bytes(bytes(body))


@corruption(stops="unreadable_file", says=("searches", "part-00000.parquet"))
def file_of_zero_bytes(log: Path) -> None:
    file_of(log, "searches").write_bytes(b"")


@corruption(stops="unreadable_file", says=("products/part-00001.parquet",))
def text_file_called_parquet(log: Path) -> None:
    (log / "products" / "part-00001.parquet").write_text("product_id,title\np1,lamp\n")


@corruption(harmless="only Parquet files are read")
def marker_files_beside_the_data(log: Path) -> None:
    (log / "events" / "_SUCCESS").touch()
    (file_of(log, "searches").parent / ".part-00000.parquet.crc").write_bytes(b"crc")


@corruption(stops="missing_table", says=("Table searches is missing", "search_id, timestamp, query"))
def table_missing(log: Path) -> None:
    shutil.rmtree(log / "searches")


@corruption(stops="missing_table", says=("Table products is missing", "product_id, title"))
def catalogue_without_files(log: Path) -> None:
    file_of(log, "products").unlink()


@corruption(stops="partition_name", says=("dt=yesterday", "dt=YYYY-MM-DD"), quarantine=("events", "partition_name"))
def partition_that_is_no_date(log: Path) -> None:
    file_of(log, "events").parent.rename(log / "events" / "dt=yesterday")


@corruption(
    stops="partition_name",
    says=("lies in searches, where no reader looks",),
    quarantine=("searches", "partition_name"),
)
def file_outside_any_partition(log: Path) -> None:
    shutil.move(file_of(log, "searches"), log / "searches" / "part-00000.parquet")


@corruption(stops="doubled_partition", says=("same content",), quarantine=("events", "duplicate"))
def partition_doubled_as_a_second_file(log: Path) -> None:
    path = file_of(log, "events")
    shutil.copy(path, path.with_name("part-00001.parquet"))


@corruption(stops="doubled_partition", says=("written twice", "2024-03-06"), quarantine=("events", "duplicate"))
def partition_doubled_inside_its_file(log: Path) -> None:
    edit(file_of(log, "events"), lambda c: {name: values + values for name, values in c.items()})


@corruption(stops="doubled_partition", says=("dt=2024-03-05", "dt=2024-03-06"), quarantine=("searches", "other_day"))
def yesterday_copied_over_today(log: Path) -> None:
    shutil.copy(file_of(log, "searches", -2), file_of(log, "searches", -1))


@corruption(stops="counts", says=("Table events", "a file is lost or new"))
def rows_lost_on_the_way(log: Path) -> None:
    edit(file_of(log, "events"), lambda c: {name: values[: len(values) * 9 // 10] for name, values in c.items()})


@corruption(stops="empty_day", says=("2024-03-06 holds no good row",))
def newest_day_without_rows(log: Path) -> None:
    for table in ("searches", "events"):
        edit(file_of(log, table), lambda c: {name: [] for name in c})


@corruption(warns="empty_day", says=("2024-03-04 holds no good row", "(1 more such gap)"))
def two_days_missing_in_the_middle(log: Path) -> None:
    for table in ("searches", "events"):
        for number in (1, 3):
            shutil.rmtree(log / table / f"dt={day_name(number)}")
    edit_description(log, counts={})


@corruption(warns="empty_day", says=("2024-03-03 holds no good row",))
def day_missing_in_the_middle(log: Path) -> None:
    for table in ("searches", "events"):
        shutil.rmtree(log / table / f"dt={day_name(2)}")
    edit_description(log, counts={})


@corruption(stops="missing_hours", says=("hours 12 to 23 UTC", "incomplete"))
def half_a_day(log: Path) -> None:
    for table in ("searches", "events"):
        edit(file_of(log, table), _morning)
    edit_description(log, counts={})


def _morning(columns: dict) -> dict:
    keep = [i for i, moment in enumerate(columns["timestamp"]) if moment // 3_600_000_000 % 24 < 12]
    return {name: [values[i] for i in keep] for name, values in columns.items()}


@corruption(
    stops="missing_column",
    says=("Table products", "required column product_id is missing", "sku"),
    quarantine=("products", "missing_column", 400),
)
def required_column_renamed(log: Path) -> None:
    edit(file_of(log, "products"), lambda c: {("sku" if name == "product_id" else name): v for name, v in c.items()})


@corruption(warns="unknown_column", says=("manufacturer", "brand"))
def optional_column_renamed(log: Path) -> None:
    edit(file_of(log, "products"), lambda c: {("manufacturer" if n == "brand" else n): v for n, v in c.items()})


@corruption(stops="null_share", says=("100% of brand are null", "0%"))
def optional_column_emptied(log: Path) -> None:
    edit(file_of(log, "products"), lambda c: {**c, "brand": [None] * len(c["brand"])})


@corruption(stops="few_products", says=("only 0 good rows of 400",), quarantine=("products", "missing_value", 400))
def required_column_all_null(log: Path) -> None:
    edit(file_of(log, "products"), lambda c: {**c, "title": [None] * 400})


@corruption(stops="column_type", says=("column product_id", "double", "row 0", "0.0", "not text"))
def ids_as_fractions(log: Path) -> None:
    _rewrite(file_of(log, "products"), "product_id", pa.array([float(i) for i in range(400)]))


@corruption(warns="column_type", says=("price", "row 7", "'twelve'"), quarantine=("products", "column_type", 1))
def one_price_in_words(log: Path) -> None:
    path = file_of(log, "products")
    prices = pq.read_table(path)["price"].cast(pa.string()).to_pylist()
    _rewrite(path, "price", pa.array([*prices[:7], "twelve", *prices[8:]]))


@corruption(stops="column_type", says=("in_stock", "list", "not true or false"))
def optional_column_of_lists(log: Path) -> None:
    _rewrite(file_of(log, "products"), "in_stock", pa.array([[True]] * 400))


@corruption(harmless="numbers written as text are read as numbers")
def prices_as_text(log: Path) -> None:
    path = file_of(log, "products")
    _rewrite(path, "price", pq.read_table(path)["price"].cast(pa.string()))


@corruption(harmless="a dictionary is an encoding of text")
def ids_dictionary_encoded(log: Path) -> None:
    path = file_of(log, "events")
    _rewrite(path, "product_id", pq.read_table(path, partitioning=None)["product_id"].dictionary_encode())


@corruption(harmless="a whole number in a wider type is the same number")
def positions_as_fractions(log: Path) -> None:
    path = file_of(log, "events")
    _rewrite(path, "position", pq.read_table(path, partitioning=None)["position"].cast(pa.float64()))


@corruption(harmless="the same instants in another zone's notation")
def timestamps_in_new_york(log: Path) -> None:
    path = file_of(log, "searches")
    times = pq.read_table(path, partitioning=None)["timestamp"]
    _rewrite(path, "timestamp", times.cast(pa.timestamp("us", tz="America/New_York")))


@corruption(harmless="nanoseconds of the right instants lose nothing that counts")
def timestamps_in_nanoseconds(log: Path) -> None:
    path = file_of(log, "events")
    times = pq.read_table(path, partitioning=None)["timestamp"]
    _rewrite(path, "timestamp", times.cast(pa.timestamp("ns", tz="UTC")))


@corruption(warns="naive_time", says=("searches", "no time zone", "read as UTC"))
def timestamps_without_a_zone(log: Path) -> None:
    path = file_of(log, "searches")
    times = pq.read_table(path, partitioning=None)["timestamp"]
    _rewrite(path, "timestamp", times.cast(pa.timestamp("us")))


@corruption(warns="naive_time", says=("searches", "no time zone"))
def timestamps_as_text(log: Path) -> None:
    path = file_of(log, "searches")
    times = pq.read_table(path, partitioning=None)["timestamp"].to_pylist()
    _rewrite(path, "timestamp", pa.array([item.strftime("%Y-%m-%d %H:%M:%S.%f") for item in times]))


@corruption(stops="bad_searches", says=("seconds",), quarantine=("searches", "timestamp_unit"))
def seconds_in_a_whole_number_column(log: Path) -> None:
    path = file_of(log, "searches")
    times = pq.read_table(path, partitioning=None)["timestamp"].cast(pa.int64()).to_pylist()
    _rewrite(path, "timestamp", pa.array([moment // 1_000_000 for moment in times]))


@corruption(warns="unknown_column", says=("colour", "nothing reads"))
def column_nobody_knows(log: Path) -> None:
    edit(file_of(log, "products"), lambda c: {**c, "colour": ["red"] * 400})


@corruption(harmless="rows have no order in the contract")
def rows_shuffled(log: Path) -> None:
    path = file_of(log, "searches")
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.take(pa.array([(i * 97) % len(table) for i in range(len(table))])), path)


@corruption(harmless="a partition may have any number of files and row groups")
def partition_in_three_files(log: Path) -> None:
    path = file_of(log, "events")
    table = pq.read_table(path, partitioning=None)
    path.unlink()
    for part in range(3):
        rows = table.slice(part * len(table) // 3, (part + 1) * len(table) // 3 - part * len(table) // 3)
        pq.write_table(rows, path.with_name(f"part-1000{part}.parquet"), row_group_size=100)


@corruption(stops="missing_column", says=("Table events", "required column action", "part-00001.parquet"))
def empty_file_without_a_required_column(log: Path) -> None:
    write_table(file_of(log, "events").with_name("part-00001.parquet"), {"product_id": pa.array([], pa.string())})


@corruption(harmless="a folder is no file; what lies in it is looked at by its place")
def folder_called_parquet(log: Path) -> None:
    (log / "products" / "part-9.parquet").mkdir()


@corruption(harmless="a file may be empty as long as its day is not")
def empty_file_beside_a_full_one(log: Path) -> None:
    path = file_of(log, "events")
    table = pq.read_table(path, partitioning=None)
    write_table(path.with_name("part-00001.parquet"), {n: table[n].slice(0, 0) for n in table.column_names})
