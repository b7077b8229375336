"""What code and manifests both name is named the same: claim, path, secret keys, users, ports, commands."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import placement
from components.common.settings import from_overrides
from components.image import IMAGE
from components.index import backends
from components.runs.commands import build_parser
from components.runs.schedule import six_field_cron
from components.serving import __main__ as serving
from components.serving.settings import ServingSettings
from components.towers import __main__ as training
from tests.manifests.reading import BUILDS, ROOT, Document, built, pods, problems, written

WRITTEN = [document for _, document in written()]
_STORE = (ROOT.parent / "feature_repo/environments/redis/feature_store.yaml").read_text(encoding="utf-8")
REDIS = re.search(r"\$\{(TOWERLINE_REDIS)\}", _STORE)


def one(kind: str, name: str = "towerline", documents: list[Document] | None = None) -> Document:
    (found,) = [
        document
        for document in documents or WRITTEN
        if (document["kind"], document["metadata"]["name"]) == (kind, name)
    ]
    return found


def endpoint_container(document: Document, part: str = "predictor") -> Document:
    (container,) = document["spec"][part]["containers"]
    return container


def served_by(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the server's own command line makes of a container's arguments."""
    seen: dict[str, Any] = {}

    def serve(workdir: Path, release: Any, host: Any, port: Any, settings: Any, announce: Any) -> None:
        own = from_overrides(ServingSettings, {**settings, "host": host, "port": str(port)})
        seen.update(workdir=workdir, release=release, settings=own, announce=announce)

    monkeypatch.setattr(serving, "serve", serve)
    assert serving.main(arguments) == 0
    return seen


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


def test_the_secret_has_the_keys_that_tasks_and_servers_read() -> None:
    assert REDIS is not None
    kept = {
        item["secretKey"]
        for document in WRITTEN
        if document["kind"] == "ExternalSecret" and document["spec"]["target"]["name"] == placement.SECRET
        for item in document["spec"]["data"]
    }
    environment = endpoint_container(one("InferenceService"))["env"]
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


def test_the_endpoint_is_started_as_the_server_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    container = endpoint_container(one("InferenceService"))
    assert container["command"] == ["python", "-m", "components.serving"]
    seen = served_by(container["args"], monkeypatch)
    settings = seen["settings"]
    assert (str(seen["workdir"]), seen["release"]) == (placement.MOUNT_PATH, None)
    assert (settings.host, settings.role, settings.environment) == ("0.0.0.0", "all", "redis")
    assert [port["containerPort"] for port in container["ports"]] == [settings.port]
    writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
    assert any(seen["announce"].is_relative_to(path) for path in writable)
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": settings.port}


def test_the_endpoint_is_a_knative_service_whatever_kserve_begins_with() -> None:
    annotations = one("InferenceService")["metadata"]["annotations"]
    assert annotations["serving.kserve.io/deploymentMode"] == "Serverless"


def test_no_probe_ends_a_server_that_still_loads_its_release() -> None:
    endpoint = one("InferenceService")
    container = endpoint_container(endpoint)
    deadline = int(endpoint["metadata"]["annotations"]["serving.knative.dev/progress-deadline"].removesuffix("s"))
    startup = container["startupProbe"]
    assert deadline * 0.9 < startup["periodSeconds"] * startup["failureThreshold"] < deadline
    assert startup["httpGet"] == container["livenessProbe"]["httpGet"]
    assert "initialDelaySeconds" not in container["livenessProbe"]


_PROXY_DRAIN = 30
"""Seconds that Knative's queue proxy waits for late requests before the server is told to end (drainSleepDuration)."""


def test_a_server_that_is_told_to_end_has_the_time_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Knative takes the request's time limit for the pod's terminationGracePeriodSeconds."""
    endpoint = one("InferenceService")
    settings = served_by(endpoint_container(endpoint)["args"], monkeypatch)["settings"]
    assert settings.drain_seconds > 0
    ending = _PROXY_DRAIN + settings.drain_seconds + settings.grace_seconds
    assert endpoint["spec"]["predictor"]["timeout"] >= ending


def test_redis_is_ready_when_it_answers_with_its_password() -> None:
    (container,) = pods(one("StatefulSet", "towerline-redis"))[0][1]["containers"]
    shell, option, script = container["readinessProbe"]["exec"]["command"]
    assert (shell, option) == ("sh", "-c")
    (password,) = [
        item["name"] for item in container["env"] if item["valueFrom"]["secretKeyRef"]["key"] == "redis-password"
    ]
    assert f'REDISCLI_AUTH="${password}" redis-cli ping' in script


def test_the_schedule_compiles_with_as_many_accelerators_as_its_settings_say() -> None:
    assert int(one("ConfigMap", "towerline-schedule")["data"][placement.ACCELERATORS]) == 0
    (container,) = pods(one("CronJob", "towerline-schedule"))[0][1]["containers"]
    assert {"configMapRef": {"name": "towerline-schedule"}} in container["envFrom"]


@pytest.mark.parametrize("directory", [name for name in BUILDS if "endpoint" in name])
def test_a_built_endpoint_is_started_as_the_server_wants_it(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = one("InferenceService", documents=built(directory))
    seen = served_by(endpoint_container(endpoint)["args"], monkeypatch)
    assert seen["settings"].role == ("predictor" if "transformer" in endpoint["spec"] else "all")
    assert endpoint["spec"]["predictor"]["minReplicas"] <= endpoint["spec"]["predictor"]["maxReplicas"]


@pytest.mark.parametrize("directory", [name for name in BUILDS if "endpoint" in name or "training" in name])
def test_a_container_has_as_many_threads_as_cores(directory: str) -> None:
    (document,) = (found for found in built(directory) if pods(found))
    for _, pod in pods(document):
        (container,) = pod["containers"]
        (threads,) = (item for item in container["env"] if item["name"] == "OMP_NUM_THREADS")
        field = {"resourceFieldRef": {"resource": "limits.cpu"}}
        assert threads.get("valueFrom") == field or threads["value"] == container["resources"]["limits"]["cpu"]


def test_the_transformer_finds_its_predictor_in_what_kserve_appends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """KServe appends three options to a transformer's arguments; the real shell script is run with them."""
    endpoint = one("InferenceService", documents=built("overlays/production/endpoint-split"))
    command = endpoint_container(endpoint, "transformer")["command"]
    assert "args" not in endpoint_container(endpoint, "transformer")
    recorder = tmp_path / "python"
    recorder.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    recorder.chmod(0o755)
    appended = ["--model_name", "towerline", "--predictor_host", "towerline-predictor.shop", "--http_port", "8080"]
    done = subprocess.run(
        [*command, *appended], capture_output=True, text=True, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}
    )
    words = done.stdout.splitlines()
    assert words[:2] == ["-m", "components.serving"]
    settings = served_by(words[2:], monkeypatch)["settings"]
    assert (settings.role, settings.predictor_url) == ("transformer", "http://towerline-predictor.shop")


@pytest.mark.parametrize("directory", ["overlays/dev", "overlays/production"])
def test_the_schedules_command_is_one_that_the_command_line_takes(directory: str) -> None:
    documents = built(directory)
    (container,) = pods(one("CronJob", "towerline-schedule", documents))[0][1]["containers"]
    values = {**one("ConfigMap", "towerline-schedule", documents)["data"], "NAMESPACE": "shop"}
    words = [re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], text) for text in container["args"]]
    options = build_parser().parse_args(words)
    assert (options.command, options.action) == ("schedule", "set")
    assert options.image == container["image"]
    assert options.namespace == "shop"
    assert options.data == "" or options.data.startswith(placement.MOUNT_PATH)
    assert six_field_cron(options.cron).split()[0] == "0"


def test_the_schedules_token_is_where_its_command_reads_it() -> None:
    pod = pods(one("CronJob", "towerline-schedule"))[0][1]
    (container,) = pod["containers"]
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == "token"]
    (token,) = [v for v in pod["volumes"] if v["name"] == "token"]
    path = f"{mount['mountPath']}/{token['projected']['sources'][0]['serviceAccountToken']['path']}"
    assert f'TOWERLINE_KFP_TOKEN="$(cat {path})"' in container["command"][2]


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


def test_the_deployer_may_do_what_deploying_does_and_nothing_else() -> None:
    role = one("Role", "towerline-deployer")
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"inferenceservices"}
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"create", "get", "update", "delete"}
    assert one("InferenceService")["metadata"]["name"] in role["rules"][1]["resourceNames"]
