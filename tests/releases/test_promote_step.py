import json
import os

import pytest

from components.common.errors import GateClosed, NotFound
from components.common.files import write_json
from components.common.manifest import current_release_id, rollout_path
from components.common.records import read_task_records
from components.releases.garbage import retire
from components.releases.ledger import read_rollout
from components.releases.operations import list_releases, rollback
from components.releases.rollout import abort, finish, start_canary
from components.releases.step import run
from components.serving.rollout import stopped_rollout
from tests.releases.conftest import A, B, C


@pytest.fixture
def step(workdir, tmp_path, make, blessings, monkeypatch):
    monkeypatch.setenv("TOWERLINE_RUN_DIR", str(tmp_path / "run"))

    def call(release_id, statistics="", share=100, **changes):
        make(release_id)
        paths = {}
        for gate, blessing in blessings(release_id).items():
            paths[gate] = tmp_path / f"{gate}.json"
            paths[gate].write_text(json.dumps({**blessing, **changes.get(gate, {})}))
        folder = tmp_path / f"statistics-{release_id}"
        folder.mkdir()
        if statistics:
            (folder / "statistics.json").write_text(statistics)
            os.utime(folder / "statistics.json", (1, 1))
        return run(workdir, release_id, paths["quality"], paths["infrastructure"], folder, share=share)

    return call


def newest(workdir):
    """The statistics the data gate would compare with: those whose `statistics.json` is youngest."""
    found = (workdir / "statistics").glob("*/statistics.json")
    return max(found, key=lambda path: path.stat().st_mtime_ns).read_text()


def test_the_step_promotes_and_retires_and_records_the_release(workdir, tmp_path, step):
    for release_id in (A, B, C):
        assert step(release_id, "{}") == release_id
    assert [row["release_id"] for row in list_releases(workdir)] == [B, C]
    record = read_task_records(tmp_path / "run")["promote_release"]
    assert record["figures"] == {"release": C, "simulated": True}
    assert record["notes"] == [f"Release {A} was retired, index and files together."]
    assert sorted(path.name for path in (workdir / "statistics").iterdir()) == [B, C]


def test_a_closed_gate_changes_nothing(workdir, tmp_path, step):
    step(A, "first")
    with pytest.raises(GateClosed, match="it is worse"):
        step(B, "second", quality={"open": False, "reason": "it is worse."})
    assert current_release_id(workdir) == A
    assert newest(workdir) == "first"
    assert read_task_records(tmp_path / "run")["promote_release"]["state"] == "closed"


def test_the_next_log_is_compared_with_that_of_the_served_release(workdir, step):
    step(A, "first")
    step(B, "second")
    assert newest(workdir) == "second"
    rollback(workdir)
    assert newest(workdir) == "first"
    step(C, "third")
    assert newest(workdir) == "third"


def test_the_log_of_a_canary_that_a_server_stopped_is_not_compared_with(workdir, step):
    step(A, "first")
    step(B, "second", share=10)
    write_json(rollout_path(workdir), stopped_rollout(read_rollout(workdir), "too slow.", "2026-01-01T00:00:00+00:00"))
    assert newest(workdir) == "second"
    retire(workdir)
    assert newest(workdir) == "first"


def test_a_run_without_statistics_promotes_all_the_same(workdir, step):
    assert step(A) == A
    assert not (workdir / "statistics").exists()


def test_a_missing_blessing_file_is_named(workdir, tmp_path, make):
    make(A)
    with pytest.raises(NotFound, match=r"quality\.json does not exist"):
        run(workdir, A, tmp_path / "quality.json", tmp_path / "infrastructure.json", tmp_path)
    assert current_release_id(workdir) is None


def test_a_share_makes_the_candidate_a_canary_and_the_first_release_is_for_everybody(workdir, tmp_path, step):
    assert step(A, "first", share=10) == A
    assert step(B, "second", share=10) == A == current_release_id(workdir)
    assert [row["state"] for row in list_releases(workdir)] == ["served", "canary"]
    record = read_task_records(tmp_path / "run")["promote_release"]
    assert record["figures"]["canary"] == B
    assert "10 % of the shoppers" in record["notes"][-1]
    abort(workdir, "No.")
    assert newest(workdir) == "first"
    start_canary(workdir, B, 50)
    assert finish(workdir) == B
    assert newest(workdir) == "second"
