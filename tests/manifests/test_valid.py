"""Every manifest is what its API accepts, as written and as built; a broken one is found."""

import copy
from collections.abc import Callable

import pytest

from tests.manifests.reading import BUILDS, Document, built, problems, written

WRITTEN = dict(written())


@pytest.mark.parametrize("name", WRITTEN)
def test_a_manifest_is_valid_as_written(name: str) -> None:
    assert problems(WRITTEN[name]) == []


@pytest.mark.parametrize("directory", BUILDS)
def test_an_overlay_builds_into_valid_objects_of_one_namespace(directory: str) -> None:
    documents = built(directory)
    assert [fault for document in documents for fault in problems(document)] == []
    assert len({document["metadata"]["namespace"] for document in documents}) == 1
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(names) == len(set(names))


def unknown_field(document: Document) -> None:
    part = document.get("spec", document.get("rules", [document])[0] if "rules" in document else document)
    part["containerz"] = 1


def unknown_deep_field(document: Document) -> None:
    """An unknown field in the innermost mapping that a schema describes."""
    deepest: tuple[int, Document] = (0, document["metadata"])

    def walk(value: object, depth: int, described: bool) -> None:
        nonlocal deepest
        if isinstance(value, dict):
            if described and depth > deepest[0]:
                deepest = (depth, value)
            for name, item in value.items():
                walk(item, depth + 1, name not in _FREE)
        elif isinstance(value, list):
            for item in value:
                walk(item, depth + 1, described)

    if document["kind"] in ("InferenceService", "PyTorchJob"):
        walk(document["spec"], 1, True)
    deepest[1]["noSuchField"] = "x"


_FREE = {"requests", "limits", "matchLabels", "labels", "annotations", "containers", "Master", "Worker"}


def wrong_type(document: Document) -> None:
    """A mapping where a text belongs."""
    document["metadata"]["name"] = {"not": "a text"}


BREAKS = {"unknown field": unknown_field, "unknown deep field": unknown_deep_field, "wrong type": wrong_type}
ONE_OF_EACH = {document["kind"]: name for name, document in WRITTEN.items()}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_copy_of_each_manifest_is_found(name: str, how: str) -> None:
    document = copy.deepcopy(WRITTEN[name])
    BREAKS[how](document)
    assert problems(document) != []


DEEP: list[tuple[str, Callable[[Document], object]]] = [
    ("InferenceService", lambda d: d["spec"]["predictor"]["containers"][0].update(imagee="x")),
    ("InferenceService", lambda d: d["spec"]["predictor"]["containers"][0]["ports"][0].update(containerPort="8080")),
    ("InferenceService", lambda d: d["spec"]["predictor"].update(minReplicas="2")),
    ("InferenceService", lambda d: d["spec"]["predictor"].update(canaryTrafficPercent=True)),
    ("InferenceService", lambda d: d["spec"]["predictor"]["containers"][0]["resources"]["limits"].update(cpu="two")),
    ("PyTorchJob", lambda d: d["spec"]["runPolicy"].update(backOffLimit=3)),
    ("PyTorchJob", lambda d: d["spec"].update(nprocPerNode=1)),
    ("PyTorchJob", lambda d: d["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"].update(container=[])),
    ("Milvus", lambda d: d["spec"]["dependencies"].update(msgStreamType="carrier pigeon")),
    ("Milvus", lambda d: d["spec"]["components"]["resources"]["limits"].update(memory="much")),
    ("ExternalSecret", lambda d: d["spec"]["data"][0].pop("remoteRef")),
    ("CronJob", lambda d: d["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0].update(arg=[])),
    ("StatefulSet", lambda d: d["spec"].pop("selector")),
    ("NetworkPolicy", lambda d: d["spec"].update(policyTypes="Ingress")),
    ("Role", lambda d: d["rules"][0].pop("verbs")),
]


@pytest.mark.parametrize(("kind", "break_it"), DEEP, ids=[f"{kind}-{number}" for number, (kind, _) in enumerate(DEEP)])
def test_a_fault_deep_inside_is_found(kind: str, break_it: Callable[[Document], object]) -> None:
    document = copy.deepcopy(WRITTEN[ONE_OF_EACH[kind]])
    break_it(document)
    assert problems(document) != []
