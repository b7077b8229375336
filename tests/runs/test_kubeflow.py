import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components.common.errors import NotFound, Unavailable
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


def test_the_compiled_pipeline_is_valid_by_kfps_own_specification(tmp_path):
    spec = specification(tmp_path)
    message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert message.pipeline_info.name == "towerline"
    assert message.schema_version
    assert set(message.deployment_spec.fields["executors"].struct_value.fields)


def test_every_task_of_the_dag_is_known_to_run_json(tmp_path):
    tasks = dag_tasks(specification(tmp_path))
    named = {task["taskInfo"]["name"].replace("-", "_").replace(" ", "_") for task in tasks.values()}
    assert named == set(TASKS)


def test_what_serves_depends_on_all_three_gates(tmp_path):
    tasks = dag_tasks(specification(tmp_path))

    def before(name):
        direct = tasks[name].get("dependentTasks", [])
        return set(direct).union(*(before(item) for item in direct))

    gates = {name for name, task in tasks.items() if task["taskInfo"]["name"].endswith("gate")}
    assert len(gates) == 3
    assert gates <= before("promote-release")


def test_acting_tasks_are_never_cached_and_pure_ones_carry_their_code(tmp_path):
    spec = specification(tmp_path)
    executors = spec["deploymentSpec"]["executors"]
    tasks = dag_tasks(spec)
    for name in ("inspect-inputs", "materialise-features", "upsert-embeddings", "smoke-test", "promote-release"):
        assert not tasks[name]["cachingOptions"].get("enableCache")
    for name in ("load-log", "validate-logs", "build-features", "train-towers", "evaluate-towers"):
        assert tasks[name]["cachingOptions"]["enableCache"]
        environment = {item["name"]: item["value"] for item in executors[f"exec-{name}"]["container"]["env"]}
        assert len(environment["TOWERLINE_CODE"]) == 16


def test_the_image_of_every_task_is_a_setting(tmp_path):
    executors = specification(tmp_path, "registry.example/towerline-python:1.2")["deploymentSpec"]["executors"]
    assert {item["container"]["image"] for item in executors.values()} == {"registry.example/towerline-python:1.2"}


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


def test_the_token_comes_from_the_environment(kubeflow, monkeypatch):
    monkeypatch.setenv("TOWERLINE_KFP_TOKEN", "secret")
    connect(kubeflow).list_schedule("nightly")
    assert "Bearer secret" in kubeflow.tokens


def test_a_dead_host_is_one_sentence():
    with pytest.raises(Unavailable, match=r"^Kubeflow at http://127\.0\.0\.1:9 does not answer"):
        Cluster.connect("http://127.0.0.1:9")
