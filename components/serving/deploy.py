"""Moves the endpoint on a cluster to a release: canary, verification of the replies, all traffic, or back again.

A revision of the endpoint serves one release (`--release ID`), so KServe's canary splits requests between whole
releases.

    python -m components.serving.deploy --namespace towerline --release ID --manifest endpoint.yaml --workdir /towerline
"""

import argparse
import copy
import http.client
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.common.errors import BadSetting, GateClosed, NotFound, TowerlineError, Unavailable
from components.common.files import read_json
from components.common.manifest import read_release
from components.common.records import task_record
from components.serving.endpoint import (
    PREVIOUS,
    Endpoint,
    Patience,
    connect,
    endpoint_of,
    pinned,
    read_manifest,
    release_of,
    share_of,
    tagged_url,
)

Ask = Callable[[str, Any], tuple[int, Any]]
"""Posts a JSON body to a URL; returns status and parsed answer (None when it is not JSON). Raises Unavailable."""
Verify = Callable[[str, str], None]
Deploy = Callable[..., dict[str, Any]]
_PREDICT = "/v1/models/retrieval:predict"
_DEGRADED_SHARE = 0.05
"""Replies that may be degraded: a store that is slow for a moment is no fault of the release."""


def deploy_endpoint(
    namespace: str,
    name: str,
    release_id: str,
    canary_percent: int = 10,
    manifest: Path | None = None,
    promote: bool = True,
    queries: Sequence[str] = ("shoes",),
    gateway: str = "",
    patience: Patience | None = None,
    client: Any = None,
    ask: Ask | None = None,
) -> dict[str, Any]:
    """Serves `release_id` at the endpoint; running it again after a kill goes on where it stopped.

    Args:
        namespace, name: of the InferenceService.
        release_id: a release in the work directory that the endpoint mounts.
        canary_percent: share of the requests it gets first, 1 to 99; 100 skips the canary.
        manifest: the InferenceService as YAML (kubectl kustomize manifests/overlays/.../endpoint); needed when there is
            none yet, and otherwise brings its other fields up to date.
        promote: False leaves the canary at its share; a later call with True gives it everything.
        queries: what is asked to verify the replies.
        gateway: URL of the ingress gateway, for where the endpoint's own names have no DNS.
        client: a `kserve.KServeClient`; default: of this cluster or of ~/.kube/config. ask: how a reply is fetched.

    Returns:
        {"endpoint", "release", "action": created | promoted | canary | unchanged, "previous"}.

    Raises:
        GateClosed: the release did not become ready or did not answer rightly; the endpoint is as it was before.
        NotFound: no such endpoint and no manifest. BadSetting, BadInput: arguments. Unavailable: no Kubernetes API.
    """
    if not 1 <= canary_percent <= 100:
        raise BadSetting(f"a canary's share must be 1 to 100 percent, not {canary_percent}.")
    endpoint = Endpoint(client or connect(), namespace, name, patience or Patience())
    asking = ask or ask_through(gateway)

    def verify(url: str, expected: str) -> None:
        check_replies(asking, url, expected, queries, endpoint.patience.replies)

    before = endpoint.read()
    if before is None:
        if manifest is None:
            raise NotFound(f"there is no endpoint {name!r} in {namespace!r}; give its manifest to create it.")
        return _create(endpoint, pinned(read_manifest(manifest, name), release_id), release_id, verify)
    template = read_manifest(manifest, name) if manifest else before
    return _change(endpoint, before, template, release_id, canary_percent, promote, verify)


def run(
    workdir: Path, release_id: str, manifest: str, canary_percent: int, gateway: str, deploy: Deploy = deploy_endpoint
) -> None:
    """The step `deploy_endpoint`: moves the endpoint of `manifest` to a release, asking its own golden queries.

    Args:
        workdir: the work directory, which the endpoint mounts too.
        release_id: the candidate that passed both gates.
        manifest: path of the InferenceService as YAML; empty: no endpoint is moved, and the record says so.
        canary_percent, gateway: see `deploy_endpoint`. deploy: stands in for it.

    Raises:
        GateClosed, NotFound, BadSetting, BadInput, Unavailable: see `deploy_endpoint`.
    """
    with task_record("deploy_endpoint") as record:
        if not manifest:
            record.note("No endpoint is asked for: servers of this work directory follow the promoted release.")
            return
        namespace, name = endpoint_of(Path(manifest))
        queries = golden_queries(workdir, release_id)
        facts = deploy(
            namespace, name, release_id, canary_percent, Path(manifest), queries=queries, gateway=gateway
        )  # fmt: skip
        for key, value in facts.items():
            record.figure(key, value)


def _create(endpoint: "Endpoint", wanted: dict[str, Any], release_id: str, verify: Verify) -> dict[str, Any]:
    try:
        created = endpoint.create(wanted)
        verify(str(endpoint.settle(created)["status"].get("url", "")), release_id)
    except TowerlineError as error:
        endpoint.delete()
        raise GateClosed(f"release {release_id} was not deployed, and the new endpoint removed: {error}") from error
    return {"endpoint": endpoint.name, "release": release_id, "action": "created", "previous": None}


def _change(
    endpoint: "Endpoint", before: dict[str, Any], template: dict[str, Any], release_id: str, percent: int,
    promote: bool, verify: Verify,
) -> dict[str, Any]:  # fmt: skip
    under_change = share_of(before) is not None
    previous = before["metadata"].get("annotations", {}).get(PREVIOUS) if under_change else release_of(before)
    facts = {"endpoint": endpoint.name, "release": release_id, "action": "promoted", "previous": previous}
    full = pinned(template, release_id)
    if previous is not None:
        full["metadata"].setdefault("annotations", {})[PREVIOUS] = previous
    if not under_change and release_of(before) == release_id and full["spec"] == before["spec"]:
        verify(str(before.get("status", {}).get("url", "")), release_id)
        return {**facts, "action": "unchanged"}
    stable = copy.deepcopy(before)
    if under_change:
        stable = pinned(before, previous) if previous else stable
        stable["spec"]["predictor"].pop("canaryTrafficPercent", None)
    try:
        if percent < 100 or not promote:
            shared = copy.deepcopy(full)
            shared["spec"]["predictor"]["canaryTrafficPercent"] = percent
            verify(tagged_url(endpoint.settle(endpoint.replace(shared)), "latest"), release_id)
            if not promote:
                return {**facts, "action": "canary"}
        verify(str(endpoint.settle(endpoint.replace(full))["status"].get("url", "")), release_id)
    except TowerlineError as error:
        undone = _roll_back(endpoint, stable)
        raise GateClosed(f"release {release_id} was not deployed: {error} {undone}") from error
    return facts


def _roll_back(endpoint: Endpoint, stable: dict[str, Any]) -> str:
    """Takes the traffic back at once, then the specification; returns what was reached, as a sentence.

    A revision that never became ready gets nothing as soon as the share is gone. A ready one is held at share 0 until
    the old specification is ready again: without a share Knative sends everything to the latest ready revision, which
    is the bad one.
    """
    try:
        bad = endpoint.read()
        if bad is None:
            return "The endpoint is gone."
        if endpoint.latest_is_ready(bad):
            for body in (bad, copy.deepcopy(stable)):
                body["spec"]["predictor"]["canaryTrafficPercent"] = 0
                written = endpoint.replace(body)
            endpoint.settle(written)
        endpoint.settle(endpoint.replace(stable))
    except TowerlineError as error:
        return f"It was rolled back as far as possible, then: {error}"
    return "The endpoint serves what it served before."


def check_replies(ask: Ask, url: str, release_id: str, queries: Sequence[str], replies: int) -> None:
    """Asks an endpoint `replies` times. Raises GateClosed unless every reply is right and names the release."""
    if not url:
        raise Unavailable("the endpoint has no URL yet.")
    degraded = 0
    for number in range(replies):
        query = queries[number % len(queries)]
        status, answer = ask(url + _PREDICT, {"instances": [{"query": query, "k": 1}]})
        if status != 200:
            raise GateClosed(f"{url} answered {query!r} with status {status}.")
        try:
            (prediction,) = answer["predictions"]
            named, poor = prediction["release"], bool(prediction["degraded"])
        except (KeyError, TypeError, ValueError) as error:
            raise GateClosed(f"{url} answered {query!r} with something that is no prediction.") from error
        if named != release_id:
            raise GateClosed(f"{url} answered for release {named}, not for {release_id}.")
        degraded += poor
    if degraded > _DEGRADED_SHARE * replies:
        raise GateClosed(f"{degraded} of {replies} replies of {url} are degraded.")


def ask_through(gateway: str = "", timeout: float = 30.0) -> Ask:
    """Asks by HTTP; with `gateway` (URL) connects there and names the endpoint in the Host header."""

    def ask(url: str, body: Any) -> tuple[int, Any]:
        target, reached = urlsplit(url), urlsplit(gateway or url)
        kind = http.client.HTTPSConnection if reached.scheme == "https" else http.client.HTTPConnection
        connection = kind(reached.hostname or "", reached.port, timeout=timeout)
        try:
            headers = {"content-type": "application/json", "host": target.netloc}
            connection.request("POST", target.path, json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (json.JSONDecodeError, UnicodeDecodeError):
            return response.status, None
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{gateway or url} does not answer ({type(error).__name__}: {error}).") from error
        finally:
            connection.close()

    return ask


def golden_queries(workdir: Path, release_id: str) -> list[str]:
    """The queries a release was evaluated on. Raises NotFound for an unknown release."""
    golden = read_json(read_release(workdir, release_id).path("golden.json"))
    return sorted({str(item["request"]["query"]) for item in golden})


def main(arguments: list[str] | None = None) -> int:
    """The command line; prints what was done as JSON and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m components.serving.deploy", description=__doc__.split("\n")[0])
    parser.add_argument("--namespace", required=True, help="where the endpoint lives")
    parser.add_argument("--name", default="towerline", help="the InferenceService (default: towerline)")
    parser.add_argument("--release", required=True, help="the release to serve")
    parser.add_argument("--canary", type=int, default=10, help="percent of the requests it gets first (default: 10)")
    parser.add_argument("--manifest", type=Path, help="the InferenceService as YAML; needed the first time")
    parser.add_argument("--hold", action="store_true", help="stop at the canary; the same without --hold goes on")
    parser.add_argument("--workdir", type=Path, help="ask the release's own golden queries from here")
    parser.add_argument("--query", action="append", help="a query to verify with (default: shoes)")
    parser.add_argument("--gateway", default="", help="URL of the ingress gateway, where the endpoint has no DNS name")
    options = parser.parse_args(arguments)
    try:
        queries = options.query or (golden_queries(options.workdir, options.release) if options.workdir else ["shoes"])
        facts = deploy_endpoint(
            options.namespace, options.name, options.release, options.canary, options.manifest, not options.hold,
            queries, options.gateway,
        )  # fmt: skip
    except TowerlineError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
