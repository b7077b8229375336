"""Who reaches whom under the policies of each overlay, and who does not."""

import pytest

from tests.manifests.network import Pod, reaches
from tests.manifests.reading import Document, built, pod_labels

NAMESPACES = {"dev": "kubeflow", "production": "towerline"}
REACHED = [
    ("endpoint", "redis", 6379),
    ("endpoint", "milvus", 19530),
    ("task", "redis", 6379),
    ("task", "milvus", 19530),
    ("schedule", "pipelines", 8888),
    ("gateway", "endpoint", 8012),
    ("kourier", "endpoint", 8012),
    ("activator", "endpoint", 8012),
    ("activator", "endpoint", 8112),
    ("monitoring", "endpoint", 8080),
    ("monitoring", "endpoint", 9091),
    ("monitoring", "milvus", 9091),
    ("operator", "milvus", 19530),
    ("milvus", "milvus", 21123),
    ("training", "training", 29500),
    ("training", "training", 41234),
]
CLOSED = [
    ("neighbour", "redis", 6379),
    ("neighbour", "milvus", 19530),
    ("neighbour", "endpoint", 8080),
    ("stranger", "redis", 6379),
    ("stranger", "milvus", 9091),
    ("stranger", "endpoint", 8012),
    ("task", "milvus", 9091),
    ("task", "endpoint", 8080),
    ("endpoint", "stranger", 443),
    ("endpoint", "pipelines", 8888),
    ("redis", "milvus", 19530),
    ("schedule", "redis", 6379),
    ("workdir", "pipelines", 8888),
    ("training", "redis", 6379),
    ("training", "stranger", 443),
]


def world(overlay: str) -> tuple[list[Document], dict[str, Pod]]:
    """The policies of an overlay, and pods by name: its own, those that operators make for it, and others."""
    home = NAMESPACES[overlay]
    documents = [*built(f"overlays/{overlay}"), *built(f"overlays/{overlay}/endpoint")]
    documents += built("overlays/production/training")
    labels = {document["kind"]: pod_labels(document)[0][1] for document in documents if pod_labels(document)}
    own = {
        "endpoint": labels["InferenceService"],
        "redis": labels["StatefulSet"],
        "schedule": labels["CronJob"],
        "workdir": labels["Job"],
        "training": labels["PyTorchJob"],
        # As the Milvus operator labels what it makes of our object.
        "milvus": {"app.kubernetes.io/instance": "towerline", "app.kubernetes.io/name": "milvus"},
        "task": {"pipelines.kubeflow.org/v2_component": "true"},
        "neighbour": {"app": "notebook"},
    }
    others = {
        "pipelines": Pod("kubeflow", {"app": "ml-pipeline"}),
        "names": Pod("kube-system", {"k8s-app": "kube-dns"}),
        "gateway": Pod("istio-system", {"app": "istio-ingressgateway"}),
        "kourier": Pod("kourier-system", {"app": "3scale-kourier-gateway"}),
        "activator": Pod("knative-serving", {"app": "activator"}),
        "monitoring": Pod("monitoring", {"app": "prometheus"}),
        "operator": Pod("milvus-operator", {"app.kubernetes.io/name": "milvus-operator"}),
        "stranger": Pod("shop", {}),
    }
    policies = [document for document in documents if document["kind"] == "NetworkPolicy"]
    return policies, {**{name: Pod(home, found) for name, found in own.items()}, **others}


@pytest.mark.parametrize("overlay", NAMESPACES)
@pytest.mark.parametrize(("source", "target", "port"), REACHED)
def test_what_has_to_be_reached_is(overlay: str, source: str, target: str, port: int) -> None:
    policies, pods = world(overlay)
    assert reaches(policies, pods[source], pods[target], port)


@pytest.mark.parametrize("overlay", NAMESPACES)
@pytest.mark.parametrize(("source", "target", "port"), CLOSED)
def test_what_need_not_be_reached_is_not(overlay: str, source: str, target: str, port: int) -> None:
    policies, pods = world(overlay)
    assert not reaches(policies, pods[source], pods[target], port)


@pytest.mark.parametrize("overlay", NAMESPACES)
@pytest.mark.parametrize("source", ["endpoint", "redis", "schedule", "workdir", "training"])
@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
def test_every_pod_of_ours_asks_for_names(overlay: str, source: str, protocol: str) -> None:
    policies, pods = world(overlay)
    assert reaches(policies, pods[source], pods["names"], 53, protocol)


def test_a_transformer_reaches_its_predictor_through_the_gateway_and_a_predictor_alone_does_not() -> None:
    documents = [*built("overlays/production"), *built("overlays/production/endpoint-split")]
    policies = [document for document in documents if document["kind"] == "NetworkPolicy"]
    (labels,) = {tuple(sorted(labels.items())) for document in documents if document["kind"] == "InferenceService"
                 for _, labels in pod_labels(document)}  # fmt: skip
    gateway = Pod("istio-system", {"app": "istio-ingressgateway"})
    # KServe adds the component's name.
    transformer, predictor = (
        Pod("towerline", {**dict(labels), "component": name}) for name in ("transformer", "predictor")
    )
    assert reaches(policies, transformer, gateway, 80)
    assert not reaches(policies, predictor, gateway, 80)
