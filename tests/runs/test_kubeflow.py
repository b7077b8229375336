import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components import placement
from components.common.code import code_fingerprint
from components.common.errors import BadSetting, NotFound, Unavailable
from components.image import IMAGE
from components.runs.commands import main
from components.runs.kubeflow import Cluster, compile_pipeline
from components.runs.state import TASKS
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


def specification(tmp_path, image=None):
    compile_pipeline(towerline, tmp_path / "pipeline.yaml", image)
    return next(iter(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())))


def dag_tasks(spec):
    root = spec["root"]["dag"]["tasks"]
    inner = next(
        spec["components"][task["componentRef"]["name"]] for name, task in root.items() if "exit-handler" in name
    )
    return inner["dag"]["tasks"]


def loop(spec):
    """The one parallel loop of the DAG, and the task inside it."""
    (outer,) = (task for task in dag_tasks(spec).values() if "parameterIterator" in task)
    (inside,) = spec["components"][outer["componentRef"]["name"]]["dag"]["tasks"].values()
    return outer, inside


def test_the_compiled_pipeline_is_valid_by_kfps_own_specification(tmp_path):
    spec = specification(tmp_path)
    message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert message.pipeline_info.name == "towerline"
    assert message.schema_version
    assert set(message.deployment_spec.fields["executors"].struct_value.fields)


def test_every_task_of_the_dag_is_known_to_run_json(tmp_path):
    spec = specification(tmp_path)
    tasks = [task for task in dag_tasks(spec).values() if "parameterIterator" not in task]
    named = {task["taskInfo"]["name"].replace("-", "_").replace(" ", "_") for task in [*tasks, loop(spec)[1]]}
    assert named == set(TASKS)


def test_what_serves_depends_on_all_three_gates(tmp_path):
    tasks = dag_tasks(specification(tmp_path))

    def before(name):
        direct = tasks[name].get("dependentTasks", [])
        return set(direct).union(*(before(item) for item in direct))

    gates = {name for name, task in tasks.items() if task["taskInfo"]["name"].endswith("gate")}
    assert len(gates) == 3
    assert gates <= before("promote-release")


def test_the_catalogue_is_embedded_in_as_many_tasks_as_there_are_parts_and_the_upsert_takes_them_all(tmp_path):
    spec = specification(tmp_path)
    outer, inside = loop(spec)
    assert outer["parameterIterator"]["items"] == {"inputParameter": "pipelinechannel--parts"}
    assert spec["root"]["inputDefinitions"]["parameters"]["parts"]["defaultValue"] == ["1/1"]
    assert inside["inputs"]["parameters"]["part"]["componentInputParameter"] == outer["parameterIterator"]["itemInput"]
    taken = dag_tasks(spec)["upsert-embeddings"]["inputs"]["artifacts"]["vectors"]["taskOutputArtifact"]
    assert dag_tasks(spec)[taken["producerTask"]] == outer
    assert spec["components"]["comp-upsert-embeddings"]["inputDefinitions"]["artifacts"]["vectors"]["isArtifactList"]


def test_nothing_is_promoted_that_the_endpoint_refused(tmp_path):
    tasks = dag_tasks(specification(tmp_path))
    release = tasks["promote-release"]["inputs"]["parameters"]["release"]["taskOutputParameter"]
    assert release["producerTask"] == "deploy-endpoint"


def test_every_task_has_resources_a_time_limit_a_volume_and_a_user(tmp_path):
    compile_pipeline(towerline, tmp_path / "pipeline.yaml")
    spec, platform = yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())
    executors = spec["deploymentSpec"]["executors"]
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == set(kubernetes)
    for name, executor in executors.items():
        assert {"resourceCpuLimit", "resourceMemoryLimit"} <= set(executor["container"]["resources"]), name
        assert {"activeDeadlineSeconds", "pvcMount", "securityContext", "fieldPathAsEnv"} <= set(kubernetes[name]), name
        assert kubernetes[name]["securityContext"]["runAsNonRoot"], name
        assert kubernetes[name]["podMetadata"]["annotations"] == placement._STAYS, name
    assert "accelerator" not in executors["exec-train-towers"]["container"]["resources"]


def test_what_may_fail_for_reasons_outside_the_data_is_tried_again_with_growing_pauses(tmp_path):
    spec = specification(tmp_path)
    tasks = {**dag_tasks(spec), "embed-catalogue": loop(spec)[1]}
    tried = {name: task["retryPolicy"] for name, task in tasks.items() if "retryPolicy" in task}
    assert set(tried) == {
        "materialise-features", "train-towers", "embed-catalogue", "upsert-embeddings", "deploy-endpoint",
        "promote-release",
    }  # fmt: skip
    assert {policy["backoffFactor"] for policy in tried.values()} == {2.0}


def test_every_parameter_of_the_pipeline_says_what_it_is(tmp_path):
    parameters = specification(tmp_path)["root"]["inputDefinitions"]["parameters"]
    assert all(parameter["description"] and "defaultValue" in parameter for parameter in parameters.values())
    assert {name: kind["parameterType"] for name, kind in parameters.items() if kind["parameterType"] != "STRING"} == {
        "parts": "LIST", "canary_percent": "NUMBER_INTEGER", "share": "NUMBER_INTEGER",
    }  # fmt: skip


def test_acting_tasks_are_never_cached_and_pure_ones_carry_their_code(tmp_path):
    spec = specification(tmp_path)
    executors = spec["deploymentSpec"]["executors"]
    tasks = dag_tasks(spec)
    for name in (
        "inspect-inputs",
        "materialise-features",
        "upsert-embeddings",
        "smoke-test",
        "deploy-endpoint",
        "promote-release",
    ):
        assert not tasks[name]["cachingOptions"].get("enableCache")
    tasks["embed-catalogue"] = loop(spec)[1]
    for name in (
        "load-log", "validate-logs", "build-features", "train-towers", "evaluate-towers", "embed-catalogue",
    ):  # fmt: skip
        assert tasks[name]["cachingOptions"]["enableCache"]
        environment = {item["name"]: item["value"] for item in executors[f"exec-{name}"]["container"]["env"]}
        assert len(environment["TOWERLINE_CODE"]) == 16


def test_the_image_of_every_task_is_a_setting(tmp_path):
    executors = specification(tmp_path, "registry.example/towerline-python:1.2")["deploymentSpec"]["executors"]
    assert {item["container"]["image"] for item in executors.values()} == {"registry.example/towerline-python:1.2"}


def test_a_task_has_as_many_threads_as_it_may_use_cores(tmp_path):
    executors = specification(tmp_path)["deploymentSpec"]["executors"]
    threads = {
        name: [item["value"] for item in executor["container"]["env"] if item["name"] == "OMP_NUM_THREADS"]
        for name, executor in executors.items()
    }
    assert (threads["exec-train-towers"], threads["exec-report-run"]) == (["8"], ["1"])  # 8 cores and half a core
    assert all(len(values) == 1 for values in threads.values())


def test_a_room_may_have_an_image_of_its_own(tmp_path):
    own = f"{IMAGE}-cuda"  # begins as the others' image does
    environment = {**os.environ, "TOWERLINE_IMAGE_TOWERS": own}
    words = [sys.executable, "pipeline.py", "compile", "-o", str(tmp_path / "p.yaml"), "--image", "other-python:3"]
    subprocess.run(words, check=True, env=environment, cwd=Path(__file__).parents[2], capture_output=True)
    spec = next(iter(yaml.safe_load_all((tmp_path / "p.yaml").read_text())))
    images = {name: item["container"]["image"] for name, item in spec["deploymentSpec"]["executors"].items()}
    assert images.pop("exec-train-towers") == own
    assert set(images.values()) == {"other-python:3"}


def test_a_training_asks_for_the_accelerators_that_the_cluster_has(tmp_path):
    words = [sys.executable, "pipeline.py", "compile", "-o", str(tmp_path / "p.yaml")]
    environment = {**os.environ, "TOWERLINE_ACCELERATORS": "2"}
    subprocess.run(words, check=True, env=environment, cwd=Path(__file__).parents[2], capture_output=True)
    executors = next(iter(yaml.safe_load_all((tmp_path / "p.yaml").read_text())))["deploymentSpec"]["executors"]
    assert executors["exec-train-towers"]["container"]["resources"]["accelerator"]["resourceCount"] == "2"


def test_accelerators_that_are_no_number_are_refused_before_anything_is_sent(kubeflow, monkeypatch, capsys):
    monkeypatch.setenv("TOWERLINE_ACCELERATORS", "many")
    assert main(towerline, ["submit", "--host", kubeflow.url]) == 2
    assert "TOWERLINE_ACCELERATORS must be a whole number" in capsys.readouterr().err
    assert kubeflow.asked == 0


def test_an_empty_image_in_the_environment_is_none(tmp_path):
    environment = {**os.environ, "TOWERLINE_IMAGE": "", "TOWERLINE_IMAGE_TOWERS": ""}
    words = [sys.executable, "pipeline.py", "compile", "-o", str(tmp_path / "p.yaml"), "--image", "other-python:3"]
    subprocess.run(words, check=True, env=environment, cwd=Path(__file__).parents[2], capture_output=True)
    spec = next(iter(yaml.safe_load_all((tmp_path / "p.yaml").read_text())))
    assert {item["container"]["image"] for item in spec["deploymentSpec"]["executors"].values()} == {"other-python:3"}


@pytest.mark.parametrize(("output", "image"), [(".", None), ("p.txt", None), ("p.yaml", "a b"), ("p.yaml", "a\nb: c")])
def test_what_cannot_be_compiled_is_one_sentence_and_leaves_nothing(tmp_path, output, image):
    with pytest.raises(BadSetting):
        compile_pipeline(towerline, tmp_path / output, image)
    assert list(tmp_path.iterdir()) == []


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
