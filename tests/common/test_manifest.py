import pytest

from components.common.errors import BadInput, NotFound
from components.common.files import read_json, write_json
from components.common.manifest import (
    FORMAT,
    Release,
    current_release_id,
    fingerprint_files,
    list_release_ids,
    read_release,
    release_directory,
    set_current,
    verify_files,
    write_release,
)


def make_release(workdir, release_id="20260102-030405-abc123"):
    directory = release_directory(workdir, release_id)
    (directory / "towers").mkdir(parents=True)
    (directory / "towers" / "towers.safetensors").write_bytes(b"weights")
    release = Release(
        release_id, "mgdspr", True, "towerline_x", {}, "shopper_history_v1", {}, "c0de", {}, {}, {},
        fingerprint_files(directory), "2026-01-02T03:04:05+00:00", None, directory,
    )  # fmt: skip
    write_release(release)
    return release


def test_a_release_round_trips(tmp_path):
    release = make_release(tmp_path)
    assert read_release(tmp_path, release.release_id) == release
    assert list_release_ids(tmp_path) == [release.release_id]
    verify_files(release)


def test_a_changed_or_missing_file_is_named(tmp_path):
    release = make_release(tmp_path)
    path = release.path("towers", "towers.safetensors")
    path.write_bytes(b"other")
    with pytest.raises(BadInput, match=r"towers/towers\.safetensors"):
        verify_files(release)
    path.unlink()
    with pytest.raises(BadInput, match="misses its file"):
        verify_files(release)


def test_a_directory_without_manifest_is_no_release(tmp_path):
    release = make_release(tmp_path)
    release.path("release.json").unlink()
    assert list_release_ids(tmp_path) == []
    with pytest.raises(NotFound):
        set_current(tmp_path, release.release_id)
    assert current_release_id(tmp_path) is None


def test_a_release_that_is_being_removed_is_none(tmp_path):
    release = make_release(tmp_path)
    release.directory.rename(release.directory.with_name(f".retired-{release.release_id}"))
    assert list_release_ids(tmp_path) == []


def test_what_an_index_rewrites_when_it_is_opened_is_no_file_of_the_manifest(tmp_path):
    release = make_release(tmp_path)
    for name in ("milvus/data.db", ".lock", "towers/.cache"):
        release.path(name).parent.mkdir(exist_ok=True)
        release.path(name).write_text("changes")
    assert fingerprint_files(release.directory) == release.files


def test_current_points_at_one_complete_release(tmp_path):
    release = make_release(tmp_path)
    set_current(tmp_path, release.release_id)
    assert current_release_id(tmp_path) == release.release_id


@pytest.mark.parametrize("release_id", ["../x", "a/b", "", ".hidden", "UPPER", "x" * 80])
def test_an_id_cannot_leave_the_releases_directory(tmp_path, release_id):
    with pytest.raises(BadInput, match="not a release id"):
        release_directory(tmp_path, release_id)


@pytest.mark.parametrize(
    ("format_", "age", "remedy"),
    [(FORMAT - 1, "an older", "serve it with that one"), (FORMAT + 1, "a newer", "update this one")],
)
def test_a_release_of_another_format_is_refused_with_what_to_do(tmp_path, format_, age, remedy):
    release = make_release(tmp_path)
    write_json(release.path("release.json"), {**read_json(release.path("release.json")), "format": format_})
    with pytest.raises(BadInput) as refused:
        read_release(tmp_path, release.release_id)
    assert str(refused.value) == (
        f"release {release.release_id} has format {format_}, that of {age} Towerline, and this one reads format "
        f"{FORMAT}: {remedy}, or make a new release with `python pipeline.py run`."
    )


@pytest.mark.parametrize("body", [[], {}, {"format": "2"}, {"format": FORMAT, "what": 1}])
def test_a_foreign_manifest_is_refused(tmp_path, body):
    release = make_release(tmp_path)
    write_json(release.path("release.json"), body)
    with pytest.raises(BadInput, match="not a release manifest"):
        read_release(tmp_path, release.release_id)


@pytest.mark.parametrize(
    ("change", "what"), [({"colour": 1}, "has, unknown here, colour"), ({"model": None}, "lacks model")]
)
def test_a_manifest_with_other_fields_names_them(tmp_path, change, what):
    release = make_release(tmp_path)
    body = {**read_json(release.path("release.json")), **change}
    write_json(release.path("release.json"), {name: value for name, value in body.items() if value is not None})
    with pytest.raises(BadInput, match=f"{what}; restore it, or make a new release"):
        read_release(tmp_path, release.release_id)
