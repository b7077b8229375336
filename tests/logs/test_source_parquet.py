"""A log that follows the contract is taken as it is; one that does not gets one clear sentence."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput, NotFound
from components.logs.contract import Log
from components.logs.step import load_log
from tests.logs.test_contract import write_log


def load(data: Path, folder: Path) -> Log:
    load_log("parquet", str(data), "{}", folder / "log", folder / "truth")
    return Log(folder / "log")


def replace(data: Path, table: str, rows: pa.Table) -> None:
    """One flat file instead of a table's partitions."""
    shutil.rmtree(data / table)
    (data / table).mkdir()
    pq.write_table(rows, data / table / "rows.parquet")


def test_a_log_in_the_contract_is_taken_unchanged(tmp_path):
    given = Log(write_log(tmp_path / "given"))
    taken = load(given.path, tmp_path)
    for table in ("products", "searches", "events"):
        assert taken.read(table).equals(given.read(table))
    assert taken.description["counts"] == given.description["counts"]
    assert taken.has == given.has


def test_a_log_without_log_json_is_taken(tmp_path):
    write_log(tmp_path / "given")
    (tmp_path / "given" / "log.json").unlink()
    assert load(tmp_path / "given", tmp_path).simulated is False


def test_a_simulated_log_stays_labelled(tmp_path):
    data = write_log(tmp_path / "given")
    (data / "log.json").write_text((data / "log.json").read_text().replace('"simulated": false', '"simulated": true'))
    assert load(data, tmp_path).simulated is True


def test_rows_outside_partitions_are_written_by_day(tmp_path):
    data = write_log(tmp_path / "given")
    before = Log(data).read("events")
    replace(data, "events", before)
    log = load(data, tmp_path)
    assert log.days("events") == ["2026-03-01", "2026-03-02"]
    assert log.read("events").equals(before)


def test_a_column_that_nothing_reads_is_told_of_a_file_outside_partitions_too(tmp_path, capsys):
    data = write_log(tmp_path / "given")
    rows = Log(data).read("events")
    replace(data, "events", rows.append_column("session", pa.array(["s"] * len(rows))))
    assert load(data, tmp_path).read("events").equals(rows)
    assert "rows.parquet has columns that nothing reads: session." in capsys.readouterr().out


def test_times_without_a_zone_outside_partitions_are_told_too(tmp_path, capsys):
    data = write_log(tmp_path / "given")
    rows = Log(data).read("events")
    load(data, tmp_path)
    assert "no time zone" not in capsys.readouterr().out
    place = rows.column_names.index("timestamp")
    replace(data, "events", rows.set_column(place, "timestamp", rows["timestamp"].cast(pa.timestamp("us"))))
    assert load(data, tmp_path).read("events").equals(rows)
    assert "Table events: its timestamps carry no time zone and were read as UTC." in capsys.readouterr().out


def test_rows_outside_partitions_never_go_into_a_file_of_the_shop(tmp_path):
    data = write_log(tmp_path / "given")
    (day,) = (data / "events" / "dt=2026-03-01").glob("*.parquet")
    own = day.rename(day.with_name("part-00001.parquet"))  # the name that a second part of the day would get
    rows = pq.ParquetFile(own).read()
    pq.write_table(rows, data / "events" / "late.parquet")
    content = own.read_bytes()
    log = load(data, tmp_path)
    assert own.read_bytes() == content
    assert log.read("events", ["2026-03-01"]).num_rows == 2 * len(rows)


def test_a_log_whose_times_have_nanoseconds_is_known_for_what_it_has(tmp_path):
    data = write_log(tmp_path / "given")
    expected, events = Log(data).has, Log(data).read("events")
    for path in (data / "events").rglob("*.parquet"):
        rows = pq.ParquetFile(path).read()
        times = pc.add(rows["timestamp"].cast(pa.timestamp("ns", "UTC")), pa.scalar(7, pa.duration("ns")))
        pq.write_table(rows.set_column(rows.schema.get_field_index("timestamp"), "timestamp", times), path)
    log = load(data, tmp_path)
    assert log.has == expected
    assert log.description["notes"] == []
    assert log.read("events").equals(events)


def test_a_log_with_one_time_is_split_by_query(tmp_path):
    data = write_log(tmp_path / "given")
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    for table in ("searches", "events"):
        rows = Log(data).read(table)
        place = rows.column_names.index("timestamp")
        replace(data, table, rows.set_column(place, "timestamp", pa.array([moment] * len(rows))))
    log = load(data, tmp_path)
    assert log.split == "query"
    assert log.has["times"] is False


def test_a_missing_table_is_named(tmp_path):
    data = write_log(tmp_path / "given")
    shutil.rmtree(data / "events")
    with pytest.raises(NotFound, match=r"table events is missing: .*/events holds no Parquet file"):
        load(data, tmp_path)


def test_what_lies_where_a_table_should_be_is_named(tmp_path):
    data = write_log(tmp_path / "given")
    shutil.rmtree(data / "events")
    (data / "events").mkdir()
    (data / "events" / "clicks.csv").write_text("a,b\n")
    with pytest.raises(NotFound, match=r"/events .*but clicks\.csv; write it as Parquet \(see docs"):
        load(data, tmp_path)
    shutil.rmtree(data / "events")
    (data / "events.parquet").write_bytes(b"")
    with pytest.raises(NotFound, match=r"events\.parquet lies where the folder events/ should be; move it into"):
        load(data, tmp_path)


def test_what_spark_leaves_beside_its_files_is_no_data(tmp_path):
    given = Log(write_log(tmp_path / "given"))
    for name in ("_SUCCESS", ".part-0.parquet.crc", "_temporary/0/part-0.parquet", ".hidden/part-0.parquet"):
        (given.path / "events" / name).parent.mkdir(parents=True, exist_ok=True)
        (given.path / "events" / name).write_bytes(b"crc")
    assert load(given.path, tmp_path).read("events").equals(given.read("events"))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"product_id": ["a"], "name": ["Shoe"]}, r"required column title is missing in .*rows\.parquet"),
        (
            {"product_id": ["a", "b"], "title": ["Shoe", "Boot"], "price": ["12", "cheap"]},
            r"Table products in .*rows\.parquet: column price, row 0: the value '12' is not of the type double; "
            "write it as numbers alone",
        ),
        (
            {"product_id": ["a"], "title": ["Shoe"], "updated_at": ["2026-03-01T09:00:00+01:00"]},
            r"column updated_at, row 0: .*; write it as timestamps in UTC, such as pandas\.to_datetime\(column, utc=",
        ),
        (
            {"product_id": ["a"], "title": ["Shoe"], "updated_at": [1_700_000_000]},
            r"column updated_at, row 0: the value 1700000000 is not of the type timestamp.*; write it as timestamps in "
            r"UTC, such as pandas\.to_datetime\(.*\), or leave the column out\.",
        ),
        ({"product_id": [1.0, 2.0], "title": ["Shoe", "Boot"]}, r"value 1\.0 .* write it as text or whole numbers"),
        (
            {"product_id": ["a"], "title": ["Shoe"], "category": [["Men", "Shoes"]]},
            r"column category, row 0: the value \['Men', 'Shoes'\] .* join each into one text, such as \"A > B > C\"",
        ),
    ],
)
def test_a_table_no_file_of_which_can_be_read_names_column_row_and_value(tmp_path, columns, sentence):
    data = write_log(tmp_path / "given")
    replace(data, "products", pa.table(columns))
    with pytest.raises(BadInput, match=sentence):
        load(data, tmp_path)


def with_null(rows: pa.Table, column: str) -> pa.Table:
    """The rows with a null in row 2 of a column."""
    values = rows[column].to_pylist()
    values[2] = None
    place = rows.column_names.index(column)
    return rows.set_column(place, column, pa.array(values, rows.schema.field(column).type))


def test_a_null_in_a_file_outside_partitions_goes_on_to_the_validation(tmp_path):
    data = write_log(tmp_path / "given")
    rows = with_null(Log(data).read("events"), "product_id")
    replace(data, "events", rows)
    assert load(data, tmp_path).read("events").equals(rows)


def test_a_row_outside_partitions_without_a_time_is_named(tmp_path):
    data = write_log(tmp_path / "given")
    replace(data, "events", with_null(Log(data).read("events"), "timestamp"))
    with pytest.raises(BadInput, match=r"column timestamp, row 2: the value is null, .* take the row out"):
        load(data, tmp_path)


def test_a_value_in_a_file_outside_partitions_is_named_by_its_row(tmp_path):
    data = write_log(tmp_path / "given")
    rows = Log(data).read("events")
    place = rows.column_names.index("position")
    replace(data, "events", rows.set_column(place, "position", pa.array([1, 2, 2**40, 3])))
    with pytest.raises(BadInput, match="column position, row 2: the value 1099511627776"):
        load(data, tmp_path)


def test_one_bad_file_among_good_ones_is_left_to_the_validation(tmp_path):
    data = write_log(tmp_path / "given")
    torn = data / "events" / "dt=2026-03-02" / "part-00000.parquet"
    torn.write_bytes(torn.read_bytes()[:-10])
    log = load(data, tmp_path)
    assert log.description["counts"]["events"] == 2
    assert any("not readable Parquet" in note for note in log.description["notes"])
