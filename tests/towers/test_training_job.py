"""Training by a job of several nodes: the official client against a small model of the training operator."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.common.errors import BadInput, NotFound, Unavailable
from components.common.files import read_json
from components.towers import step, training_job
from components.towers.__main__ import main as node
from components.towers.training_job import train

from .conftest import SMALL

JOB = Path(__file__).parents[2] / "manifests" / "training" / "pytorch-job.yaml"
SETTINGS = json.dumps({**SMALL, "epochs": "1"})


class Operator:
    """The training operator behind the Kubernetes API: a job trains in this process, or copies what is `trained`."""

    def __init__(self, trained: Path | None = None, failures: int = 0) -> None:
        self.trained, self.failures = trained, failures
        self.jobs: dict[str, dict[str, Any]] = {}
        self.started: list[dict[str, Any]] = []

    def create_namespaced_custom_object(self, group: str, version: str, namespace: str, plural: str, body: Any) -> None:
        from kubernetes.client import ApiClient

        assert (group, version, namespace, plural) == ("kubeflow.org", "v1", "shop", "pytorchjobs")
        job = ApiClient().sanitize_for_serialization(body)
        self.started.append(job)
        assert job["metadata"]["name"] not in self.jobs
        self.jobs[job["metadata"]["name"]] = job
        ended = "Failed" if len(self.started) <= self.failures else "Succeeded"
        if ended == "Succeeded":
            container = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]
            words = [word for word in container["args"][2:] if not word.startswith("--checkpoints")]
            out = Path(next(word for word in words if word.startswith("--out=")).removeprefix("--out="))
            if self.trained:
                shutil.copytree(self.trained, out)
            else:
                assert node(words) == 0
        job["status"] = {"conditions": [{"type": "Created", "status": "True"}, {"type": ended, "status": "True"}]}

    def get_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, name: str, async_req: bool
    ) -> Any:
        from kubernetes.client import ApiException

        jobs = self.jobs

        class Thread:
            def get(self, timeout: int) -> Any:
                if name not in jobs:
                    raise ApiException(status=404, reason="Not Found")
                return jobs[name]

        return Thread()

    def delete_namespaced_custom_object(self, *_: str, name: str, body: Any) -> None:
        del self.jobs[name]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """The job as kubectl kustomize builds it, with its namespace."""
    job = yaml.safe_load(JOB.read_text(encoding="utf-8"))
    job["metadata"]["namespace"] = "shop"
    (tmp_path / "training-job.yaml").write_text(yaml.safe_dump(job), encoding="utf-8")
    return tmp_path / "training-job.yaml"


@pytest.fixture(scope="module")
def alone(shop, tmp_path_factory) -> Path:
    """The towers that one task trains."""
    folder = tmp_path_factory.mktemp("alone")
    train(shop, folder / "towers", "mgdspr", SETTINGS, folder)
    return folder / "towers"


def client_of(operator: Operator) -> Any:
    from kubeflow.training import TrainingClient
    from kubeflow.training.api_client import ApiClient

    client = TrainingClient.__new__(TrainingClient)
    client.custom_api, client.api_client, client.job_kind, client.namespace = operator, ApiClient(), "PyTorchJob", ""
    return client


def by_job(shop: Path, folder: Path, manifest: Path, operator: Operator) -> dict[str, Any]:
    client = client_of(operator)
    return train(shop, folder / "towers", "mgdspr", SETTINGS, folder / "work", str(manifest), client, 0.01)


def test_a_job_trains_what_one_task_trains_and_leaves_nothing_on_the_volume(shop, tmp_path, manifest, alone):
    facts = by_job(shop, tmp_path, manifest, Operator())
    expected = read_json(alone / "model.json")["trained"]
    clocks = {"examples_per_second", "training_seconds"}
    assert {k: v for k, v in facts.items() if k not in clocks} == {k: v for k, v in expected.items() if k not in clocks}
    own = (tmp_path / "towers" / "towers.safetensors").read_bytes()
    assert own == (alone / "towers.safetensors").read_bytes()
    assert list((tmp_path / "work" / "training").iterdir()) == []


def test_every_process_of_the_job_gets_the_same_arguments_and_the_job_a_name_of_what_it_trains(
    shop, tmp_path, manifest, alone
):
    operator = Operator(alone)
    by_job(shop, tmp_path, manifest, operator)
    (job,) = operator.started
    identity = step.training_identity(shop, "mgdspr", SETTINGS)
    assert job["metadata"]["name"] == f"towerline-train-{identity}"
    assert len(job["metadata"]["name"]) <= 50
    words = [
        replica["template"]["spec"]["containers"][0]["args"] for replica in job["spec"]["pytorchReplicaSpecs"].values()
    ]
    assert words[0] == words[1]
    assert f"--examples={tmp_path}/work/training/{identity}/examples" in words[0]
    assert sum(word.startswith("--model=") for word in words[0]) == 1


def test_a_failed_job_is_one_sentence_and_the_next_attempt_starts_it_anew(shop, tmp_path, manifest, alone):
    operator = Operator(alone, failures=1)
    with pytest.raises(Unavailable, match="failed; the logs of its pods say why"):
        by_job(shop, tmp_path, manifest, operator)
    assert not (tmp_path / "towers").exists()
    assert by_job(shop, tmp_path, manifest, operator)["model"] == "mgdspr"
    assert len(operator.started) == 2


def test_a_job_whose_towers_an_earlier_run_has_taken_is_started_anew(shop, tmp_path, manifest, alone):
    operator = Operator(alone)
    for run in ("first", "second"):
        assert by_job(shop, tmp_path / run, manifest, operator)["model"] == "mgdspr"
        shutil.rmtree(tmp_path / run)
    assert len(operator.started) == 2


def test_towers_that_a_job_has_written_are_taken_without_another_job(shop, tmp_path, manifest, alone):
    identity = step.training_identity(shop, "mgdspr", SETTINGS)
    shutil.copytree(alone, tmp_path / "work" / "training" / identity / "towers")
    operator = Operator(alone)
    assert by_job(shop, tmp_path, manifest, operator)["model"] == "mgdspr"
    assert operator.started == []


def test_a_manifest_that_is_missing_or_holds_no_job_is_one_sentence(shop, tmp_path, manifest):
    with pytest.raises(NotFound, match="does not exist"):
        train(shop, tmp_path / "towers", "mgdspr", SETTINGS, tmp_path, str(tmp_path / "none.yaml"))
    with pytest.raises(BadInput, match="one PyTorchJob with its namespace"):
        train(shop, tmp_path / "towers", "mgdspr", SETTINGS, tmp_path, str(JOB))


def test_without_a_cluster_it_says_so(shop, tmp_path, manifest, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(Unavailable, match="no Kubernetes cluster is configured here"):
        training_job._connect()
