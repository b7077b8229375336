"""KServe's controller and Knative in miniature, behind the Kubernetes API that KServe's own client calls.

Revisions, readiness and traffic follow kserve's reconciler: without a share everything goes to the latest ready
revision; with one, the rest goes to the revision rolled out last, or to the one before when that is the latest.
"""

import copy
from typing import Any

from kubernetes.client import ApiClient
from kubernetes.client.rest import ApiException


class CustomObjects:
    """One namespace of InferenceServices. `broken` never become ready, `liars` answer for another release."""

    def __init__(self) -> None:
        self.object: dict[str, Any] | None = None
        self.broken: set[str] = set()
        self.liars: set[str] = set()
        self.degraded: set[str] = set()
        self.down = False
        self.revisions: list[str | None] = []
        self.ready: list[int] = []
        self.rolled: list[int] = []
        self.traffic: list[dict[str | None, int]] = []
        self.conflict_once = False

    def get_namespaced_custom_object(self, group: str, version: str, namespace: str, plural: str, name: str) -> Any:
        self._check(group, version, plural)
        if self.object is None:
            raise ApiException(status=404, reason="Not Found")
        return copy.deepcopy(self.object)

    def create_namespaced_custom_object(self, group: str, version: str, namespace: str, plural: str, body: Any) -> Any:
        self._check(group, version, plural)
        self.object = ApiClient().sanitize_for_serialization(body)
        return self._reconcile(namespace)

    def replace_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, name: str, body: Any
    ) -> Any:
        self._check(group, version, plural)
        assert self.object is not None
        sent = ApiClient().sanitize_for_serialization(body)
        if sent["metadata"]["resourceVersion"] != self.object["metadata"]["resourceVersion"]:
            raise ApiException(status=409, reason="Conflict")
        generation = self.object["metadata"]["generation"]
        self.object = sent
        self.object["metadata"]["generation"] = generation
        return self._reconcile(namespace)

    def delete_namespaced_custom_object(self, group: str, version: str, namespace: str, plural: str, name: str) -> Any:
        self._check(group, version, plural)
        self.object = None
        return {}

    def ask(self, url: str, body: Any) -> tuple[int, Any]:
        """What the endpoint's servers answer."""
        host, _, path = url.removeprefix("http://").partition("/")
        assert path == "v1/models/retrieval:predict"
        index = self.ready[-1]
        release = self.revisions[index]
        if host.startswith("prev-"):
            release = self.revisions[self.rolled[-1]]
        elif not host.startswith("latest-"):
            shares = self.traffic[-1]
            release = max(shares, key=lambda name: shares[name])
        if release in self.liars:
            return 200, {"predictions": [{"products": [], "release": "another", "degraded": False}]}
        return 200, {"predictions": [{"products": [], "release": release, "degraded": release in self.degraded}]}

    def _check(self, group: str, version: str, plural: str) -> None:
        assert (group, version, plural) == ("serving.kserve.io", "v1beta1", "inferenceservices")
        if self.down:
            raise ApiException(status=503, reason="Service Unavailable")

    def _reconcile(self, namespace: str) -> dict[str, Any]:
        assert self.object is not None
        predictor = self.object["spec"]["predictor"]
        release = next(
            (a.removeprefix("--release=") for a in predictor["containers"][0]["args"] if a.startswith("--release=")),
            None,
        )
        if not self.revisions or self.revisions[-1] != release:
            self.revisions.append(release)
            if release not in self.broken:
                # While a revision comes up, requests go where the rules send them with the old one as the latest.
                if self.ready:
                    self._route(predictor.get("canaryTrafficPercent"))
                self.ready.append(len(self.revisions) - 1)
        self._route(predictor.get("canaryTrafficPercent"))
        latest, created = (self.ready or [-1])[-1], len(self.revisions) - 1
        metadata = self.object["metadata"]
        metadata["generation"] = metadata.get("generation", 0) + 1
        metadata["resourceVersion"] = str(metadata["generation"])
        host = f"{metadata['name']}.{namespace}.example.com"
        self.object["status"] = {
            "url": f"http://{host}",
            "observedGeneration": metadata["generation"],
            "conditions": [{"type": "Ready", "status": str(latest == created)}],
            "components": {
                "predictor": {
                    "latestReadyRevision": f"r{latest}",
                    "latestCreatedRevision": f"r{created}",
                    "traffic": [
                        {"tag": "latest", "url": f"http://latest-{host}"},
                        {"tag": "prev", "url": f"http://prev-{host}"},
                    ],
                }
            },
        }
        return copy.deepcopy(self.object)

    def _route(self, percent: int | None) -> None:
        if not self.ready:
            self.traffic.append({})
            return
        latest = self.ready[-1]
        if percent is None or percent == 100 or not self.rolled:
            self.traffic.append({self.revisions[latest]: 100})
            if not self.rolled or self.rolled[-1] != latest:
                self.rolled.append(latest)
            return
        rest = self.rolled[-1]
        if rest == latest and len(self.rolled) > 1:
            rest = self.rolled[-2]
        shares: dict[str | None, int] = {self.revisions[latest]: percent}
        shares[self.revisions[rest]] = shares.get(self.revisions[rest], 0) + 100 - percent
        self.traffic.append(shares)
