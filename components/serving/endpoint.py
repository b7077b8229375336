"""The endpoint as Kubernetes sees it: one InferenceService, read, pinned to a release, written, waited for.

Importing kserve takes seconds, so only `connect` does.
"""

import argparse
import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.common.cluster_files import object_of, objects_of
from components.common.errors import BadInput, Unavailable

PREVIOUS = "towerline/previous-release"
"""Annotation of an endpoint under change: the release that has the rest of the traffic."""
TAGS = "serving.kserve.io/enable-tag-routing"
_CONTAINER = "kserve-container"


@dataclass(frozen=True)
class Patience:
    """How long a revision may take to be ready, how often it is asked, and how many replies must be right."""

    seconds: int = 1800
    interval: float = 5.0
    replies: int = 50


class Endpoint:
    """One InferenceService behind KServe's client; the client's errors become Unavailable."""

    def __init__(self, client: Any, namespace: str, name: str, patience: Patience) -> None:
        self._client, self.namespace, self.name, self.patience = client, namespace, name, patience

    def read(self) -> dict[str, Any] | None:
        """The object as it is now, or None."""
        try:
            return self._client.get(self.name, namespace=self.namespace)
        except RuntimeError as error:
            if getattr(error.__context__, "status", None) == 404:
                return None
            raise self._unavailable("read", error) from error

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Creates it. Raises Unavailable."""
        return self._call("created", lambda: self._client.create(_Body(body), namespace=self.namespace))

    def replace(self, body: dict[str, Any]) -> dict[str, Any]:
        """Replaces specification and annotations whole, so that a field left out is gone. Raises Unavailable."""
        now = self.read() or {}
        metadata = {**body["metadata"], "resourceVersion": now.get("metadata", {}).get("resourceVersion")}
        wanted = _Body({**body, "metadata": metadata})
        wanted.pop("status", None)
        return self._call("changed", lambda: self._client.replace(self.name, wanted, namespace=self.namespace))

    def delete(self) -> None:
        """Removes it if it is there."""
        if self.read() is not None:
            self._call("deleted", lambda: self._client.delete(self.name, namespace=self.namespace))

    @staticmethod
    def latest_is_ready(found: Mapping[str, Any]) -> bool:
        """Whether the revision made last is ready, so that Knative counts it as the latest."""
        revisions = found.get("status", {}).get("components", {}).get("predictor", {})
        return revisions.get("latestReadyRevision") == revisions.get("latestCreatedRevision")

    def settle(self, written: dict[str, Any]) -> dict[str, Any]:
        """Waits until what was written is what runs; returns the object. Raises Unavailable when it takes too long."""
        generation = written["metadata"].get("generation")
        self._call("made ready in time", lambda: self._client.wait_isvc_ready(
            self.name, namespace=self.namespace, timeout_seconds=self.patience.seconds,
            polling_interval=self.patience.interval, expected_generation=generation,
        ))  # fmt: skip
        found = self.read() or {}
        if not self.latest_is_ready(found):
            raise Unavailable(f"the latest revision of the endpoint {self.namespace}/{self.name} is not ready.")
        return found

    def _call(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except RuntimeError as error:
            raise self._unavailable(what, error) from error

    def _unavailable(self, what: str, error: RuntimeError) -> Unavailable:
        cause: Any = error.__context__  # the Kubernetes client's error, when there was one
        reason = f"{cause.status} {cause.reason}" if hasattr(cause, "status") else str(error).strip().split("\n")[0]
        return Unavailable(f"the endpoint {self.namespace}/{self.name} could not be {what}: {reason}.")


class _Body(dict):
    """A manifest as KServe's client wants it: it reads two attributes and sends the mapping."""

    @property
    def api_version(self) -> str:
        return self["apiVersion"]

    @property
    def metadata(self) -> Any:
        return argparse.Namespace(resource_version=self["metadata"].get("resourceVersion"))


def read_manifest(path: Path, name: str) -> dict[str, Any]:
    """The InferenceService `name` of a YAML file. Raises NotFound or BadInput."""
    for document in objects_of(path, "InferenceService"):
        if document["metadata"]["name"] == name:
            return document
    raise BadInput(f"{path} holds no InferenceService named {name!r}.")


def endpoint_of(path: Path) -> tuple[str, str]:
    """Namespace and name of the one InferenceService of a YAML file. Raises NotFound or BadInput."""
    metadata = object_of(path, "InferenceService")["metadata"]
    return metadata["namespace"], metadata["name"]


def pinned(endpoint: Mapping[str, Any], release_id: str) -> dict[str, Any]:
    """A copy whose server serves `release_id`, without a share, with URLs of its own for each revision."""
    wanted = copy.deepcopy(dict(endpoint))
    wanted.pop("status", None)
    container = _container(wanted)
    kept = [text for text in container.get("args", []) if not text.startswith("--release=")]
    container["args"] = [*kept, f"--release={release_id}"]
    wanted["spec"]["predictor"].pop("canaryTrafficPercent", None)
    annotations = dict(wanted["metadata"].get("annotations") or {})
    annotations.pop(PREVIOUS, None)
    wanted["metadata"]["annotations"] = {**annotations, TAGS: "true"}
    return wanted


def release_of(endpoint: Mapping[str, Any]) -> str | None:
    """The release an endpoint is pinned to, or None for one that follows the promoted release."""
    for text in _container(endpoint).get("args", []):
        if text.startswith("--release="):
            return text.removeprefix("--release=")
    return None


def tagged_url(endpoint: Mapping[str, Any], tag: str) -> str:
    """The URL of the revision that carries a tag (latest, prev). Raises Unavailable when there is none."""
    for part in endpoint.get("status", {}).get("components", {}).get("predictor", {}).get("traffic", []):
        if part.get("tag") == tag and part.get("url"):
            return str(part["url"])
    raise Unavailable(
        f"the revision {tag!r} has no URL of its own: a canary needs KServe's Knative mode and the annotation {TAGS}."
    )


def _container(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    if endpoint["spec"].get("transformer"):
        raise BadInput("transformer and predictor follow the promoted release: promote it, or start a canary with it.")
    for container in endpoint["spec"]["predictor"].get("containers", []):
        if container.get("name") == _CONTAINER:
            return container
    raise BadInput(f"the predictor has no container named {_CONTAINER!r}.")


def share_of(endpoint: Mapping[str, Any]) -> int | None:
    """The canary's share in percent, or None outside a canary."""
    return endpoint["spec"]["predictor"].get("canaryTrafficPercent")


def connect() -> Any:
    """KServe's client for this cluster, else for ~/.kube/config. Raises Unavailable when neither is there."""
    arguments, sys.argv = sys.argv, sys.argv[:1]  # kserve reads the command line when it is imported
    try:
        from kserve import KServeClient
        from kubernetes.config import ConfigException
    finally:
        sys.argv = arguments
    try:
        return KServeClient()
    except (ConfigException, OSError) as error:
        raise Unavailable(f"no Kubernetes cluster is configured here: {error}.") from error
