"""The pipeline as Kubeflow gets it: tasks, gates, images, resources, caching."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from components import placement
from components.common.errors import BadSetting
from components.image import IMAGE
from components.runs.kubeflow import compile_pipeline
from components.runs.state import TASKS
from pipeline import towerline


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
