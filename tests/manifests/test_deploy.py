"""Deploying a release: KServe's own client against a small model of its controller."""

import functools
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.common.errors import BadInput, BadSetting, GateClosed, NotFound, Unavailable
from components.serving import deploy
from components.serving.deploy import ask_through, check_replies, deploy_endpoint
from components.serving.endpoint import Patience, endpoint_of, pinned, read_manifest, release_of
from tests.manifests.cluster import CustomObjects

ENDPOINT = Path(__file__).parents[2] / "manifests" / "endpoint" / "inference-service.yaml"


@pytest.fixture
def cluster() -> CustomObjects:
    return CustomObjects()


@pytest.fixture
def client(cluster: CustomObjects, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    from kserve import KServeClient

    made = KServeClient.__new__(KServeClient)
    made.api_instance = cluster
    return made


@pytest.fixture
def move(cluster: CustomObjects, client: Any) -> Any:
    def call(release: str, percent: int = 10, **options: Any) -> dict[str, Any]:
        options.setdefault("manifest", ENDPOINT)
        return deploy_endpoint(
            "shop", "towerline", release, percent, client=client, ask=cluster.ask,
            patience=Patience(seconds=1, interval=0.01, replies=5), **options,
        )  # fmt: skip

    return call


def test_the_first_release_creates_the_endpoint_and_serves_everything(cluster: CustomObjects, move: Any) -> None:
    assert move("r-1")["action"] == "created"
    assert cluster.traffic[-1] == {"r-1": 100}
    assert cluster.object is not None
    assert cluster.object["metadata"]["annotations"]["serving.kserve.io/enable-tag-routing"] == "true"


def test_a_release_goes_through_its_canary_to_all_traffic(cluster: CustomObjects, move: Any) -> None:
    move("r-1")
    facts = move("r-2", 25)
    assert (facts["action"], facts["previous"]) == ("promoted", "r-1")
    assert {"r-2": 25, "r-1": 75} in cluster.traffic
    assert cluster.traffic[-1] == {"r-2": 100}


def test_a_canary_may_be_held_and_given_everything_later(cluster: CustomObjects, move: Any) -> None:
    move("r-1")
    assert move("r-2", 5, promote=False)["action"] == "canary"
    assert cluster.traffic[-1] == {"r-2": 5, "r-1": 95}
    assert move("r-2")["previous"] == "r-1"
    assert cluster.traffic[-1] == {"r-2": 100}


def test_deploying_what_is_served_changes_nothing(cluster: CustomObjects, move: Any) -> None:
    move("r-1")
    assert cluster.object is not None
    generation = cluster.object["metadata"]["generation"]
    assert move("r-1", manifest=None)["action"] == "unchanged"
    assert cluster.object["metadata"]["generation"] == generation


@pytest.mark.parametrize("fault", ["broken", "liars", "degraded"])
def test_a_bad_release_never_gets_more_than_its_share_and_is_rolled_back(
    cluster: CustomObjects, move: Any, fault: str
) -> None:
    move("r-1")
    getattr(cluster, fault).add("r-2")
    with pytest.raises(GateClosed, match="serves what it served before"):
        move("r-2", 10)
    assert cluster.traffic[-1] == {"r-1": 100}
    assert max(shares.get("r-2", 0) for shares in cluster.traffic) <= 10
    assert cluster.object is not None
    assert release_of(cluster.object) == "r-1"
    assert "canaryTrafficPercent" not in cluster.object["spec"]["predictor"]


@pytest.mark.parametrize("fault", ["broken", "liars"])
def test_a_bad_release_after_two_good_ones_leaves_the_last_good_one(
    cluster: CustomObjects, move: Any, fault: str
) -> None:
    """KServe remembers two rolled-out revisions; a rollback must not land on the older one."""
    move("r-1")
    move("r-2")
    getattr(cluster, fault).add("r-3")
    with pytest.raises(GateClosed):
        move("r-3")
    assert cluster.traffic[-1] == {"r-2": 100}


def test_a_held_canary_that_fails_later_gives_its_share_back(cluster: CustomObjects, move: Any) -> None:
    move("r-1")
    move("r-2", promote=False)
    cluster.liars.add("r-2")
    with pytest.raises(GateClosed):
        move("r-2")
    assert cluster.traffic[-1] == {"r-1": 100}


def test_a_first_release_that_fails_leaves_no_endpoint(cluster: CustomObjects, move: Any) -> None:
    cluster.liars.add("r-1")
    with pytest.raises(GateClosed, match="removed"):
        move("r-1")
    assert cluster.object is None


def test_wrong_arguments_touch_nothing(cluster: CustomObjects, move: Any) -> None:
    with pytest.raises(BadSetting, match="1 to 100"):
        move("r-1", 0)
    with pytest.raises(NotFound, match="give its manifest"):
        move("r-1", manifest=None)
    assert cluster.object is None


def test_an_api_that_is_down_is_one_sentence(cluster: CustomObjects, move: Any) -> None:
    cluster.down = True
    with pytest.raises(Unavailable, match="503 Service Unavailable"):
        move("r-1")


def test_an_endpoint_in_two_components_is_refused(tmp_path: Path) -> None:
    endpoint = read_manifest(ENDPOINT, "towerline")
    endpoint["spec"]["transformer"] = endpoint["spec"]["predictor"]
    with pytest.raises(BadInput, match="start a canary"):
        pinned(endpoint, "r-1")


def test_pinning_leaves_the_template_alone_and_replaces_an_older_pin() -> None:
    endpoint = read_manifest(ENDPOINT, "towerline")
    twice = pinned(pinned(endpoint, "r-1"), "r-2")
    arguments = twice["spec"]["predictor"]["containers"][0]["args"]
    assert [text for text in arguments if "release" in text] == ["--release=r-2"]
    assert release_of(endpoint) is None


def test_a_manifest_without_the_endpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("kind: ConfigMap\nmetadata: {name: x}\n")
    with pytest.raises(BadInput, match="holds no InferenceService"):
        read_manifest(tmp_path / "other.yaml", "towerline")


@pytest.mark.parametrize(
    ("status", "answer", "named"),
    [
        (503, {"error": "no"}, "status 503"),
        (200, None, "no prediction"),
        (200, {"predictions": []}, "no prediction"),
        (200, {"predictions": [{"release": "r-2", "degraded": False}]}, "for release r-2"),
    ],
)
def test_a_wrong_reply_closes_the_gate(status: int, answer: Any, named: str) -> None:
    with pytest.raises(GateClosed, match=named):
        check_replies(lambda url, body: (status, answer), "http://shop", "r-1", ["boots"], 3)


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "tasks" / "deploy_endpoint.json").read_text(encoding="utf-8"))


def test_the_task_without_an_endpoint_touches_no_cluster_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOWERLINE_RUN_DIR", str(tmp_path))
    deploy.run(tmp_path, "r-1", "", 10, "", deploy=lambda *a, **k: pytest.fail("a cluster was asked"))
    assert record_of(tmp_path)["state"] == "done"
    assert "No endpoint is asked for" in record_of(tmp_path)["notes"][0]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """The endpoint as kubectl kustomize builds it, with its namespace."""
    body = read_manifest(ENDPOINT, "towerline")
    body["metadata"]["namespace"] = "shop"
    (tmp_path / "endpoint.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    return tmp_path / "endpoint.yaml"


def test_the_task_moves_the_endpoint_of_its_manifest_and_asks_the_releases_own_queries(
    cluster: CustomObjects, client: Any, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOWERLINE_RUN_DIR", str(tmp_path))
    monkeypatch.setattr(deploy, "golden_queries", lambda workdir, release: ["boots", "oak shelf"])
    asked: list[str] = []

    def ask(url: str, body: Any) -> tuple[int, Any]:
        asked.append(body["instances"][0]["query"])
        return cluster.ask(url, body)

    move = functools.partial(
        deploy_endpoint, client=client, ask=ask, patience=Patience(seconds=1, interval=0.01, replies=4)
    )
    deploy.run(tmp_path, "r-1", str(manifest), 10, "", deploy=move)
    deploy.run(tmp_path, "r-2", str(manifest), 25, "", deploy=move)
    assert {"r-2": 25, "r-1": 75} in cluster.traffic
    assert cluster.traffic[-1] == {"r-2": 100}
    assert set(asked) == {"boots", "oak shelf"}
    assert record_of(tmp_path)["figures"] == {
        "endpoint": "towerline", "release": "r-2", "action": "promoted", "previous": "r-1",
    }  # fmt: skip
    cluster.liars.add("r-3")
    with pytest.raises(GateClosed):
        deploy.run(tmp_path, "r-3", str(manifest), 10, "", deploy=move)
    assert record_of(tmp_path)["state"] == "closed"
    assert cluster.traffic[-1] == {"r-2": 100}


def test_a_manifest_without_namespace_or_with_two_endpoints_is_refused(manifest: Path) -> None:
    with pytest.raises(BadInput, match="one InferenceService with its namespace"):
        endpoint_of(ENDPOINT)
    assert endpoint_of(manifest) == ("shop", "towerline")
    manifest.write_text(f"{manifest.read_text()}\n---\n{manifest.read_text()}")
    with pytest.raises(BadInput, match="one InferenceService"):
        endpoint_of(manifest)


class _Gateway(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        content = json.dumps({"host": self.headers["host"], "path": self.path, "body": json.loads(body)}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Nothing on standard error."""


def test_a_gateway_is_asked_under_the_endpoints_name() -> None:
    with HTTPServer(("127.0.0.1", 0), _Gateway) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        ask = ask_through(f"http://127.0.0.1:{server.server_port}")
        status, answer = ask("http://towerline.shop.example.com/v1/models/retrieval:predict", {"instances": []})
    assert status == 200
    assert answer["host"] == "towerline.shop.example.com"
    assert answer["path"] == "/v1/models/retrieval:predict"
    with pytest.raises(Unavailable, match="does not answer"):
        ask("http://towerline.shop.example.com/x", {})


def test_the_command_prints_what_it_did_and_exits_by_the_kind_of_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deploy, "deploy_endpoint", lambda *a, **k: {"release": a[2], "percent": a[3]})
    assert deploy.main(["--namespace", "shop", "--release", "r-1", "--canary", "7"]) == 0
    assert json.loads(capsys.readouterr().out) == {"release": "r-1", "percent": 7}

    def refuse(*arguments: Any, **options: Any) -> None:
        raise GateClosed("no.")

    monkeypatch.setattr(deploy, "deploy_endpoint", refuse)
    assert deploy.main(["--namespace", "shop", "--release", "r-1"]) == 3
    assert capsys.readouterr().err == "deploy: no.\n"
