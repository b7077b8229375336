"""A real KServe server process: protocol, readiness, live events, promotion while serving, drain."""

import gc
import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.common.errors import BadSetting, NotFound, Unavailable
from components.common.manifest import set_current
from components.serving import server as module
from components.serving.http_client import HttpClient
from components.serving.remote_tower import RemoteTower
from tests.serving.conftest import ROOT, RunningServer
from tests.serving.fakes import FakeTower, TowerRequest, clicks, wait_until, write_manifest

NOW = 1_700_000_100_000_000
PREDICT, EXPLAIN = "/v1/models/retrieval:predict", "/v1/models/retrieval:explain"


@pytest.fixture
def client(server: RunningServer) -> HttpClient:
    return HttpClient(server.url, timeout=60)


def predict(client: HttpClient, query: str, **fields: Any) -> dict[str, Any]:
    """One prediction."""
    (answer,) = client.post(PREDICT, {"instances": [{"query": query, **fields}]})["predictions"]
    return answer


def ids(prediction: dict[str, Any]) -> list[str]:
    """Product ids of a prediction, best first."""
    return [product["product_id"] for product in prediction["products"]]


def test_a_prediction_has_the_promised_shape(client: HttpClient) -> None:
    answer = predict(client, "lamp", k=3)
    assert set(answer) == {"products", "release", "degraded"}
    assert (answer["release"], answer["degraded"], len(answer["products"])) == ("release-a", False, 3)
    assert set(answer["products"][0]) == {"product_id", "score"}


def test_several_instances_are_answered_in_their_order(client: HttpClient) -> None:
    body = {
        "instances": [{"query": "lamp", "k": 2}, {"query": "shoe", "k": 4}, {"query": "lamp", "user_id": "u1", "k": 2}]
    }
    answers = client.post(PREDICT, body)["predictions"]
    assert [len(answer["products"]) for answer in answers] == [2, 4, 2]
    assert answers[0] == predict(client, "lamp", k=2)
    assert answers[2] == predict(client, "lamp", user_id="u1", k=2)


def test_open_inference_gives_vectors_and_the_release_of_each_row(client: HttpClient) -> None:
    inputs = [
        {"name": "query", "datatype": "BYTES", "shape": [2], "data": ["lamp", "lamp"]},
        {"name": "user_id", "datatype": "BYTES", "shape": [2], "data": ["", "u1"]},
    ]
    answer = client.post("/v2/models/query-tower/infer", {"id": "7", "inputs": inputs})
    outputs = {output["name"]: output for output in answer["outputs"]}
    vectors = np.array(outputs["embedding"]["data"]).reshape(outputs["embedding"]["shape"])
    assert answer["id"] == "7"
    assert outputs["release"]["data"] == ["release-a", "release-a"]
    assert outputs["degraded"]["data"] == ["", ""]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)
    assert not np.allclose(vectors[0], vectors[1])


def test_open_inference_searches_too(client: HttpClient) -> None:
    inputs = [
        {"name": "query", "datatype": "BYTES", "shape": [1], "data": ["lamp"]},
        {"name": "k", "datatype": "INT32", "shape": [1], "data": [4]},
    ]
    outputs = {o["name"]: o["data"] for o in client.post("/v2/models/retrieval/infer", {"inputs": inputs})["outputs"]}
    assert outputs["product_id"] == ids(predict(client, "lamp", k=4))
    assert outputs["count"] == [4]


def test_metadata_names_the_tensors(client: HttpClient) -> None:
    _, metadata = client.ask("GET", "/v2/models/query-tower")
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["query", "user_id", "context"]
    assert metadata["outputs"][0] == {"name": "embedding", "datatype": "FP32", "shape": [-1, 32]}


def test_an_explanation_says_what_mattered(client: HttpClient) -> None:
    body = {"instances": [{"query": "acme lamp", "user_id": "u1", "k": 20}]}
    (answer,) = client.post(EXPLAIN, body)["explanations"]
    assert [item["product_id"] for item in answer["behaviours"]] == ["p5", "p4", "p3"]
    first = answer["products"][0]
    assert first["terms"] == [{"kind": "brand", "value": "Acme"}]
    assert {item["product_id"] for item in first["nearest"]} <= {"p3", "p4", "p5"}
    assert all(item["anonymous_rank"] is None or item["anonymous_rank"] >= 1 for item in answer["products"])


def test_a_behaviour_moves_the_same_shoppers_next_search(client: HttpClient) -> None:
    """Whatever is cached: the next answer is made of the new history, other shoppers' answers are not."""
    fields = {"user_id": "mover", "session_id": "s", "k": 5}
    before, stranger = predict(client, "lamp", **fields), predict(client, "lamp", k=5)
    assert "p33" not in ids(before)
    accepted = client.post("/v1/events", {"user_id": "mover", "product_id": "p33", "action": "click"})
    assert accepted == {"accepted": 1}
    assert "p33" in ids(predict(client, "lamp", **fields))
    assert predict(client, "lamp", k=5) == stranger


def test_a_search_joins_the_shoppers_history_behind_the_answer(client: HttpClient) -> None:
    client.post(PREDICT, {"instances": [{"query": "a lamp for later", "user_id": "u-new"}]})

    def recorded() -> bool:
        _, answer = client.ask("GET", "/page/history?user_id=u-new")
        return [item["query"] for item in answer["queries"]] == ["a lamp for later"]

    wait_until(recorded, 10)


def test_metrics_show_every_stage_finely(client: HttpClient, server: RunningServer) -> None:
    predict(client, "a query for the metrics", user_id="u1")
    text = urllib.request.urlopen(f"{server.url}/metrics", timeout=30).read().decode()
    for stage in ("features", "tower", "search", "control", "queue", "request"):
        assert f'towerline_stage_seconds_bucket{{le="0.0002",stage="{stage}"}}' in text
    assert 'towerline_release_info{release="release-a",role="stable"} 1.0' in text
    assert 'towerline_requests_total{model="retrieval",outcome="ok"}' in text
    assert 'towerline_http_responses_total{status="200"}' in text


def test_every_answer_carries_a_request_id_and_the_log_line_has_it(server: RunningServer) -> None:
    request = urllib.request.Request(
        f"{server.url}{PREDICT}", b'{"instances":[{"query":"lamp"}]}',
        {"content-type": "application/json; charset=utf-8", "x-request-id": "trace-me-17"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.headers["x-request-id"] == "trace-me-17"

    def logged() -> list[dict[str, Any]]:
        lines = (server.workdir / "server.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line.get("request_id") == "trace-me-17"]

    wait_until(logged)
    (line,) = logged()
    assert (line["status"], line["path"], line["releases"]) == (200, PREDICT, ["release-a"])


def test_the_page_and_its_look_ups_are_served_from_here_alone(client: HttpClient, server: RunningServer) -> None:
    with urllib.request.urlopen(f"{server.url}/", timeout=30) as response:
        page = response.read().decode()
        assert "default-src 'self'" in response.headers["content-security-policy"]
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert client.ask("GET", "/page/shoppers")[1] == {"shoppers": [{"user_id": "u1", "behaviours": 3}]}
    assert client.ask("GET", "/page/products?id=p1&id=nothing")[1]["products"]["p1"]["title"] == "Product 1"
    history = client.ask("GET", "/page/history?user_id=u1")[1]
    assert [item["product_id"] for item in history["behaviours"]] == ["p5", "p4", "p3"]
    assert client.ask("GET", "/page/about")[1]["simulated"] is True
    assert client.ask("GET", "/page/lexical?q=lamp")[1]["products"][0] == {"product_id": "p0", "score": 1.0}


def test_a_promotion_under_load_fails_no_request_and_mixes_no_release(
    start_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """While clients ask, two promotions and a rollback happen; every answer equals its own release's exact answer."""
    for name in ("release-a", "release-b"):
        write_manifest(tmp_path, name, current=name == "release-a")
    running = start_server("cache=both").wait()
    expected: dict[str, list[str]] = {}
    wrong: list[Any] = []
    stop = threading.Event()

    def load(number: int) -> None:
        with HttpClient(running.url, timeout=60) as client:
            while not stop.is_set():
                answer = predict(client, f"query {number}", k=5)
                key = f"{answer['release']}/{number}"
                if answer["degraded"] or expected.setdefault(key, ids(answer)) != ids(answer):
                    wrong.append(answer)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    with HttpClient(running.url, timeout=60) as client:
        for name in ("release-b", "release-a", "release-b"):
            set_current(tmp_path, name)
            wait_until(lambda name=name: predict(client, "promoted?", k=1)["release"] == name)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert {key.split("/")[0] for key in expected} == {"release-a", "release-b"}
    assert all(expected[f"release-a/{n}"] != expected[f"release-b/{n}"] for n in range(4))


def metrics_text(url: str) -> str:
    """The Prometheus page."""
    return urllib.request.urlopen(f"{url}/metrics", timeout=30).read().decode()


def test_a_full_server_refuses_at_once_and_a_stopped_one_answers_what_is_under_way(
    start_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """Past capacity: 503 with Retry-After. After SIGTERM: not ready, the request in the tower answered, exit code 0."""
    write_manifest(tmp_path, "release-a", current=True)
    (tmp_path / "releases" / "release-a" / "faults.json").write_text('{"slow_tower": 1.5}')
    running = start_server("tower_budget_ms=20000", "capacity=1", "retry_after_seconds=2", "drain_seconds=0.5").wait()
    answers: list[dict[str, Any]] = []
    slow, client = HttpClient(running.url, timeout=60), HttpClient(running.url, timeout=60)
    asking = threading.Thread(target=lambda: answers.append(predict(slow, "slow", k=2)))
    asking.start()
    wait_until(lambda: "towerline_waiting 1.0" in metrics_text(running.url))
    body = json.dumps({"instances": [{"query": "lamp"}]}).encode()
    request = urllib.request.Request(f"{running.url}{PREDICT}", body, {"content-type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert (caught.value.code, caught.value.headers["retry-after"]) == (503, "2")
    assert "capacity" in json.loads(caught.value.read())["error"]
    assert client.ask("GET", "/v2/health/ready")[0] == 200
    running.process.terminate()
    wait_until(lambda: client.ask("GET", "/v2/health/ready")[0] == 503)
    asking.join()
    assert len(answers[0]["products"]) == 2
    assert running.process.wait(30) == 0
    assert not (tmp_path / "server.json").exists()


def test_a_server_that_cannot_announce_itself_serves_all_the_same(
    start_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """As on a full disk, where nothing else of it needs to write."""
    write_manifest(tmp_path, "release-a", current=True)
    (tmp_path / "server.json").mkdir()
    with module.bound_socket("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    running = start_server(f"port={port}")
    client = HttpClient(f"http://127.0.0.1:{port}", timeout=30)
    wait_until(lambda: "will not find this server" in (tmp_path / "server.log").read_text(), 120)
    wait_until(lambda: client.ask("GET", "/v2/health/ready")[0] == 200)
    assert predict(client, "lamp", k=1)["release"] == "release-a"
    assert running.stop() == 0


def test_of_two_that_bound_a_port_the_one_that_may_not_listen_says_so() -> None:
    with module.bound_socket("127.0.0.1", 0) as first, socket.socket() as second:
        port = first.getsockname()[1]
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        second.bind(("127.0.0.1", port))
        first.listen()
        module.check_listening(first, "127.0.0.1", port)
        with pytest.raises(BadSetting, match=f"127.0.0.1:{port}: another process has it; choose another --port"):
            module.check_listening(second, "127.0.0.1", port)


def test_grpc_speaks_open_inference_on_loopback(server: RunningServer) -> None:
    import grpc
    from kserve import InferResponse
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

    tensor = messages.ModelInferRequest.InferInputTensor
    query = tensor(name="query", datatype="BYTES", shape=[1])
    query.contents.bytes_contents.append(b"lamp")
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(messages.ModelInferRequest(model_name="query-tower", inputs=[query]), timeout=30)
        assert [output.name for output in answer.outputs] == ["embedding", "release", "degraded"]
        assert InferResponse.from_grpc(answer).outputs[1].as_numpy().tolist() == [b"release-a"]
        query.contents.bytes_contents[0] = b""
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(messages.ModelInferRequest(model_name="query-tower", inputs=[query]), timeout=30)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "empty" in caught.value.details()


def test_two_servers_do_not_share_a_grpc_port(
    server: RunningServer, start_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    write_manifest(tmp_path, "release-a", current=True)
    second = start_server(f"grpc_port={server.grpc_port}")
    assert second.process.wait(120) == 2
    sentence = f"cannot listen on 127.0.0.1:{server.grpc_port} for gRPC; choose another serving.grpc_port."
    assert sentence in (tmp_path / "server.log").read_text()


def test_a_transformer_gets_the_predictors_vectors_with_its_own_features(server: RunningServer) -> None:
    """The same vectors as in one process, histories included; a release the predictor has not is refused."""
    local, remote = FakeTower("release-a"), RemoteTower(server.url, "release-a", 30.0)
    requests = [TowerRequest("lamp", clicks(), NOW), TowerRequest("shoe", clicks("p3", "p4"), NOW)]
    np.testing.assert_allclose(remote.encode(requests), local.encode(requests), atol=1e-6)
    with pytest.raises(Unavailable, match="release-z"):
        RemoteTower(server.url, "release-z", 30.0).encode(requests)


def test_a_server_without_a_release_or_a_port_says_so_in_one_sentence(tmp_path: Path, server: RunningServer) -> None:
    """Before anything slow is imported or loaded, and without a trace."""

    def ends_with(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "components.serving", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stderr

    code, sentence = ends_with("--workdir", str(tmp_path))
    assert (code, "no promoted release" in sentence, sentence.count("\n")) == (2, True, 1)
    code, sentence = ends_with("--workdir", str(server.workdir), "--port", server.url.rsplit(":", 1)[1])
    assert (code, "another process has it" in sentence, sentence.count("\n")) == (2, True, 1)
    code, sentence = ends_with("--workdir", str(server.workdir), "--set", "serving.capcity=3")
    assert (code, "Did you mean 'capacity'" in sentence, sentence.count("\n")) == (2, True, 1)


def test_what_is_frozen_while_serving_is_freed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays frozen is never freed, and libraries such as DuckDB's list it line by line at the process's exit."""

    def run(*_: object) -> None:
        gc.freeze()
        raise NotFound("nothing to serve.")

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "read_release", lambda *_: None)
    monkeypatch.setattr("components.serving.opening.open_backends", lambda *_: None)
    with pytest.raises(NotFound, match="nothing to serve"):
        module.serve(tmp_path, "release-a", "127.0.0.1", 0)
    assert gc.get_freeze_count() == 0
