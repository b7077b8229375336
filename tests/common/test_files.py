import os
import shutil
import stat

import pytest

from components.common.errors import BadInput, NotFound
from components.common.files import link_tree, read_json, staged_directory, tree_fingerprint, write_json, write_text


def test_json_round_trips_and_leaves_no_temporary_file(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"x": [1, "é"]})
    assert read_json(tmp_path / "a" / "b.json") == {"x": [1, "é"]}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_a_file_is_on_disk_before_it_takes_its_name_and_its_name_after_that(tmp_path, monkeypatch):
    done, replace = [], os.replace

    def flushed(descriptor):
        done.append("name" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("replaced") or replace(*paths))
    write_text(tmp_path / "x", "new")
    assert done == ["content", "replaced", "name"]


def test_nan_is_refused_and_the_old_content_stays(tmp_path):
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", float("nan"))
    assert read_json(tmp_path / "x.json") == 1


def test_missing_and_broken_json_name_the_file(tmp_path):
    with pytest.raises(NotFound, match=r"x\.json"):
        read_json(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(BadInput, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_staged_directory_replaces_only_on_success(tmp_path):
    final = tmp_path / "out"
    with staged_directory(final) as staging:
        (staging / "a").write_text("old")
    with pytest.raises(RuntimeError, match="half"), staged_directory(final) as staging:
        (staging / "a").write_text("new")
        raise RuntimeError("half way")
    assert (final / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with staged_directory(final) as staging:
        (staging / "b").write_text("new")
    assert [path.name for path in final.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_staged_directory_is_on_disk_but_for_links_to_older_files(tmp_path, monkeypatch):
    old = tmp_path / "old"
    old.write_text("flushed by its writer")
    os.utime(old, ns=(1, 1))
    flushed = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.add(os.fstat(descriptor).st_ino))
    with staged_directory(tmp_path / "final") as staging:
        os.link(old, staging / "linked")
        shutil.copy2(old, staging / "copied")
        (staging / "new").write_text("new")
        os.link(staging / "new", staging / "twice")
    inode = {path.name: path.stat().st_ino for path in (tmp_path / "final").iterdir()}
    assert inode["linked"] not in flushed
    assert {inode["copied"], inode["new"], inode["twice"], tmp_path.stat().st_ino} <= flushed


def test_fingerprint_follows_content_and_names_only(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "d").mkdir(parents=True)
        (tmp_path / name / "d" / "f").write_text("same")
    assert tree_fingerprint(tmp_path / "one") == tree_fingerprint(tmp_path / "two")
    (tmp_path / "two" / "d" / "f").write_text("changed")
    assert tree_fingerprint(tmp_path / "one") != tree_fingerprint(tmp_path / "two")
    (tmp_path / "two" / "d" / "f").write_text("same")
    (tmp_path / "two" / "d" / "f").rename(tmp_path / "two" / "d" / "g")
    assert tree_fingerprint(tmp_path / "one") != tree_fingerprint(tmp_path / "two")


def test_linked_tree_has_the_same_content(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_text("x")
    link_tree(tmp_path / "a", tmp_path / "c")
    assert tree_fingerprint(tmp_path / "a") == tree_fingerprint(tmp_path / "c")
