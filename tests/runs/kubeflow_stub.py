"""The part of the Kubeflow Pipelines v2 API that Towerline uses, kept in memory on a loopback port.

Every request body is read through the official client's own models, so that a field the API does not know fails here.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import kfp_server_api
import yaml

API = "/apis/v2beta1"
_PAGE = 10
"""Items of a list that come at once, as in the API's default."""
_OF_A_NAMESPACE = ("/experiments", "/pipelines", "/recurringruns")


class Kubeflow:
    """State of the stub: what was uploaded, started and scheduled."""

    def __init__(self) -> None:
        self.experiments: list[dict[str, Any]] = []
        self.pipelines: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.recurring: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.multi_user = False
        self.instead: tuple[int, bytes] | None = None
        """What answers in the API's place: a login page, say."""
        self.asked = 0
        self.namespaces: set[str] = set()
        self.url = ""

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, dict[str, Any]]:
        if path == f"{API}/healthz":
            return 200, {"multi_user": self.multi_user}
        if method == "GET" and self.multi_user and path.removeprefix(API) in _OF_A_NAMESPACE:
            if not query.get("namespace"):
                return 400, {"error": "a namespace is needed in multi-user mode"}
            self.namespaces.add(query["namespace"][0])
        if path == f"{API}/experiments":
            if method == "GET":
                return 200, {"experiments": _filtered(self.experiments, query)}
            return 200, _add(self.experiments, "experiment_id", _model(body, "V2beta1Experiment"))
        if path == f"{API}/pipelines/upload":
            named = {"display_name": query["name"][0], "namespace": query.get("namespace", [""])[0]}
            pipeline = _add(self.pipelines, "pipeline_id", named)
            self._upload(body, pipeline["pipeline_id"], query["name"][0])
            return 200, pipeline
        if path == f"{API}/pipelines/upload_version":
            return 200, self._upload(body, query["pipelineid"][0], query["name"][0])
        if path == f"{API}/pipelines":
            return 200, {"pipelines": _filtered(self.pipelines, query)}
        if match := re.fullmatch(rf"{API}/pipelines/([^/]+)/versions", path):
            own = [item for item in self.versions if item["pipeline_id"] == match[1]]
            return 200, {"pipeline_versions": _filtered(own, query)[:_PAGE]}
        if path == f"{API}/runs" and method == "POST":
            return 200, _add(self.runs, "run_id", _model(body, "V2beta1Run"))
        if path == f"{API}/recurringruns":
            if method == "GET":
                return 200, {"recurringRuns": self.recurring, "recurring_runs": self.recurring}
            return 200, _add(self.recurring, "recurring_run_id", _model(body, "V2beta1RecurringRun"))
        if match := re.fullmatch(rf"{API}/recurringruns/([^/:]+)(:enable|:disable)?", path):
            return self._change(method, match[1], match[2], query.get("propagation_policy", [""])[0])
        return 404, {"error": f"{method} {path} is not part of the stub"}

    def _change(self, method: str, job_id: str, verb: str | None, policy: str) -> tuple[int, dict[str, Any]]:
        job = next((item for item in self.recurring if item["recurring_run_id"] == job_id), None)
        if job is None:
            return 404, {"error": "no such recurring run"}
        if method == "DELETE":
            self.recurring.remove(job)
            if policy != "ORPHAN":  # the runs are the recurring run's own, and Kubernetes clears them away with it
                self.runs = [run for run in self.runs if run.get("recurring_run_id") != job_id]
        elif verb:
            job["mode"] = verb.strip(":").upper()
            job["status"] = job["mode"] + "D"
        return 200, {}

    def _upload(self, body: bytes, pipeline_id: str, name: str) -> dict[str, Any]:
        text = re.search(rb"\r\n\r\n(.*)\r\n--", body, flags=re.DOTALL)
        assert text, "the upload has no file part"
        specification = next(iter(yaml.safe_load_all(text[1])))
        assert specification["pipelineInfo"]["name"] == "towerline"
        return _add(self.versions, "pipeline_version_id", {"pipeline_id": pipeline_id, "display_name": name})


def _model(body: bytes, name: str) -> dict[str, Any]:
    """The body as a dict, after the official client's model has read it and found no unknown field."""
    value = json.loads(body)
    kind = getattr(kfp_server_api, name)
    unknown = set(value) - set(kind.attribute_map.values())
    assert not unknown, f"{name} has no field {unknown}"

    class Response:
        data = body

    kfp_server_api.ApiClient().deserialize(Response(), name)
    return value


def _add(items: list[dict[str, Any]], key: str, value: dict[str, Any]) -> dict[str, Any]:
    value = {**value, key: f"{key}-{len(items) + 1}-{id(value)}"}
    items.append(value)
    return value


def _filtered(items: list[dict[str, Any]], query: dict[str, list[str]]) -> list[dict[str, Any]]:
    if "filter" not in query:
        return items
    wanted = json.loads(query["filter"][0])["predicates"][0]
    name = wanted.get("string_value", wanted.get("stringValue"))
    return [item for item in items if item.get("display_name") == name]


@contextmanager
def running_kubeflow() -> Iterator[Kubeflow]:
    """A stub listening on a free loopback port while the block runs."""
    state = Kubeflow()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            state.tokens.add(self.headers.get("Authorization"))
            url = urlparse(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.asked += 1
            if state.instead is not None:
                status, data = state.instead
            else:
                status, value = state.answer(self.command, url.path, parse_qs(url.query), body)
                data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _reply

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
