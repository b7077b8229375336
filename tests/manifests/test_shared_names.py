"""What code and manifests both name is named the same: claim, path, image, secret keys, users, commands."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from components import placement
from components.image import IMAGE
from components.index import backends
from components.towers import __main__ as training
from pipeline import TRAINING
from tests.manifests.reading import BUILDS, ROOT, built, one, pod_labels, pods, problems, written

WRITTEN = [document for _, document in written()]
_STORE = (ROOT.parent / "feature_repo/environments/redis/feature_store.yaml").read_text(encoding="utf-8")
REDIS = re.search(r"\$\{(TOWERLINE_REDIS)\}", _STORE)


def test_the_claim_and_its_mount_path_are_those_of_the_tasks() -> None:
    assert one("PersistentVolumeClaim", placement.VOLUME_CLAIM)["spec"]["accessModes"] == ["ReadWriteMany"]
    claims = 0
    for document in WRITTEN:
        for _, pod in pods(document):
            named = {v["name"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
            assert {v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if v["name"] in named} <= {
                placement.VOLUME_CLAIM
            }
            for container in pod["containers"]:
                for mount in container.get("volumeMounts", []):
                    if mount["name"] in named:
                        claims += 1
                        assert mount["mountPath"] == placement.MOUNT_PATH
    assert claims == 4


def test_our_image_runs_as_the_user_of_the_tasks() -> None:
    seen = 0
    for document in WRITTEN:
        for _, pod in pods(document):
            for container in pod["containers"]:
                if container["image"] == IMAGE:
                    seen += 1
                    own = {**pod.get("securityContext", {}), **container["securityContext"]}
                    assert (own["runAsUser"], own["runAsGroup"]) == (placement._USER, placement._USER)
    assert seen == 5


def test_every_build_runs_the_one_image_of_this_version() -> None:
    version = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"towerline-python:{version}" == IMAGE
    named = {
        container["image"]
        for directory in BUILDS
        for document in built(directory)
        for _, pod in pods(document)
        for container in pod["containers"]
    }
    assert {image for image in named if "towerline" in image} == {f"registry.example.com/{IMAGE}"}


def test_the_secret_has_the_keys_that_tasks_and_servers_read() -> None:
    assert REDIS is not None
    kept = {
        item["secretKey"]
        for document in WRITTEN
        if document["kind"] == "ExternalSecret" and document["spec"]["target"]["name"] == placement.SECRET
        for item in document["spec"]["data"]
    }
    environment = one("InferenceService")["spec"]["predictor"]["containers"][0]["env"]
    read = {
        item["valueFrom"]["secretKeyRef"]["key"]: item["name"]
        for item in environment
        if "secretKeyRef" in item.get("valueFrom", {})
    }
    assert read == {
        "milvus-uri": backends.URI, "milvus-token": backends.TOKEN, "redis": REDIS[1], "registry": "TOWERLINE_REGISTRY",
    }  # fmt: skip
    assert read.items() <= placement._SECRET_ENVIRONMENT.items()
    assert kept == {"milvus-uri", "milvus-token", "redis", "redis-password"}
    for document in WRITTEN:
        for reference in secret_references(document):
            assert reference["name"] == placement.SECRET
            assert reference["key"] in kept or reference.get("optional")


def secret_references(value: Any) -> list[dict[str, Any]]:
    """Every `secretKeyRef` inside an object."""
    if isinstance(value, list):
        return [found for item in value for found in secret_references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["secretKeyRef"]] if "secretKeyRef" in value else []
    return own + [found for item in value.values() for found in secret_references(item)]


def test_a_task_has_what_every_feature_environment_names() -> None:
    stores = (ROOT.parent / "feature_repo/environments").glob("*/feature_store.yaml")
    named = {name for path in stores for name in re.findall(r"\$\{(\w+)\}", path.read_text(encoding="utf-8"))}
    assert named - {"TOWERLINE_FEATURE_STORE"} <= set(placement._SECRET_ENVIRONMENT.values())


def test_the_guide_makes_the_secret_with_the_same_keys() -> None:
    guide = (ROOT.parent / "docs" / "how-to" / "cluster.md").read_text(encoding="utf-8")
    keys = set(re.findall(r"--from-(?:literal|file)=([\w-]+)", guide))
    assert {*placement._SECRET_ENVIRONMENT, "redis", "redis-password"} <= keys
    assert f"create secret generic {placement.SECRET}" in guide


def test_the_guides_pod_is_valid_and_reaches_the_volume_as_a_task_does() -> None:
    guide = (ROOT.parent / "docs" / "how-to" / "cluster.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"<<END\n(.+?)\nEND\n", guide, flags=re.DOTALL)
    pod = yaml.safe_load(text)
    assert problems(pod) == []
    assert pod["spec"]["securityContext"]["runAsUser"] == placement._USER
    (volume,), (container,) = pod["spec"]["volumes"], pod["spec"]["containers"]
    assert volume["persistentVolumeClaim"]["claimName"] == placement.VOLUME_CLAIM
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": placement.MOUNT_PATH}]


def test_milvus_answers_where_the_guide_says() -> None:
    guide = (ROOT.parent / "docs" / "how-to" / "cluster.md").read_text(encoding="utf-8")
    assert f"http://{one('Milvus')['metadata']['name']}-milvus:19530" in guide


@pytest.mark.parametrize("directory", [name for name in BUILDS if "endpoint" in name or "training" in name])
def test_a_container_has_as_many_threads_as_cores(directory: str) -> None:
    (document,) = (found for found in built(directory) if pods(found))
    for _, pod in pods(document):
        (container,) = pod["containers"]
        (threads,) = (item for item in container["env"] if item["name"] == "OMP_NUM_THREADS")
        field = {"resourceFieldRef": {"resource": "limits.cpu"}}
        assert threads.get("valueFrom") == field or threads["value"] == container["resources"]["limits"]["cpu"]


def test_a_training_job_is_given_its_time_and_left_on_its_nodes() -> None:
    job = one("PyTorchJob", "towerline-train")["spec"]
    assert job["runPolicy"]["activeDeadlineSeconds"] <= TRAINING.minutes * 60
    for part in job["pytorchReplicaSpecs"].values():
        assert part["restartPolicy"] == "OnFailure"
        assert part["template"]["metadata"]["annotations"] == placement._STAYS


def test_the_volume_is_handed_to_the_group_of_the_tasks() -> None:
    assert pods(one("Job", "towerline-workdir"))[0][1]["securityContext"]["fsGroup"] == placement._USER


@pytest.mark.parametrize("directory", ["overlays/dev", "overlays/production"])
def test_a_budget_stands_before_every_kind_of_pod_that_a_drain_may_hurt(directory: str) -> None:
    budgets = [d["spec"]["selector"]["matchLabels"] for d in built(directory) if d["kind"] == "PodDisruptionBudget"]
    guarded = {budget["app.kubernetes.io/component"] for budget in budgets}
    kinds = ("InferenceService", "PyTorchJob")
    labelled = [labels for d in WRITTEN if d["kind"] in kinds for _, labels in pod_labels(d)]
    assert guarded == {labels["app.kubernetes.io/component"] for labels in labelled}


def test_the_training_jobs_processes_call_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    job = one("PyTorchJob", "towerline-train")
    seen: list[Any] = []
    monkeypatch.setattr(training, "run", lambda *arguments: seen.append(arguments))
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        (container,) = replica["template"]["spec"]["containers"]
        assert container["command"] == ["torchrun"]
        option, module, *arguments = container["args"]
        assert (option, f"{module}.__main__") == ("-m", training.__name__)
        assert training.main(arguments) == 0
    master, worker = seen
    assert master == worker
    assert all(str(path).startswith(placement.MOUNT_PATH) for path in (master[0], master[1], master[4]))


def test_the_guide_puts_the_manifests_where_the_tasks_look_for_them() -> None:
    guide = (ROOT.parent / "docs" / "how-to" / "cluster.md").read_text(encoding="utf-8")
    assert f"create configmap {placement.MANIFESTS}" in guide
    for name in ("endpoint.yaml", "training-job.yaml"):
        assert f"--from-file={name}" in guide
        assert f"{placement.MANIFESTS_PATH}/{name}" in guide
