"""Every operation is killed before each of its file operations; then the state must be whole and a rerun finish."""

import shutil

import pytest

from components.common.manifest import current_release_id, read_release, verify_files
from components.releases.garbage import collect_garbage, retire
from components.releases.ledger import in_force, read_record
from components.releases.operations import list_releases, promote, rollback
from components.releases.rollout import finish, start_canary
from tests.releases.conftest import A, B, C, D, killed_at

MOST_STEPS = 200


@pytest.fixture
def three(workdir, make, blessings):
    """A and B were promoted, B is served, C is a candidate."""
    make(A, B, C)
    promote(workdir, A, **blessings(A))
    promote(workdir, B, **blessings(B))


def every_step(workdir, tmp_path, function, *arguments):
    """Yields after each kill, from the same start each time; ends when the operation has no further step."""
    start = tmp_path / "start"
    shutil.copytree(workdir, start)
    for step in range(MOST_STEPS):
        shutil.rmtree(workdir)
        shutil.copytree(start, workdir)
        if not killed_at(step, function, (workdir, *arguments)):
            assert step > 3, "the operation was never killed"
            return
        served = current_release_id(workdir)
        verify_files(read_release(workdir, served))
        yield served
    raise AssertionError("the operation never ended")


def is_clean(workdir):
    collect_garbage(workdir)
    names = {path.name for path in (workdir / "releases").iterdir()}
    return names <= {A, B, C, D, ".lock", "promoted.json"}


@pytest.mark.usefixtures("three")
def test_promotion_killed_anywhere_serves_the_old_or_the_new_release(workdir, tmp_path, blessings):
    both = blessings(C)
    seen = set()
    for served in every_step(workdir, tmp_path, promote, C, both["quality"], both["infrastructure"]):
        seen.add(served)
        promote(workdir, C, **both)
        assert current_release_id(workdir) == C
        assert in_force(read_record(workdir)) == [A, B, C]
        assert rollback(workdir) == B
    assert seen == {B, C}


@pytest.mark.usefixtures("three")
def test_rollback_killed_anywhere_goes_back_by_one_when_repeated(workdir, tmp_path):
    promoted = [A, B]
    seen = set()
    for served in every_step(workdir, tmp_path, rollback):
        seen.add(served)
        assert served in promoted
        if served == B:
            assert rollback(workdir) == A
        assert in_force(read_record(workdir)) == [A]
        assert current_release_id(workdir) == A
    assert seen == {A, B}


@pytest.mark.usefixtures("three")
def test_a_rollback_after_a_killed_promotion_stays_with_what_was_seen(workdir, tmp_path, blessings):
    both = blessings(C)
    for served in every_step(workdir, tmp_path, promote, C, both["quality"], both["infrastructure"]):
        half_way = in_force(read_record(workdir))[-1] != served
        expected = B if served == C or half_way else A
        assert rollback(workdir) == expected == current_release_id(workdir)
        assert C not in in_force(read_record(workdir))


@pytest.mark.usefixtures("three")
def test_retirement_killed_anywhere_loses_no_servable_release_and_is_finished_later(workdir, tmp_path, make, blessings):
    make(D)
    promote(workdir, C, **blessings(C))
    promote(workdir, D, **blessings(D))
    for _ in every_step(workdir, tmp_path, retire):
        dropped = []
        collect_garbage(workdir, dropped.append)
        retire(workdir, drop=dropped.append)
        assert [row["release_id"] for row in list_releases(workdir)] == [C, D]
        assert is_clean(workdir)
        assert rollback(workdir) == C


@pytest.mark.usefixtures("three")
def test_garbage_collection_killed_anywhere_is_finished_by_the_next(workdir, tmp_path):
    unfinished = workdir / "releases" / D
    (unfinished / "towers").mkdir(parents=True)
    (unfinished / "towers" / "model.json").write_text("{}")
    for served in every_step(workdir, tmp_path, collect_garbage):
        assert served == B
        assert is_clean(workdir)
        assert [row["release_id"] for row in list_releases(workdir)] == [A, B, C]


@pytest.mark.usefixtures("three")
def test_finishing_a_canary_killed_anywhere_ends_with_no_canary_beside_the_wrong_release(workdir, tmp_path, blessings):
    start_canary(workdir, C, 10, **blessings(C))
    for served in every_step(workdir, tmp_path, finish):
        if served == B:
            assert finish(workdir) == C
        collect_garbage(workdir)
        assert current_release_id(workdir) == C
        assert not (workdir / "releases" / "rollout.json").exists()
        assert rollback(workdir) == B
        assert "canary" not in {row["state"] for row in list_releases(workdir)}
