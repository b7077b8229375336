"""Runs and schedules on a Kubeflow, which a stub of its API stands for."""

import json

import pytest

from components.common.code import code_fingerprint
from components.common.errors import BadSetting, NotFound, Unavailable
from components.runs.commands import main
from components.runs.kubeflow import Cluster
from pipeline import towerline
from tests.runs.kubeflow_stub import running_kubeflow

ARGUMENTS = {
    "source": "parquet",
    "data": "/data/log",
    "model": "mgdspr",
    "tower_settings": '{"epochs": "2"}',
    "accept": "",
}


@pytest.fixture
def kubeflow():
    with running_kubeflow() as state:
        yield state


def connect(kubeflow):
    return Cluster.connect(kubeflow.url)


def test_accelerators_that_are_no_number_are_refused_before_anything_is_sent(kubeflow, monkeypatch, capsys):
    monkeypatch.setenv("TOWERLINE_ACCELERATORS", "many")
    assert main(towerline, ["submit", "--host", kubeflow.url]) == 2
    assert "TOWERLINE_ACCELERATORS must be a whole number" in capsys.readouterr().err
    assert kubeflow.asked == 0


def test_an_older_version_is_found_among_many(kubeflow):
    cluster = connect(kubeflow)
    first = cluster.submit(towerline, ARGUMENTS, "towerline", None)
    own = kubeflow.versions.copy()
    others = [{**own[0], "display_name": f"v{number}", "pipeline_version_id": str(number)} for number in range(200)]
    kubeflow.versions[:] = [*others, *own]
    assert cluster.submit(towerline, ARGUMENTS, "towerline", None)["pipeline_version"] == first["pipeline_version"]
    assert len(kubeflow.versions) == len(others) + len(own)


def test_submit_uploads_a_version_once_and_starts_runs(kubeflow):
    first = connect(kubeflow).submit(towerline, ARGUMENTS, "towerline", None)
    second = connect(kubeflow).submit(towerline, ARGUMENTS, "towerline", None)
    assert first["pipeline_version"] == second["pipeline_version"]
    assert len(kubeflow.pipelines) == len(kubeflow.experiments) == 1
    assert len(kubeflow.runs) == 2
    assert kubeflow.runs[0]["runtime_config"]["parameters"] == {
        "source": "parquet", "data": "/data/log", "model": "mgdspr", "tower_settings": '{"epochs": "2"}',
    }  # fmt: skip


def test_the_same_schedule_twice_is_one_schedule(kubeflow):
    cluster = connect(kubeflow)
    made = cluster.set_schedule(towerline, "nightly", "0 0 3 * * *", ARGUMENTS, "towerline", None)
    again = cluster.set_schedule(towerline, "nightly", "0 0 3 * * *", ARGUMENTS, "towerline", None)
    assert (made["action"], again["action"]) == ("created", "unchanged")
    assert len(kubeflow.recurring) == 1
    job = kubeflow.recurring[0]
    assert job["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert (job["max_concurrency"], job["no_catchup"]) in ((1, True), ("1", True))


def test_a_changed_schedule_replaces_the_old_one(kubeflow):
    cluster = connect(kubeflow)
    cluster.set_schedule(towerline, "nightly", "0 0 3 * * *", ARGUMENTS, "towerline", None)
    changed = cluster.set_schedule(towerline, "nightly", "0 0 4 * * *", ARGUMENTS, "towerline", None)
    assert changed["action"] == "updated"
    assert [job["trigger"]["cron_schedule"]["cron"] for job in kubeflow.recurring] == ["0 0 4 * * *"]


@pytest.mark.parametrize(
    "change",
    [
        lambda cluster: cluster.set_schedule(towerline, "nightly", "0 0 4 * * *", ARGUMENTS, "towerline", None),
        lambda cluster: cluster.delete_schedule("nightly"),
    ],
    ids=["replaced", "deleted"],
)
def test_the_night_under_way_goes_on_when_its_schedule_is_changed(kubeflow, change):
    cluster = connect(kubeflow)
    made = cluster.set_schedule(towerline, "nightly", "0 0 3 * * *", ARGUMENTS, "towerline", None)
    kubeflow.runs.append({"run_id": "tonight", "recurring_run_id": made["id"]})
    change(cluster)
    assert made["id"] not in {job["recurring_run_id"] for job in kubeflow.recurring}
    assert [run["run_id"] for run in kubeflow.runs] == ["tonight"]


def test_a_paused_schedule_stays_paused_when_it_is_changed(kubeflow):
    cluster = connect(kubeflow)
    cluster.set_schedule(towerline, "nightly", "0 0 3 * * *", ARGUMENTS, "towerline", None)
    cluster.pause_schedule("nightly")
    changed = cluster.set_schedule(towerline, "nightly", "0 0 4 * * *", ARGUMENTS, "towerline", None)
    assert changed["action"] == "updated"
    assert cluster.list_schedule("nightly") == {"nightly": "0 0 4 * * * (paused)"}


def test_a_schedule_is_paused_resumed_listed_and_deleted(kubeflow):
    cluster = connect(kubeflow)
    cluster.set_schedule(towerline, "nightly", "0 0 3 * * *", ARGUMENTS, "towerline", None)
    cluster.pause_schedule("nightly")
    assert cluster.list_schedule("nightly") == {"nightly": "0 0 3 * * * (paused)"}
    cluster.resume_schedule("nightly")
    assert cluster.list_schedule("nightly") == {"nightly": "0 0 3 * * * (enabled)"}
    cluster.delete_schedule("nightly")
    assert kubeflow.recurring == []
    with pytest.raises(NotFound, match="no schedule 'nightly'"):
        cluster.delete_schedule("nightly")


@pytest.fixture
def shared_kubeflow(kubeflow, monkeypatch):
    kubeflow.multi_user = True
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", "/nonexistent/context.json")
    return kubeflow


def test_in_a_kubeflow_of_several_users_everything_lies_in_the_users_namespace(shared_kubeflow):
    cluster = Cluster.connect(shared_kubeflow.url, "shop", "runner")
    for _ in range(2):
        cluster.submit(towerline, ARGUMENTS, "towerline", None)
        cluster.set_schedule(towerline, "nightly", "0 0 3 * * *", ARGUMENTS, "towerline", None)
    assert [item["namespace"] for item in shared_kubeflow.experiments] == ["shop"]
    assert [item["namespace"] for item in shared_kubeflow.pipelines] == ["shop"]
    assert {item["service_account"] for item in [*shared_kubeflow.runs, *shared_kubeflow.recurring]} == {"runner"}
    assert len(shared_kubeflow.recurring) == 1
    assert shared_kubeflow.namespaces == {"shop"}


def test_another_account_is_another_schedule_and_replaces_the_old_one(kubeflow):
    for account in ("", "runner", "runner", "other"):
        cluster = Cluster.connect(kubeflow.url, account=account)
        cluster.set_schedule(towerline, "nightly", "0 0 3 * * *", ARGUMENTS, "towerline", None)
    assert [job["service_account"] for job in kubeflow.recurring] == ["other"]


def test_a_kubeflow_of_several_users_wants_to_know_whose_namespace(shared_kubeflow):
    with pytest.raises(NotFound, match="give yours with --namespace"):
        Cluster.connect(shared_kubeflow.url)


def test_the_namespace_may_come_from_the_environment(shared_kubeflow, monkeypatch):
    monkeypatch.setenv("TOWERLINE_KFP_NAMESPACE", "shop")
    Cluster.connect(shared_kubeflow.url).submit(towerline, ARGUMENTS, "towerline", None)
    assert shared_kubeflow.experiments[0]["namespace"] == "shop"


def test_the_command_line_sends_parts_and_endpoint_as_the_pipeline_wants_them(kubeflow):
    arguments = ["submit", "--host", kubeflow.url, "--parts", "3", "--endpoint", "/etc/towerline/endpoint.yaml"]
    assert main(towerline, arguments) == 0
    sent = kubeflow.runs[0]["runtime_config"]["parameters"]
    assert sent["parts"] == ["1/3", "2/3", "3/3"]
    assert (sent["endpoint"], sent["canary_percent"]) == ("/etc/towerline/endpoint.yaml", 10)


def test_a_release_of_a_cluster_knows_its_code_and_settings_and_the_same_schedule_stays_the_same(kubeflow, capsys):
    words = ["--host", kubeflow.url, "--set", "towers.epochs=2"]
    assert main(towerline, ["submit", *words]) == 0
    provenance = json.loads(kubeflow.runs[0]["runtime_config"]["parameters"]["provenance"])
    assert provenance == {"code": code_fingerprint("runs"), "settings": {"towers.epochs": "2"}}
    for _ in range(2):
        assert main(towerline, ["schedule", *words, "--cron", "0 3 * * *"]) == 0
    assert "action: unchanged" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--parts", "0"], ["--canary", "0"], ["--canary", "101"]])
def test_a_share_or_a_number_of_parts_that_cannot_be_is_refused_before_anything_is_sent(kubeflow, words):
    assert main(towerline, ["submit", "--host", kubeflow.url, *words]) == 2
    assert kubeflow.experiments == []


def test_the_token_comes_from_the_environment(kubeflow, monkeypatch):
    monkeypatch.setenv("TOWERLINE_KFP_TOKEN", "secret")
    connect(kubeflow).list_schedule("nightly")
    assert "Bearer secret" in kubeflow.tokens


def test_a_dead_host_is_one_sentence():
    with pytest.raises(Unavailable, match=r"^Kubeflow at http://127\.0\.0\.1:9 does not answer"):
        Cluster.connect("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<!DOCTYPE html><html>Log in</html>", "not as Kubeflow Pipelines does (a login page?)"),
        (200, b"[]", "not as Kubeflow Pipelines does"),
        (401, b"no", "answered 401 Unauthorized; check token"),
        (503, b"<html>", "answered 503 Service Unavailable"),
    ],
)
def test_what_answers_in_kubeflows_place_is_asked_once_and_is_one_sentence(kubeflow, capfd, status, body, said):
    kubeflow.instead = (status, body)
    assert main(towerline, ["submit", "--host", kubeflow.url]) == 5
    out, err = capfd.readouterr()
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert kubeflow.asked == 1


@pytest.mark.parametrize("host", ["localhost:8888", "ftp://kubeflow", "http://"])
def test_a_host_that_is_no_url_is_refused(host):
    with pytest.raises(BadSetting, match="must begin with http:// or https://"):
        Cluster.connect(host)


def test_what_submit_prints_as_json_is_json_alone(kubeflow, capsys):
    assert main(towerline, ["submit", "--host", kubeflow.url, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"run_id", "name", "pipeline_version"}
