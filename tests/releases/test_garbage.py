import os
import subprocess
import sys
import textwrap
import time

import pytest

from components.common.candidates import hold_candidate
from components.common.errors import Unavailable, WorkdirBusy
from components.common.manifest import release_directory
from components.releases.garbage import collect_garbage, retire
from components.releases.ledger import releases_lock
from components.releases.operations import list_releases, promote, rollback
from components.releases.rollout import start_canary
from tests.releases.conftest import A, B, C, D


def listed(workdir):
    return [row["release_id"] for row in list_releases(workdir)]


@pytest.fixture
def four(workdir, make, blessings):
    make(A, B, C, D)
    for release_id in (A, B, C, D):
        promote(workdir, release_id, **blessings(release_id))


@pytest.mark.usefixtures("four")
def test_the_last_two_promoted_releases_stay(workdir):
    dropped = []
    assert retire(workdir, drop=dropped.append) == [A, B] == dropped
    assert listed(workdir) == [C, D]
    assert not list((workdir / "releases").glob(".retired-*"))
    assert rollback(workdir) == C
    assert retire(workdir) == [D]
    assert listed(workdir) == [C]


def test_the_model_before_stays_however_many_upserts_follow_a_night(workdir, make, blessings):
    for release_id, towers_of in ((A, A), (B, B), (C, B), (D, B)):
        make(release_id, towers_of=towers_of)
        promote(workdir, release_id, **blessings(release_id))
        retire(workdir)
    assert listed(workdir) == [A, C, D]
    assert [rollback(workdir), rollback(workdir)] == [C, A]


@pytest.mark.usefixtures("four")
def test_the_number_kept_is_a_choice_but_never_below_the_served_one(workdir):
    assert retire(workdir, keep=3) == [A]
    assert retire(workdir, keep=0) == [B, C]
    assert listed(workdir) == [D]


@pytest.mark.usefixtures("four")
def test_a_canary_is_not_retired(workdir, blessings):
    start_canary(workdir, A, 5, **blessings(A))
    assert retire(workdir) == [B]
    assert listed(workdir) == [A, C, D]


def test_a_candidate_newer_than_the_served_release_may_be_under_test_and_stays(workdir, make, blessings):
    make(A, B, C)
    promote(workdir, B, **blessings(B))
    assert retire(workdir) == [A]
    assert listed(workdir) == [B, C]


def test_candidates_behind_a_gate_that_stays_closed_do_not_pile_up(workdir, make, blessings):
    make(A, B, C, D)
    promote(workdir, A, **blessings(A))
    with hold_candidate(workdir, B):
        assert retire(workdir) == []
    assert retire(workdir) == [B]
    assert listed(workdir) == [A, C, D]


def test_nothing_is_retired_before_the_first_promotion(workdir, make):
    make(A, B)
    assert retire(workdir) == []
    assert listed(workdir) == [A, B]


@pytest.mark.usefixtures("four")
def test_an_index_that_does_not_answer_is_cleared_by_the_next_run(workdir):
    def unreachable(release_id):
        raise Unavailable("Milvus does not answer.")

    assert retire(workdir, drop=unreachable) == [A, B]
    assert listed(workdir) == [C, D]
    assert collect_garbage(workdir, unreachable) == [A, B]
    dropped = []
    collect_garbage(workdir, dropped.append)
    assert dropped == [A, B]
    collect_garbage(workdir, dropped.append)
    assert dropped == [A, B]


def unfinished(workdir, release_id):
    directory = release_directory(workdir, release_id)
    directory.mkdir(parents=True)
    (directory / "golden.json").write_text("[]")
    return directory


def test_an_unfinished_candidate_goes_with_its_collection(workdir, make, blessings):
    make(A)
    promote(workdir, A, **blessings(A))
    directory, dropped = unfinished(workdir, B), []
    assert collect_garbage(workdir, dropped.append) == [B] == dropped
    assert not directory.exists()
    assert listed(workdir) == [A]


def test_a_candidate_that_a_live_process_builds_stays_until_that_process_dies(workdir, make, blessings):
    make(A)
    promote(workdir, A, **blessings(A))
    directory = unfinished(workdir, B)
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from components.common.candidates import hold_candidate
        with hold_candidate(Path(sys.argv[1]), sys.argv[2]):
            print("held", flush=True)
            sys.stdin.read()
    """)
    builder = subprocess.Popen(
        [sys.executable, "-c", script, str(workdir), B], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert builder.stdout.readline() == "held\n"
        assert collect_garbage(workdir) == []
        assert directory.exists()
    finally:
        builder.kill()
        builder.communicate()
    assert B in collect_garbage(workdir)
    assert not directory.exists()
    assert not list((workdir / "releases").glob("*.hold"))


def test_a_held_candidate_is_released_at_the_end(workdir):
    directory = unfinished(workdir, B)
    with hold_candidate(workdir, B):
        assert collect_garbage(workdir) == []
    assert collect_garbage(workdir) == [B]
    assert not directory.exists()


def test_half_written_files_and_folders_go_and_young_files_stay(workdir, make):
    make(A)
    old, young = workdir / ".current.0123abcd.tmp", workdir / "releases" / ".promoted.json.0123abcd.tmp"
    folder = workdir / "releases" / f".{B}.0123abcd.tmp"
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (time.time() - 3600,) * 2)
    folder.mkdir()
    assert sorted(collect_garbage(workdir)) == sorted([old.name, folder.name])
    assert young.exists()


def test_a_release_moved_aside_and_never_replaced_comes_back(workdir, make, blessings):
    make(A)
    promote(workdir, A, **blessings(A))
    directory = release_directory(workdir, A)
    directory.rename(directory.with_name(f".{A}.0123abcd.old"))
    assert collect_garbage(workdir) == []
    assert listed(workdir) == [A]


def test_a_replaced_release_is_removed(workdir, make):
    make(A)
    aside = workdir / "releases" / f".{A}.0123abcd.old"
    aside.mkdir()
    assert collect_garbage(workdir) == [aside.name]
    assert listed(workdir) == [A]


def test_one_change_of_the_releases_at_a_time(workdir, make):
    make(A)
    with releases_lock(workdir), pytest.raises(WorkdirBusy, match="has been changing the releases"):  # noqa: SIM117
        with releases_lock(workdir, wait_seconds=0):
            pytest.fail("two processes held the lock")
    with releases_lock(workdir, wait_seconds=0):
        assert listed(workdir) == [A]


def test_collections_on_a_server_go_with_their_release_and_those_of_others_stay(monkeypatch):
    from components.index import store
    from components.releases.server_index import drop_from_server

    there = {store.collection_name(release_id) for release_id in (A, B)} | {"another_shop"}

    class Server:
        def __init__(self, backend):
            assert (backend.kind, backend.uri) == ("server", "http://milvus:19530")

        def __enter__(self):
            return self

        def __exit__(self, *error):
            there.add("closed")

        def drop(self, name):
            there.discard(name)

    monkeypatch.setattr(store, "VectorStore", Server)
    monkeypatch.delenv("TOWERLINE_MILVUS_URI", raising=False)
    drop_from_server(A)
    assert store.collection_name(A) in there
    monkeypatch.setenv("TOWERLINE_MILVUS_URI", "http://milvus:19530")
    drop_from_server(A)
    drop_from_server(A)
    assert there == {store.collection_name(B), "another_shop", "closed"}
