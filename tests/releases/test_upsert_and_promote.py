import json

import pytest

from components.common.errors import GateClosed, WorkdirBusy
from components.common.lock import workdir_lock
from components.common.manifest import current_release_id, read_release, release_directory, set_current
from components.releases.log_statistics import keep_statistics
from components.releases.operations import list_releases, promote, rollback, upsert_and_promote
from tests.releases.conftest import A, B, C


@pytest.fixture
def upsert(workdir, tmp_path, make, monkeypatch):
    """`upsert_and_promote` with an index that makes `child` from the served towers and a server that answers or not."""

    def call(child=B, towers=None, opens=True, share=100):
        def upsert_products(workdir, products, settings):
            if child == current_release_id(workdir):
                return child
            make(child)
            directory = release_directory(workdir, child)
            parent = read_release(workdir, current_release_id(workdir))
            weights = towers or parent.path("towers", "towers.safetensors").read_text()
            (directory / "towers" / "towers.safetensors").write_text(weights)
            body = json.loads((directory / "release.json").read_text())
            body["files"]["towers/towers.safetensors"] = (
                parent.towers_fingerprint if towers is None else "another fingerprint"
            )
            (directory / "release.json").write_text(json.dumps(body))
            return child

        def smoke_test(workdir, release_id, blessing, settings):
            fingerprint = read_release(workdir, release_id).towers_fingerprint
            verdict = {"gate": "infrastructure", "open": opens, "reason": "it answers.", "release": release_id}
            blessing.write_text(json.dumps({**verdict, "towers": fingerprint}))

        monkeypatch.setattr("components.index.upsert.upsert_products", upsert_products)
        monkeypatch.setattr("components.serving.smoke.smoke_test", smoke_test)
        return upsert_and_promote(workdir, tmp_path / "products.parquet", share=share)

    return call


@pytest.fixture
def served(workdir, make, blessings):
    make(A)
    promote(workdir, A, **blessings(A))


@pytest.mark.usefixtures("served")
def test_the_child_is_served_and_its_parent_stays_for_a_rollback(workdir, upsert):
    assert upsert() == B == current_release_id(workdir)
    assert rollback(workdir) == A


@pytest.mark.usefixtures("served")
def test_a_share_makes_the_child_a_canary(workdir, upsert):
    assert upsert(share=5) == B
    assert current_release_id(workdir) == A
    assert [row["state"] for row in list_releases(workdir)] == ["served", "canary"]


@pytest.mark.usefixtures("served")
def test_nothing_to_change_makes_no_release(workdir, upsert):
    assert upsert(child=A) == A == current_release_id(workdir)


@pytest.mark.usefixtures("served")
def test_a_server_that_does_not_answer_keeps_the_parent(workdir, upsert):
    with pytest.raises(GateClosed, match=r"infrastructure gate .* is closed"):
        upsert(opens=False)
    assert current_release_id(workdir) == A


@pytest.mark.usefixtures("served")
def test_other_towers_cannot_come_in_with_the_products(workdir, upsert):
    with pytest.raises(GateClosed, match="quality blessing speaks of other towers"):
        upsert(towers="untested towers")
    assert current_release_id(workdir) == A


@pytest.mark.usefixtures("served")
def test_a_chain_of_upserts_keeps_the_blessing_and_the_statistics_of_its_first_parent(workdir, tmp_path, upsert):
    statistics = tmp_path / "statistics"
    statistics.mkdir()
    (statistics / "statistics.json").write_text("first")
    keep_statistics(workdir, A, statistics)
    upsert(child=B)
    upsert(child=C)
    assert current_release_id(workdir) == C
    assert (workdir / "statistics" / C / "statistics.json").read_text() == "first"
    assert not (workdir / "statistics" / A).exists()
    assert not release_directory(workdir, A).exists()


def test_a_release_without_a_quality_blessing_has_no_children(workdir, make, upsert):
    make(A)
    set_current(workdir, A)
    with pytest.raises(GateClosed, match="without a quality blessing"):
        upsert()
    assert current_release_id(workdir) == A


@pytest.mark.usefixtures("served")
def test_a_run_in_progress_is_not_disturbed(workdir, upsert):
    with workdir_lock(workdir, "run 1"), pytest.raises(WorkdirBusy, match="run 1"):
        upsert()
