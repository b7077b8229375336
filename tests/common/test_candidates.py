"""Marks of candidates, also on a shared volume of a cluster."""

import errno
import fcntl
import os

import pytest

from components.common.candidates import dead_marks, held_candidates, hold_candidate, is_held


@pytest.fixture
def nfs(monkeypatch):
    """`flock` as NFS clients emulate it: an exclusive lock needs a file that is open for writing (flock(2))."""
    flock = fcntl.flock

    def emulated(file, operation):
        if operation & fcntl.LOCK_EX and fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(file, operation)

    monkeypatch.setattr("components.common.candidates.fcntl.flock", emulated)


@pytest.mark.usefixtures("nfs")
def test_a_candidate_under_construction_is_told_from_a_dead_one_on_nfs(tmp_path):
    with hold_candidate(tmp_path, "release-1"):
        assert is_held(tmp_path, "release-1")
        assert (held_candidates(tmp_path), dead_marks(tmp_path)) == (["release-1"], [])
    assert not is_held(tmp_path, "release-1")
    mark = tmp_path / "releases" / ".release-2.hold"
    mark.touch()
    assert (held_candidates(tmp_path), dead_marks(tmp_path)) == ([], [mark])


def test_a_mark_that_is_cleared_away_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    flock, cleared = fcntl.flock, []

    def clear_first(file, operation):
        if not cleared and operation == fcntl.LOCK_EX:
            cleared.extend(dead_marks(tmp_path))
            cleared[0].unlink()
        flock(file, operation)

    monkeypatch.setattr("components.common.candidates.fcntl.flock", clear_first)
    with hold_candidate(tmp_path, "release-1"):
        assert cleared
        assert is_held(tmp_path, "release-1")
    assert not is_held(tmp_path, "release-1")
