"""Manifests as the tests see them: every file as written, every overlay as built, and what is wrong with a document."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2] / "manifests"
SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = "1.32"
"""The oldest Kubernetes that the manifests are written for."""
BUILDS = (
    "overlays/dev", "overlays/dev/endpoint", "overlays/production", "overlays/production/endpoint",
    "overlays/production/endpoint-split", "overlays/production/training",
)  # fmt: skip
Document = dict[str, Any]
_SCHEMAS = {"Milvus": "milvus.json", "ExternalSecret": "external-secret.json"}


def written() -> list[tuple[str, Document]]:
    """(name for a test, document) of every object in a file of its own, patches and kustomizations aside."""
    found = []
    for path in sorted(ROOT.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if isinstance(document, dict) and document.get("kind") not in (None, "Kustomization", "Component"):
                found.append((f"{path.relative_to(ROOT)}:{document['kind']}/{document['metadata']['name']}", document))
    return found


def one(kind: str, name: str = "towerline", documents: list[Document] | None = None) -> Document:
    """The one object of this kind and name, among those as written where no others are given."""
    among = [document for _, document in written()] if documents is None else documents
    (found,) = (document for document in among if (document["kind"], document["metadata"]["name"]) == (kind, name))
    return found


@functools.cache
def _build(directory: str) -> str:
    return subprocess.run(
        ["kubectl", "kustomize", str(ROOT / directory)], capture_output=True, text=True, timeout=120, check=True
    ).stdout


def built(directory: str) -> list[Document]:
    """What kustomize makes of a directory. Skips where kubectl is missing."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed here, so overlays cannot be built")
    return list(yaml.safe_load_all(_build(directory)))


@functools.cache
def _models() -> list[Any]:
    arguments, sys.argv = sys.argv, sys.argv[:1]  # kserve reads the command line when it is imported
    try:
        import kserve.models
        from kubernetes.client import models
    finally:
        sys.argv = arguments
    found = [kserve.models, models]
    try:
        from kubeflow.training import models as training
    except ImportError:
        return found
    return [*found, training]


def problems(document: Document) -> list[str]:
    """What a cluster's API would refuse in a document, found without one; empty when nothing is wrong."""
    from tests.manifests.models import faults

    kind = document.get("kind")
    if kind in _SCHEMAS:
        schema = json.loads((SCHEMAS / _SCHEMAS[kind]).read_text(encoding="utf-8"))
        return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]
    if kind == "InferenceService":
        return faults(document, "V1beta1InferenceService", _models())
    if kind == "PyTorchJob":
        pytest.importorskip("kubeflow.training", reason="the training operator's models (kubeflow-training)")
        return faults(document, "KubeflowOrgV1PyTorchJob", _models())
    import kubernetes_validate

    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return [error.message]
    return []


def pod_labels(document: Any, path: str = "") -> list[tuple[str, Document]]:
    """The labels of every pod that an object makes, wherever its kind keeps them."""
    if not isinstance(document, dict):
        return []
    if document.get("kind") == "Milvus":
        spec = document["spec"]
        inside = {name: part for name, part in spec["dependencies"].items() if isinstance(part, dict)}
        own = {name: part["inCluster"]["values"] for name, part in inside.items() if "inCluster" in part}
        return [(name, part.get("podLabels", {})) for name, part in {"components": spec["components"], **own}.items()]
    if isinstance(document.get("containers"), list):  # KServe keeps labels beside containers
        return [(path, document.get("labels", {}))]
    if isinstance(document.get("spec"), dict) and isinstance(document["spec"].get("containers"), list):
        return [(path, document["metadata"].get("labels", {}))]
    return [found for name, item in document.items() for found in pod_labels(item, f"{path}.{name}")]


def pods(document: Any, path: str = "") -> list[tuple[str, Document]]:
    """Every pod specification inside a document, wherever its kind keeps it."""
    if isinstance(document, list):
        return [pod for number, item in enumerate(document) for pod in pods(item, f"{path}[{number}]")]
    if not isinstance(document, dict):
        return []
    if isinstance(document.get("containers"), list):
        return [(path, document)]
    return [pod for name, item in document.items() for pod in pods(item, f"{path}.{name}")]
