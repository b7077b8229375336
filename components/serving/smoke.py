"""The infrastructure gate: a real server on the candidate must answer as the evaluation saw the towers answer."""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from components.common.errors import BadInput, TowerlineError, Unavailable
from components.common.files import read_json, write_json
from components.common.manifest import read_release
from components.common.processes import OWNER
from components.common.records import task_record
from components.common.settings import as_overrides, from_overrides
from components.serving.http_client import HttpClient
from components.serving.requests import CONTEXT_FIELDS
from components.serving.settings import ServingSettings
from components.serving.stages import stage_milliseconds

_STRANGER = "smoke-test-stranger"
_LOG_TAIL = 600


class _Closed(Exception):
    """The reason, in one sentence, why the gate stays closed."""


def smoke_test(
    workdir: Path,
    release_id: str,
    blessing: Path,
    settings: Mapping[str, str] | str | None = None,
    module: str = "components.serving",
) -> dict[str, Any]:
    """Starts a server process on the candidate, replays its golden queries and writes the blessing, which it returns.

    The gate opens when the server becomes ready in time, returns every golden vector within the tolerance and the
    golden products, names the release, keeps its p99 and stops when told to. Otherwise `reason` says what it did. The
    blessing is `{"gate": "infrastructure", "open", "reason", "release", "towers", ...figures}`.
    """
    with task_record("smoke_test") as record:
        chosen = from_overrides(ServingSettings, settings)
        release = read_release(Path(workdir), release_id)
        verdict: dict[str, Any] = {
            "gate": "infrastructure",
            "open": False,
            "reason": "",
            "release": release_id,
            "towers": release.towers_fingerprint,
        }
        try:
            golden = _golden(release.path("golden.json"))
            _replay(Path(workdir).absolute(), release_id, golden, chosen, module, verdict)
            p99 = verdict["latency_ms"]["p99"]
            verdict["reason"] = f"{len(golden)} golden queries came back as stored, p99 {p99:.1f} ms."
            verdict["open"] = True
        except (_Closed, TowerlineError) as error:
            verdict["reason"] = str(error)
        record.figure("blessing", verdict)
        write_json(blessing, verdict)
        return verdict


def _golden(path: Path) -> list[dict[str, Any]]:
    golden = read_json(path)
    if not isinstance(golden, list) or not golden:
        raise BadInput(f"{path} holds no golden queries; the index step writes them.")
    return golden


def _replay(
    workdir: Path,
    release_id: str,
    golden: Sequence[dict[str, Any]],
    settings: ServingSettings,
    module: str,
    verdict: dict[str, Any],
) -> None:
    begun = time.perf_counter()
    with _server(workdir, release_id, settings, module) as (url, process):
        verdict["seconds_to_ready"] = round(time.perf_counter() - begun, 2)
        with HttpClient(url, timeout=max(5.0, settings.smoke_p99_ms / 50)) as client:
            verdict["max_difference"] = _check_vectors(client, golden, release_id, settings)
            verdict["overlap"] = _check_products(client, golden, release_id, settings)
            _check_stranger(client, golden[0], release_id)
            verdict["latency_ms"] = _check_latency(client, golden, settings)
            verdict["stages_ms"] = stage_milliseconds(client.read("/metrics"))
        _stop(process, settings)


def _check_vectors(
    client: HttpClient, golden: Sequence[dict[str, Any]], release_id: str, settings: ServingSettings
) -> float:
    worst = 0.0
    for item in golden:
        answer = client.post("/v2/models/query-tower/infer", tower_request(item["request"]))
        outputs = {output["name"]: output["data"] for output in answer["outputs"]}
        _named(outputs["release"][0], release_id)
        got, wanted = np.asarray(outputs["embedding"]), np.asarray(item["vector"])
        difference = float(np.abs(got - wanted).max()) if got.shape == wanted.shape else math.inf
        worst = max(worst, difference)
        if not worst <= settings.smoke_vector_tolerance:
            raise _Closed(
                f"the server's vector for {item['request']['query']!r} differs from the evaluated one by "
                f"{worst:.2g}; {settings.smoke_vector_tolerance:.2g} is allowed."
            )
    return worst


def _check_products(
    client: HttpClient, golden: Sequence[dict[str, Any]], release_id: str, settings: ServingSettings
) -> float:
    shares = []
    for item in golden:
        (prediction,) = client.post("/v1/models/retrieval:predict", {"instances": [instance(item)]})["predictions"]
        _named(prediction["release"], release_id)
        if prediction["degraded"]:
            raise _Closed(f"the answer to {item['request']['query']!r} is degraded: {prediction['degraded']}.")
        found = {product["product_id"] for product in prediction["products"]}
        shares.append(len(found & set(item["products"])) / max(1, len(item["products"])))
    mean = float(np.mean(shares))
    if mean < settings.smoke_overlap:
        raise _Closed(f"only {mean:.1%} of the golden products came back; {settings.smoke_overlap:.1%} are required.")
    return round(mean, 4)


def _check_stranger(client: HttpClient, item: dict[str, Any], release_id: str) -> None:
    body = {"instances": [{"query": item["request"]["query"], "user_id": _STRANGER, "k": 1}]}
    (prediction,) = client.post("/v1/models/retrieval:predict", body)["predictions"]
    _named(prediction["release"], release_id)
    if prediction["degraded"]:
        raise _Closed(f"a search with a shopper's id is degraded: {prediction['degraded']}.")


def _check_latency(client: HttpClient, golden: Sequence[dict[str, Any]], settings: ServingSettings) -> dict[str, float]:
    bodies = [{"instances": [{**instance(item), "relevance": True}]} for item in golden]
    times = []
    for number in range(max(settings.smoke_requests, len(golden))):
        begun = time.perf_counter()
        client.post("/v1/models/retrieval:predict", bodies[number % len(bodies)])
        times.append((time.perf_counter() - begun) * 1000)
    latency = {name: round(float(np.percentile(times, q)), 2) for name, q in (("p50", 50), ("p99", 99))}
    if latency["p99"] > settings.smoke_p99_ms:
        raise _Closed(f"the server's p99 is {latency['p99']:.0f} ms; {settings.smoke_p99_ms:.0f} ms are allowed.")
    return latency


def _named(named: str, release_id: str) -> None:
    if named != release_id:
        raise _Closed(f"the server answered for release {named}, not for {release_id}.")


def tower_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """A golden request as a body of `query-tower`: the features it was evaluated on travel in `context`."""
    context = {name: value for name, value in request.items() if name in CONTEXT_FIELDS and value is not None}
    tensors = {"query": request["query"], "context": json.dumps(context)}
    return {
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [1], "data": [text]} for name, text in tensors.items()
        ]
    }  # fmt: skip


def instance(item: Mapping[str, Any]) -> dict[str, Any]:
    """A golden item as an instance of `retrieval`, asking for as many products as are stored.

    They are stored as the index gives them, without relevance control.
    """
    request = item["request"]
    context = {name: value for name, value in request.items() if name in CONTEXT_FIELDS and value is not None}
    return {"query": request["query"], "k": max(1, len(item["products"])), "relevance": False, **context}


@contextmanager
def _server(
    workdir: Path, release_id: str, settings: ServingSettings, module: str
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A server process on the candidate, ready; killed at the end if it still runs."""
    with tempfile.TemporaryDirectory(prefix="towerline-smoke-") as folder, open(Path(folder) / "log", "wb+") as log:
        announcement = Path(folder) / "server.json"
        command = [sys.executable, "-m", module, "--workdir", str(workdir), "--release", release_id, "--port", "0"]
        command += ["--host", "127.0.0.1", "--announce", str(announcement)]
        command += [f"--set=serving.{name}={value}" for name, value in _own_settings(settings).items()]
        environment = {**os.environ, OWNER: str(os.getpid())}
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        try:
            yield _wait(process, announcement, settings), process
        except (Unavailable, _Closed) as error:
            if process.poll() is None:
                raise
            raise _Closed(f"the server ended with exit code {process.returncode}: {_tail(log)}") from error
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _own_settings(settings: ServingSettings) -> dict[str, str]:
    """The settings of the server under test: the caller's, without cache, page and access log, with patient budgets.

    Budgets degrade an answer instead of failing it, which would hide what this test looks for.
    """
    budgets = {
        name: str(max(getattr(settings, name), 5000.0))
        for name in ("feature_budget_ms", "tower_budget_ms", "search_budget_ms")
    }
    own = {"cache": "off", "page": "false", "access_log": "false", "grpc_port": "0", "drain_seconds": "0"}
    own |= {"record_searches": "false", **budgets}
    given = {name: value for name, value in as_overrides(settings).items() if name not in ("host", "port")}
    return {**given, **own}


def _wait(process: "subprocess.Popen[bytes]", announcement: Path, settings: ServingSettings) -> str:
    deadline = time.monotonic() + settings.smoke_start_seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _Closed("the server ended before it was ready.")
        if announcement.exists():
            url = str(read_json(announcement)["url"])
            with HttpClient(url) as client:
                status, _ = client.ask("GET", "/v2/health/ready")
            if status == 200:
                return url
        time.sleep(0.1)
    raise _Closed(f"the server was not ready within {settings.smoke_start_seconds:.0f} s.")


def _stop(process: "subprocess.Popen[bytes]", settings: ServingSettings) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(settings.grace_seconds + 10)
    except subprocess.TimeoutExpired as error:
        raise _Closed(f"the server did not stop within {settings.grace_seconds + 10} s of being told to.") from error
    if code != 0:
        raise _Closed(f"the server stopped with exit code {code} instead of 0.")


def _tail(log: Any) -> str:
    log.seek(0)
    return " ".join(log.read().decode("utf-8", "replace").split())[-_LOG_TAIL:] or "it said nothing."
