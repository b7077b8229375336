"""A new night reads only what is new, and finds what a run from scratch finds."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.validation import partition
from components.validation.reading import Piece
from tests.validation.shop import FIRST, copy, day_name, edit, edit_description, file_of, validate, write_shop


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The files whose rows were read, as `table/dt=.../name`."""
    seen: set[str] = set()
    original = partition.read_pieces

    def spy(path: Path, *args: object) -> Iterator[Piece]:
        seen.add("/".join(path.parts[path.parts.index("log") + 1 :]))
        return original(path, *args)

    monkeypatch.setattr(partition, "read_pieces", spy)
    return seen


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`old/log` of five days and `new/log` of the same five and one more; some rows of an old day are bad."""
    folder = tmp_path_factory.mktemp("nights")
    write_shop(folder / "new" / "log", days=6, searches=60, products=60)
    edit(file_of(folder / "new" / "log", "searches", 1), lambda c: c["query"].__setitem__(3, "\x00"))
    edit_description(folder / "new" / "log", counts={})
    copy(folder / "new" / "log", folder / "old" / "log")
    for table in ("searches", "events"):
        shutil.rmtree(folder / "old" / "log" / table / f"dt={day_name(5)}")
    edit_description(folder / "old" / "log", window=[FIRST.isoformat(), f"{day_name(4)}T23:59:59"])
    validate(folder / "old" / "log", folder / "old" / "run")
    return folder


def test_a_new_night_reads_only_the_new_day(nights: Path, tmp_path: Path, read_files: set[str]) -> None:
    result = validate(nights / "new" / "log", tmp_path / "run", previous=nights / "old" / "run" / "statistics")
    assert read_files == {f"{table}/dt={day_name(5)}/part-00000.parquet" for table in ("searches", "events")}
    assert result.verdict["reused_partitions"] == 11


def test_a_new_night_finds_what_a_run_from_scratch_finds(nights: Path, tmp_path: Path) -> None:
    log, previous = nights / "new" / "log", nights / "old" / "run" / "statistics"
    night = validate(log, tmp_path / "night", previous=previous)
    scratch = validate(log, tmp_path / "scratch")
    assert night.verdict["rows"] == scratch.verdict["rows"]
    assert night.verdict["alarms"] == scratch.verdict["alarms"]
    for name in ("checked", "quarantine", "statistics"):
        assert contents(night.folder / name) == contents(scratch.folder / name)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("statistics.json",)
    }


def test_a_changed_day_is_read_again(nights: Path, tmp_path: Path, read_files: set[str]) -> None:
    log = copy(nights / "old" / "log", tmp_path / "log")
    edit(file_of(log, "events", 2), lambda c: c["position"].__setitem__(0, 77))
    validate(log, tmp_path / "run", previous=nights / "old" / "run" / "statistics")
    assert read_files == {f"events/dt={day_name(2)}/part-00000.parquet"}


def test_events_are_read_again_when_their_searches_change(nights: Path, tmp_path: Path, read_files: set[str]) -> None:
    log = copy(nights / "old" / "log", tmp_path / "log")
    edit(file_of(log, "searches", 3), lambda c: c["search_id"].__setitem__(0, "renamed"))
    result = validate(log, tmp_path / "run", previous=nights / "old" / "run" / "statistics")
    assert {name.split("/part")[0] for name in read_files} == {f"{t}/dt={day_name(3)}" for t in ("searches", "events")}
    assert result.checks("events")["unknown_search"] >= 10


def test_a_day_whose_search_ids_an_earlier_one_takes_leaves_the_statistics_before_it_as_they_were(
    nights: Path, tmp_path: Path
) -> None:
    log, before = copy(nights / "old" / "log", tmp_path / "log"), nights / "old" / "run" / "statistics"
    known = contents(before)
    taken = pq.read_table(file_of(log, "searches", 3))["search_id"][0].as_py()
    edit(file_of(log, "searches", 2), lambda c: c["search_id"].__setitem__(0, taken))
    result = validate(log, tmp_path / "run", previous=before)
    assert result.checks("searches")["duplicate_id"] == 1
    assert contents(before) == known


def test_only_days_that_use_a_lost_product_are_read_again(nights: Path, tmp_path: Path, read_files: set[str]) -> None:
    log = copy(nights / "old" / "log", tmp_path / "log")
    edit(file_of(log, "events", 4), lambda c: {**c, "product_id": ["p00001"] * len(c["product_id"])})
    for day in range(4):
        edit(file_of(log, "events", day), _without("p00001"))
    before = validate(log, tmp_path / "before")
    read_files.clear()
    edit(file_of(log, "products"), _without("p00001"))
    result = validate(log, tmp_path / "run", previous=before.folder / "statistics")
    assert {name.split("/part")[0] for name in read_files} == {"products", f"events/dt={day_name(4)}"}
    assert result.checks("events")["unknown_product"] > 100


def _without(product: str):  # type: ignore[no-untyped-def]
    def change(columns: dict) -> dict:
        keep = [i for i, name in enumerate(columns["product_id"]) if name != product]
        return {name: [values[i] for i in keep] for name, values in columns.items()}

    return change


def test_a_new_product_repairs_the_days_that_missed_it(nights: Path, tmp_path: Path) -> None:
    log = copy(nights / "old" / "log", tmp_path / "log")
    products = file_of(log, "products")
    whole = products.read_bytes()
    edit(products, _without("p00001"))
    before = validate(log, tmp_path / "before")
    products.write_bytes(whole)
    result = validate(log, tmp_path / "run", previous=before.folder / "statistics")
    assert before.checks("events")["unknown_product"] > 0
    assert "unknown_product" not in result.checks("events")


def test_other_limits_are_applied_to_every_day(nights: Path, tmp_path: Path, read_files: set[str]) -> None:
    previous = nights / "old" / "run" / "statistics"
    result = validate(nights / "old" / "log", tmp_path / "run", previous=previous, query_characters=6)
    assert len(read_files) == 11
    assert result.checks("searches")["text_too_long"] > 100


def test_a_file_is_known_by_its_content_when_only_its_time_changes(
    nights: Path, tmp_path: Path, read_files: set[str]
) -> None:
    log = tmp_path / "log"
    shutil.copytree(nights / "old" / "log", log, copy_function=shutil.copyfile)
    result = validate(log, tmp_path / "run", previous=nights / "old" / "run" / "statistics")
    assert read_files == set()
    assert result.open


def test_the_newest_of_several_statistics_is_taken(nights: Path, tmp_path: Path, read_files: set[str]) -> None:
    shutil.copytree(nights / "old" / "run" / "statistics", tmp_path / "statistics" / "release-1")
    result = validate(nights / "old" / "log", tmp_path / "run", previous=tmp_path / "statistics")
    assert read_files == set()
    assert "the log of the served release" in result.verdict["compared_with"]


@pytest.mark.parametrize("body", ["{}", "not json", '{"format": 99}', '{"format": 1, "partitions": {"x": {}}}'])
def test_foreign_statistics_are_ignored_with_a_note(nights: Path, tmp_path: Path, body: str) -> None:
    (tmp_path / "statistics").mkdir()
    (tmp_path / "statistics" / "statistics.json").write_text(body)
    result = validate(nights / "old" / "log", tmp_path / "run", previous=tmp_path / "statistics")
    assert result.open
    assert any("nothing is compared with them" in note for note in result.verdict["notes"])


def test_a_log_of_another_source_is_not_compared(nights: Path, tmp_path: Path) -> None:
    log = copy(nights / "old" / "log", tmp_path / "log")
    edit_description(log, source="another shop")
    edit(file_of(log, "products"), lambda c: {**c, "category": ["Else > Where"] * len(c["category"])})
    result = validate(log, tmp_path / "run", previous=nights / "old" / "run" / "statistics")
    assert result.open
    assert any("'test shop'" in note for note in result.verdict["notes"])


def test_a_night_without_a_new_day_says_so(nights: Path, tmp_path: Path) -> None:
    new, old = nights / "new" / "log", nights / "old"
    before = validate(new, tmp_path / "before", previous=old / "run" / "statistics")
    assert not any("No day is newer" in note for note in before.verdict["notes"])
    same = validate(new, tmp_path / "same", previous=before.folder / "statistics")
    assert f"No day is newer than {day_name(5)}, the newest that the served release knows." in same.verdict["notes"]
    back = validate(old / "log", tmp_path / "back", previous=before.folder / "statistics")
    said = f"the newest that the served release knows: the log ends on {day_name(4)}."
    assert any(note.endswith(said) for note in back.verdict["notes"])
