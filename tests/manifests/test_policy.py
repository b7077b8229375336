"""What our manifests must keep to, whatever they deploy; each rule is shown to catch a breach."""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.manifests.reading import BUILDS, Document, built, pod_labels, pods, written

WRITTEN = dict(written())
_SECRET = re.compile(r"(password|token|secretkey|accesskey|requirepass|api[-_]?key)\s*[:=]\s*\S", re.IGNORECASE)


MENDED = {"redis": (7, 2, 11), "milvus": (2, 6, 10)}
"""The first versions without known holes: CVE-2025-49844 of Redis; CVE-2025-64513 and CVE-2026-26190 of Milvus."""


def images(value: Any) -> Iterator[str]:
    """Every image an object names, in pods and in custom resources."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "image" and isinstance(item, str):
                yield item
            else:
                yield from images(item)
    elif isinstance(value, list):
        for item in value:
            yield from images(item)


def breaches(document: Document) -> list[str]:
    """A sentence for every rule an object breaks."""
    found = [f"{image} has no fixed version" for image in images(document) if _floating(image)]
    found += [
        f"{image} has a hole that is mended in {MENDED[_name(image)]}" for image in images(document) if _open(image)
    ]
    if document["kind"] == "Secret":
        found.append("a Secret in the manifests would show its content")
    if document["kind"] == "ConfigMap":
        lines = [line for text in document.get("data", {}).values() for line in str(text).splitlines()]
        found += [f"{line!r} looks like a secret" for line in lines if _SECRET.search(line)]
    if document["kind"] in ("ClusterRole", "ClusterRoleBinding"):
        found.append("rights over the whole cluster are never needed")
    for rule in document.get("rules", []):
        found += [f"{name} may not be *" for name in ("verbs", "resources", "apiGroups") if "*" in rule[name]]
    found += [
        f"{path}: a sidecar, which the network's rules cut off, which refuses tasks and Knative, and ends no job"
        for path, labels in pod_labels(document)
        if labels.get("sidecar.istio.io/inject") != "false"
    ]
    if document["kind"] == "PodDisruptionBudget":
        found += _budget_breaches(document)
    for path, pod in pods(document):
        found += [f"{path}: {breach}" for breach in _pod_breaches(pod)]
    return found


def _budget_breaches(document: Document) -> list[str]:
    """What Kubernetes counts wrongly: of pods that an operator makes only a whole number of available ones is sure."""
    spec = document["spec"]
    component = spec["selector"]["matchLabels"]["app.kubernetes.io/component"]
    if component == "training" and not isinstance(spec.get("minAvailable"), int):
        return ["pods of a PyTorchJob are counted by its workers alone"]
    if component == "endpoint" and (spec.get("maxUnavailable", 0) < 1 or "minAvailable" in spec):
        return ["a node with the only server cannot be drained"]
    if component == "endpoint" and spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
        return ["a server that never gets ready holds up a node"]
    return []


def _floating(image: str) -> bool:
    version = image.rpartition("/")[2].partition(":")[2]
    return not ("@sha256:" in image or (version and version != "latest" and re.search(r"\d", version)))


def _name(image: str) -> str:
    return image.rpartition("/")[2].partition(":")[0]


def _open(image: str) -> bool:
    version = tuple(int(number) for number in re.findall(r"\d+", image.rpartition(":")[2])[:3])
    return _name(image) in MENDED and version < MENDED[_name(image)]


def _pod_breaches(pod: Document) -> list[str]:
    found = [f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    if any("hostPath" in volume for volume in pod.get("volumes", [])):
        found.append("a volume of the node")
    if any("emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit") for volume in pod["volumes"]):
        found.append("an emptyDir without a size limit")
    if not pod.get("serviceAccountName"):
        found.append("no account of its own")
    if pod.get("automountServiceAccountToken") is not False:
        found.append("a token of the Kubernetes API that nothing needs")
    shared = pod.get("securityContext", {})
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = {**shared, **container.get("securityContext", {})}
        resources = container.get("resources", {})
        found += [
            f"container {container['name']}: {sentence}"
            for sentence, kept in {
                "no limits": {"cpu", "memory"} <= set(resources.get("limits", {})),
                "no requests": {"cpu", "memory"} <= set(resources.get("requests", {})),
                "privileged": not own.get("privileged"),
                "may gain rights": own.get("allowPrivilegeEscalation") is False,
                "may run as root": own.get("runAsNonRoot") is True and own.get("runAsUser", 0) > 0,
                "writable root": own.get("readOnlyRootFilesystem") is True,
                "keeps capabilities": own.get("capabilities") == {"drop": ["ALL"]},
                "no seccomp profile": own.get("seccompProfile", {}).get("type") == "RuntimeDefault",
                "a secret in clear": not any(
                    _SECRET.search(f"{item['name']}={item.get('value', '')}") for item in container.get("env", [])
                ),
            }.items()
            if not kept
        ]
    return found


@pytest.mark.parametrize("name", WRITTEN)
def test_a_manifest_keeps_to_the_rules_as_written(name: str) -> None:
    assert breaches(WRITTEN[name]) == []


@pytest.mark.parametrize("directory", BUILDS)
def test_an_overlay_keeps_to_the_rules(directory: str) -> None:
    assert [breach for document in built(directory) for breach in breaches(document)] == []


@pytest.mark.parametrize("directory", BUILDS)
def test_milvus_and_its_dependencies_have_limits(directory: str) -> None:
    for document in built(directory):
        if document["kind"] == "Milvus":
            dependencies = [part for part in document["spec"]["dependencies"].values() if isinstance(part, dict)]
            inside = [part["inCluster"]["values"] for part in dependencies if "inCluster" in part]
            for part in [document["spec"]["components"], *inside]:
                assert set(part["resources"]["limits"]) == {"cpu", "memory"}


@pytest.mark.parametrize("directory", ["overlays/dev", "overlays/production"])
def test_every_pod_of_ours_is_under_the_default_deny(directory: str) -> None:
    documents = built(directory)
    policies = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "NetworkPolicy"}
    default = policies["towerline-default"]
    assert set(default["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in default
    templates = [d["spec"].get("jobTemplate", d)["spec"]["template"] for d in documents if pods(d)]
    assert len(templates) == 3
    for template in templates:
        assert template["metadata"]["labels"].items() >= default["podSelector"]["matchLabels"].items()


@pytest.mark.parametrize("directory", ["overlays/dev", "overlays/production"])
def test_a_pod_under_the_default_deny_may_ask_for_names(directory: str) -> None:
    policies = {d["metadata"]["name"]: d["spec"] for d in built(directory) if d["kind"] == "NetworkPolicy"}
    (rule,) = policies["towerline-default"]["egress"]
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {("UDP", 53), ("TCP", 53)}
    pods_of_dns, cache_of_the_node = rule["to"]
    assert pods_of_dns["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}
    assert cache_of_the_node["ipBlock"]["cidr"] == "169.254.20.10/32"


def test_nobody_is_evicted_from_a_training() -> None:
    budgets = {d["metadata"]["name"]: d["spec"] for d in WRITTEN.values() if d["kind"] == "PodDisruptionBudget"}
    (job,) = [d["spec"]["pytorchReplicaSpecs"] for d in WRITTEN.values() if d["kind"] == "PyTorchJob"]
    assert budgets["towerline-training"]["minAvailable"] > sum(replica["replicas"] for replica in job.values())


@pytest.mark.parametrize("directory", ["overlays/dev", "overlays/production"])
def test_rights_are_given_to_accounts_of_the_namespace_by_name(directory: str) -> None:
    bindings = [document for document in built(directory) if document["kind"] == "RoleBinding"]
    assert len(bindings) == 3
    for binding in bindings:
        for subject in binding["subjects"]:
            assert subject["namespace"] == binding["metadata"]["namespace"], binding["metadata"]["name"]


def _of_training(budget: Document) -> Document:
    """The budget's specification, for the pods of a training."""
    budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] = "training"
    return budget["spec"]


def container(document: Document) -> Document:
    return pods(document)[0][1]["containers"][0]


BREACHES: list[tuple[str, Callable[[Document], object], str]] = [
    ("StatefulSet", lambda d: container(d).update(image="redis:latest"), "no fixed version"),
    ("CronJob", lambda d: container(d).update(image="registry:5000/towerline"), "no fixed version"),
    ("Milvus", lambda d: d["spec"]["components"].update(image="milvusdb/milvus"), "no fixed version"),
    ("Milvus", lambda d: d["spec"]["components"].update(image="milvusdb/milvus:v2.6.9"), "mended in"),
    ("StatefulSet", lambda d: container(d).update(image="redis:7.2.7-alpine"), "mended in"),
    ("InferenceService", lambda d: container(d)["resources"].pop("limits"), "no limits"),
    ("PyTorchJob", lambda d: container(d)["resources"]["limits"].pop("memory"), "no limits"),
    ("InferenceService", lambda d: container(d)["securityContext"].update(privileged=True), "privileged"),
    ("Job", lambda d: container(d)["securityContext"].update(readOnlyRootFilesystem=False), "writable root"),
    ("Job", lambda d: pods(d)[0][1]["securityContext"].update(runAsUser=0), "run as root"),
    ("InferenceService", lambda d: container(d)["env"].append({"name": "REDIS_PASSWORD", "value": "x"}), "in clear"),
    ("ConfigMap", lambda d: d["data"].update({"redis.conf": "requirepass: hunter2"}), "looks like a secret"),
    ("ConfigMap", lambda d: d.update(kind="Secret"), "show its content"),
    ("Role", lambda d: d["rules"][0].update(verbs=["*"]), "may not be *"),
    ("Role", lambda d: d.update(kind="ClusterRole"), "whole cluster"),
    ("StatefulSet", lambda d: pods(d)[0][1].update(hostNetwork=True), "hostNetwork"),
    ("PyTorchJob", lambda d: pods(d)[0][1]["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "the node"),
    ("CronJob", lambda d: pods(d)[0][1].pop("automountServiceAccountToken"), "a token"),
    ("CronJob", lambda d: pod_labels(d)[0][1].pop("sidecar.istio.io/inject"), "a sidecar"),
    ("InferenceService", lambda d: pod_labels(d)[0][1].pop("sidecar.istio.io/inject"), "a sidecar"),
    ("Milvus", lambda d: d["spec"]["components"].pop("podLabels"), "components: a sidecar"),
    ("Milvus", lambda d: d["spec"]["dependencies"]["etcd"]["inCluster"]["values"].pop("podLabels"), "etcd: a sidecar"),
    ("PodDisruptionBudget", lambda d: d["spec"].update(maxUnavailable=0), "cannot be drained"),
    ("PodDisruptionBudget", lambda d: d["spec"].pop("unhealthyPodEvictionPolicy"), "never gets ready"),
    ("PodDisruptionBudget", lambda d: _of_training(d).update(minAvailable="100%"), "by its workers alone"),
]


@pytest.mark.parametrize(("kind", "break_it", "named"), BREACHES, ids=[f"{k}-{n}" for k, _, n in BREACHES])
def test_a_breach_is_caught(kind: str, break_it: Callable[[Document], object], named: str) -> None:
    document = copy.deepcopy(next(d for d in WRITTEN.values() if d["kind"] == kind))
    break_it(document)
    assert any(named in breach for breach in breaches(document))
