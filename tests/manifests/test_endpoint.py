"""The endpoint as Knative and the server want it: arguments, probes, ending, and what it may write."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from components import placement
from components.common.settings import from_overrides
from components.serving import __main__ as serving
from components.serving.endpoint import TAGS
from components.serving.settings import ServingSettings
from tests.manifests.reading import BUILDS, Document, built, one


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


def test_the_endpoint_reads_the_volume_and_never_writes_it() -> None:
    predictor = one("InferenceService")["spec"]["predictor"]
    (claim,) = (item for item in predictor["volumes"] if "persistentVolumeClaim" in item)
    assert claim["persistentVolumeClaim"]["readOnly"]
    (mount,) = (item for item in predictor["containers"][0]["volumeMounts"] if item["name"] == claim["name"])
    assert mount["readOnly"]


def test_a_canary_can_be_asked_by_itself_and_a_live_server_is_not_ended_for_being_unready() -> None:
    endpoint = one("InferenceService")
    assert endpoint["metadata"]["annotations"][TAGS] == "true"
    container = endpoint_container(endpoint)
    assert container["name"] == "kserve-container"
    (port,) = container["ports"]
    probe = {"path": "/v2/health/live", "port": port["containerPort"]}
    assert container["livenessProbe"]["httpGet"] == probe


@pytest.mark.parametrize("directory", [name for name in BUILDS if "endpoint" in name])
def test_a_built_endpoint_is_started_as_the_server_wants_it(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = one("InferenceService", documents=built(directory))
    seen = served_by(endpoint_container(endpoint)["args"], monkeypatch)
    # The sample shop's log ends in its own past.
    assert (seen["settings"].clock, seen["settings"].environment) == ("auto" if "dev" in directory else "wall", "redis")
    assert seen["settings"].role == ("predictor" if "transformer" in endpoint["spec"] else "all")
    assert endpoint["spec"]["predictor"]["minReplicas"] <= endpoint["spec"]["predictor"]["maxReplicas"]


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
