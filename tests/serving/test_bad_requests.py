"""Whatever a client sends, it gets a 4xx with one sentence, and the next good request is answered as before."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.serving.conftest import RunningServer

PREDICT, EXPLAIN = "/v1/models/retrieval:predict", "/v1/models/retrieval:explain"
INFER, RETRIEVE = "/v2/models/query-tower/infer", "/v2/models/retrieval/infer"
EVENTS = "/v1/events"
JSON = {"content-type": "application/json"}
DEEP = 100_000
MOMENT = 1_700_000_000_000_000


def instances(*items: Any) -> dict[str, Any]:
    return {"instances": list(items)}


def with_filter(**fields: Any) -> dict[str, Any]:
    return instances({"query": "lamp", "filter": fields})


def with_history(ids: list, actions: list, times: list) -> dict[str, Any]:
    return instances({"query": "lamp", "history": {"product_ids": ids, "actions": actions, "timestamps": times}})


def tensor(name: str = "query", **fields: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [1], "data": ["lamp"], **fields}


def event(**fields: Any) -> dict[str, Any]:
    return {"user_id": "u9", "product_id": "p1", "action": "click", **fields}


BODIES: list[tuple[str, str, Any]] = [
    # the body as a whole
    ("nothing", PREDICT, b""),
    ("blanks", PREDICT, b"   "),
    ("text", PREDICT, b"hello"),
    ("half an object", PREDICT, b'{"instances": [{"query": "lamp"'),
    ("NaN", PREDICT, b'{"instances": [{"query": "lamp", "latitude": NaN}]}'),
    ("infinity", PREDICT, b'{"instances": [{"query": "lamp", "filter": {"price_min": Infinity}}]}'),
    ("a number too large for a float", PREDICT, b'{"instances": [{"query": "lamp", "latitude": 1e999}]}'),
    ("not UTF-8", PREDICT, b'{"instances": [{"query": "\xff\xfe"}]}'),
    ("UTF-16", PREDICT, json.dumps(instances({"query": "lamp"})).encode("utf-16")),
    ("binary", PREDICT, bytes(range(256))),
    ("half a surrogate pair", PREDICT, b'{"instances": [{"query": "\\ud800"}]}'),
    ("deep lists", PREDICT, b"[" * DEEP + b"]" * DEEP),
    ("deep objects", PREDICT, b'{"a":' * DEEP + b"1" + b"}" * DEEP),
    ("deep instances", PREDICT, b'{"instances":' + b"[" * 500 + b"]" * 500 + b"}"),
    ("null", PREDICT, None),
    ("a list", PREDICT, []),
    ("a number", PREDICT, 7),
    ("a string", PREDICT, "lamp"),
    ("an empty object", PREDICT, {}),
    ("another key", PREDICT, {"inputs": [{"query": "lamp"}]}),
    ("one key too many", PREDICT, {"instances": [{"query": "lamp"}], "parameters": {}}),
    ("a cloud event", PREDICT, {"specversion": "1.0", "type": "x", "source": "y", "id": "1", "data": {"instances": 1}}),
    ("a longer body than allowed", PREDICT, instances({"query": "x" * 2_000_000})),
    # instances
    ("instances null", PREDICT, {"instances": None}),
    ("instances empty", PREDICT, {"instances": []}),
    ("instances an object", PREDICT, {"instances": {"query": "lamp"}}),
    ("instances a string", PREDICT, {"instances": "lamp"}),
    ("instances of strings", PREDICT, instances("lamp")),
    ("instances of nulls", PREDICT, instances(None)),
    ("instances of lists", PREDICT, instances(["lamp"])),
    ("an empty instance", PREDICT, instances({})),
    ("too many instances", PREDICT, instances(*[{"query": "lamp"}] * 65)),
    ("a bad one among good ones", PREDICT, instances({"query": "lamp"}, {"query": ""})),
    ("an unknown field", PREDICT, instances({"query": "lamp", "limit": 3})),
    ("a misspelt field", PREDICT, instances({"qeury": "lamp"})),
    ("an empty field name", PREDICT, instances({"query": "lamp", "": 1})),
    # query
    ("query missing", PREDICT, instances({"user_id": "u1"})),
    ("query null", PREDICT, instances({"query": None})),
    ("query a number", PREDICT, instances({"query": 5})),
    ("query a list", PREDICT, instances({"query": ["lamp"]})),
    ("query an object", PREDICT, instances({"query": {"text": "lamp"}})),
    ("query a boolean", PREDICT, instances({"query": True})),
    ("query empty", PREDICT, instances({"query": ""})),
    ("query blank", PREDICT, instances({"query": " \u3000 "})),
    ("query of 100 kB", PREDICT, instances({"query": "lamp " * 20_000})),
    ("query of 100 kB in four-byte characters", PREDICT, instances({"query": "\U0001f4a1" * 25_000})),
    ("query with a null character", PREDICT, instances({"query": "la\x00mp"})),
    ("query with an escape sequence", PREDICT, instances({"query": "\x1b[31mlamp"})),
    ("query with a line break", PREDICT, instances({"query": "lamp\r\nX-Header: 1"})),
    ("query with C1 controls", PREDICT, instances({"query": "lamp\x85"})),
    # user, session, release
    ("user a number", PREDICT, instances({"query": "lamp", "user_id": 17})),
    ("user a list", PREDICT, instances({"query": "lamp", "user_id": ["u1"]})),
    ("user with controls", PREDICT, instances({"query": "lamp", "user_id": "u\x00"})),
    ("user of 100 kB", PREDICT, instances({"query": "lamp", "user_id": "u" * 100_000})),
    ("session a number", PREDICT, instances({"query": "lamp", "session_id": 1.5})),
    ("release unknown", PREDICT, instances({"query": "lamp", "release": "20200101-000000"})),
    ("release a path", PREDICT, instances({"query": "lamp", "release": "../../../etc/passwd"})),
    # k
    ("k zero", PREDICT, instances({"query": "lamp", "k": 0})),
    ("k negative", PREDICT, instances({"query": "lamp", "k": -1})),
    ("k a million", PREDICT, instances({"query": "lamp", "k": 1_000_000})),
    ("k beyond 64 bits", PREDICT, instances({"query": "lamp", "k": 10**30})),
    ("k a fraction", PREDICT, instances({"query": "lamp", "k": 2.5})),
    ("k a whole float", PREDICT, instances({"query": "lamp", "k": 10.0})),
    ("k a text", PREDICT, instances({"query": "lamp", "k": "10"})),
    ("k a boolean", PREDICT, instances({"query": "lamp", "k": True})),
    ("k null", PREDICT, instances({"query": "lamp", "k": None})),
    ("k a list", PREDICT, instances({"query": "lamp", "k": [10]})),
    # place and time
    ("latitude beyond the pole", PREDICT, instances({"query": "lamp", "latitude": 91})),
    ("longitude a text", PREDICT, instances({"query": "lamp", "longitude": "east"})),
    ("latitude a boolean", PREDICT, instances({"query": "lamp", "latitude": True})),
    ("latitude of 400 digits", PREDICT, b'{"instances": [{"query": "lamp", "latitude": ' + b"9" * 400 + b"}]}"),
    ("country a number", PREDICT, instances({"query": "lamp", "country": 49})),
    ("now a text", PREDICT, instances({"query": "lamp", "now": "2026-01-01"})),
    ("relevance a text", PREDICT, instances({"query": "lamp", "relevance": "no"})),
    ("record a number", PREDICT, instances({"query": "lamp", "record": 0})),
    ("now negative", PREDICT, instances({"query": "lamp", "now": -1})),
    ("now in milliseconds", PREDICT, instances({"query": "lamp", "now": MOMENT // 1000})),
    ("now beyond time", PREDICT, instances({"query": "lamp", "now": 2**63})),
    # filter
    ("filter a text", PREDICT, instances({"query": "lamp", "filter": "brand == 'x'"})),
    ("filter a list", PREDICT, instances({"query": "lamp", "filter": [{"brand": "x"}]})),
    ("filter with an unknown field", PREDICT, with_filter(colour="red")),
    ("filter with an operator as a field", PREDICT, with_filter(**{"$or": [1]})),
    ("filter with an operator as a value", PREDICT, with_filter(brand={"$ne": ""})),
    ("filter with SQL", PREDICT, with_filter(brand="x' OR '1'='1")),
    ("filter with an expression", PREDICT, with_filter(brand='x" || brand != "')),
    ("filter closing a list", PREDICT, with_filter(shop_id="1] or price in [2")),
    ("filter with a template", PREDICT, with_filter(category="{category}")),
    ("filter with a wildcard", PREDICT, with_filter(country="%")),
    ("filter with a command", PREDICT, with_filter(brand="x; drop collection items")),
    ("filter with a comparison", PREDICT, with_filter(price_min="> 5")),
    ("filter brand a number", PREDICT, with_filter(brand=5)),
    ("filter brand empty", PREDICT, with_filter(brand="")),
    ("filter brand with controls", PREDICT, with_filter(brand="a\x07")),
    ("filter brand of 100 kB", PREDICT, with_filter(brand="b" * 100_000)),
    ("filter price negative", PREDICT, with_filter(price_min=-0.01)),
    ("filter price a boolean", PREDICT, with_filter(price_max=True)),
    ("filter prices the wrong way round", PREDICT, with_filter(price_min=10, price_max=5)),
    ("filter in_stock a number", PREDICT, with_filter(in_stock=1)),
    ("filter in_stock a text", PREDICT, with_filter(in_stock="yes")),
    # history
    ("history a list", PREDICT, instances({"query": "lamp", "history": ["p1"]})),
    ("history with unequal lists", PREDICT, instances({"query": "lamp", "history": {"product_ids": ["p1"]}})),
    ("history with an unknown action", PREDICT, with_history(["p"], ["stare"], [MOMENT])),
    ("history with action 9", PREDICT, with_history(["p"], [9], [MOMENT])),
    ("history at no time", PREDICT, with_history(["p"], [1], ["now"])),
    ("history in seconds", PREDICT, with_history(["p"], [1], [MOMENT // 1_000_000])),
    ("history without end", PREDICT, with_history(["p"] * 2000, [1] * 2000, [MOMENT] * 2000)),
    ("history of numbers", PREDICT, with_history([1], [1], [MOMENT])),
    # explain
    ("explain nothing", EXPLAIN, {}),
    ("explain two", EXPLAIN, instances({"query": "lamp"}, {"query": "shoe"})),
    ("explain an empty query", EXPLAIN, instances({"query": ""})),
    ("explain the tower", "/v1/models/query-tower:explain", instances({"query": "lamp"})),
    # Open Inference
    ("infer nothing", INFER, b""),
    ("infer text", INFER, b"hello"),
    ("infer an empty object", INFER, {}),
    ("infer no tensors", INFER, {"inputs": []}),
    ("infer a tensor that is none", INFER, {"inputs": ["query"]}),
    ("infer without query", INFER, {"inputs": [tensor("user_id")]}),
    ("infer an unknown tensor", INFER, {"inputs": [tensor(), tensor("age")]}),
    ("infer query twice", INFER, {"inputs": [tensor(), tensor()]}),
    ("infer numbers", INFER, {"inputs": [tensor(data=[5])]}),
    ("infer the wrong datatype", INFER, {"inputs": [tensor(datatype="FP32")]}),
    ("infer an unknown datatype", INFER, {"inputs": [tensor(datatype="TEXT")]}),
    ("infer a shape that lies", INFER, {"inputs": [tensor(shape=[3])]}),
    ("infer a negative shape", INFER, {"inputs": [tensor(shape=[-1])]}),
    ("infer no shape", INFER, {"inputs": [tensor(shape=[])]}),
    ("infer three dimensions", INFER, {"inputs": [tensor(shape=[1, 1, 1])]}),
    ("infer no rows", INFER, {"inputs": [tensor(shape=[0], data=[])]}),
    ("infer too many rows", INFER, {"inputs": [tensor(shape=[65], data=["x"] * 65)]}),
    ("infer an empty query", INFER, {"inputs": [tensor(data=[""])]}),
    ("infer a query of 100 kB", INFER, {"inputs": [tensor(data=["x" * 100_000])]}),
    ("infer controls", INFER, {"inputs": [tensor(data=["\x00"])]}),
    ("infer fewer users than queries", INFER, {"inputs": [tensor(shape=[2], data=["a", "b"]), tensor("user_id")]}),
    ("infer a context that is no JSON", INFER, {"inputs": [tensor(), tensor("context", data=["{"])]}),
    ("infer a context with a query", INFER, {"inputs": [tensor(), tensor("context", data=['{"query": "x"}'])]}),
    ("infer an unknown output", INFER, {"inputs": [tensor()], "outputs": [{"name": "logits"}]}),
    ("infer an unknown release", INFER, {"inputs": [tensor()], "parameters": {"release": "nobody"}}),
    ("infer a release that is a number", INFER, {"inputs": [tensor()], "parameters": {"release": 5}}),
    ("infer deep JSON", INFER, b'{"inputs":' + b"[" * DEEP + b"]" * DEEP + b"}"),
    ("infer NaN", INFER, b'{"inputs": [{"name": "query", "shape": [NaN], "datatype": "BYTES", "data": ["x"]}]}'),
    ("infer v1", INFER, instances({"query": "lamp"})),
    ("infer k twice", RETRIEVE, {"inputs": [tensor(), tensor("k", datatype="INT32", shape=[2], data=[1, 2])]}),
    ("infer k a million", RETRIEVE, {"inputs": [tensor(), tensor("k", datatype="INT32", data=[1_000_000])]}),
    ("infer k a text", RETRIEVE, {"inputs": [tensor(), tensor("k", datatype="INT32", data=["ten"])]}),
    ("predict the tower", "/v1/models/query-tower:predict", instances({"query": "lamp"})),
    # events
    ("event nothing", EVENTS, b""),
    ("event text", EVENTS, b"click"),
    ("event null", EVENTS, None),
    ("event a list", EVENTS, [event()]),
    ("event empty", EVENTS, {}),
    ("event without user", EVENTS, event(user_id=None)),
    ("event of an empty user", EVENTS, event(user_id="")),
    ("event without product", EVENTS, event(product_id=None)),
    ("event without action", EVENTS, event(action=None)),
    ("event impression", EVENTS, event(action="impression")),
    ("event unknown action", EVENTS, event(action="steal")),
    ("event a numeric user", EVENTS, event(user_id=9)),
    ("event an unknown field", EVENTS, event(price=3)),
    ("event in the far future", EVENTS, event(timestamp="2999-01-01T00:00:00Z")),
    ("event at a negative time", EVENTS, event(timestamp=-5)),
    ("event at a time in milliseconds", EVENTS, event(timestamp=1_792_000_000_000)),
    ("event at a time without offset", EVENTS, event(timestamp="2026-01-01T00:00:00")),
    ("event at no time", EVENTS, event(timestamp="noon")),
    ("event of a product id of 100 kB", EVENTS, event(product_id="p" * 100_000)),
    ("events none", EVENTS, {"events": []}),
    ("events too many", EVENTS, {"events": [event()] * 101}),
    ("events with a bad one", EVENTS, {"events": [event(), 5]}),
    ("event both search and click", EVENTS, event(query="lamp")),
    ("event deep", EVENTS, b"[" * DEEP + b"]" * DEEP),
    # models
    ("an unknown model", "/v1/models/ranking:predict", instances({"query": "lamp"})),
    ("an unknown model in v2", "/v2/models/ranking/infer", {"inputs": [tensor()]}),
    ("a model version", "/v2/models/query-tower/versions/3/infer", {"inputs": [tensor()]}),
    ("unloading a model", "/v2/repository/models/query-tower/unload", {}),
    ("loading a model", "/v2/repository/models/query-tower/load", {}),
]  # fmt: skip

HEADERS: list[tuple[str, str, str, dict[str, str], bytes]] = [
    ("a form", "POST", PREDICT, {"content-type": "application/x-www-form-urlencoded"}, b"query=lamp"),
    ("plain text", "POST", PREDICT, {"content-type": "text/plain"}, b'{"instances": [{"query": "lamp"}]}'),
    ("XML", "POST", EVENTS, {"content-type": "application/xml"}, b"<event/>"),
    ("an upload", "POST", INFER, {"content-type": "multipart/form-data; boundary=x"}, b"--x--"),
    ("a broken content type", "POST", PREDICT, {"content-type": ";;;"}, b"{}"),
    ("a binary CloudEvent", "POST", PREDICT, {**JSON, "ce-specversion": "1.0", "ce-type": "x"}, b"{}"),
    ("binary tensors of no length", "POST", INFER, {"content-type": "application/octet-stream"}, b"abc"),
    ("binary tensors of a silly length", "POST", INFER,
     {"content-type": "application/octet-stream", "inference-header-content-length": "many"}, b"abc"),
    ("binary tensors that end early", "POST", INFER,
     {"content-type": "application/octet-stream", "inference-header-content-length": "107"},
     b'{"inputs":[{"name":"query","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":900}}]}         abc'),
    ("binary tensors for v1", "POST", PREDICT,
     {"content-type": "application/octet-stream", "inference-header-content-length": "2"}, b"{}"),
    ("the wrong method", "GET", PREDICT, {}, b""),
    ("deleting a model", "DELETE", "/v2/models/query-tower", {}, b""),
    ("putting events", "PUT", EVENTS, JSON, b"{}"),
    ("an unknown path", "GET", "/admin", {}, b""),
    ("a path upwards", "GET", "/page/../settings.py", {}, b""),
    ("an encoded path upwards", "GET", "/page/..%2f..%2fserver.py", {}, b""),
    ("a page file that is none", "GET", "/page/secrets.txt", {}, b""),
    ("a history of nobody", "GET", "/page/history", {}, b""),
    ("a history of a control character", "GET", "/page/history?user_id=%00", {}, b""),
    ("no products", "GET", "/page/products", {}, b""),
    ("too many shoppers", "GET", "/page/shoppers?limit=100000", {}, b""),
    ("shoppers by text", "GET", "/page/shoppers?limit=all", {}, b""),
    ("an unknown model's readiness", "GET", "/v2/models/ranking/ready", {}, b""),
    ("a model version's metadata", "GET", "/v2/models/query-tower/versions/2", {}, b""),
]  # fmt: skip


@pytest.fixture(scope="module")
def connection(server: RunningServer) -> Iterator[http.client.HTTPConnection]:
    """One keep-alive connection: a bad request must not spoil it for the next."""
    parts = urlsplit(server.url)
    opened = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    yield opened
    opened.close()


def send(
    connection: http.client.HTTPConnection, method: str, path: str, headers: dict, body: bytes
) -> tuple[int, bytes]:
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
    except (http.client.RemoteDisconnected, BrokenPipeError):
        connection.close()  # the server hung up on an over-long body; ask again on a new connection
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
    return response.status, response.read()


def refused_with_a_sentence(status: int, body: bytes) -> None:
    assert 400 <= status < 500, (status, body[:300])
    sentence = json.loads(body)["error"]
    assert isinstance(sentence, str)
    assert 5 < len(sentence) < 600
    assert "\n" not in sentence
    assert "Traceback" not in sentence


def test_the_table_is_long_enough() -> None:
    assert len(BODIES) + len(HEADERS) >= 180
    assert len({name for name, *_ in [*BODIES, *HEADERS]}) == len(BODIES) + len(HEADERS)


@pytest.mark.parametrize(("path", "body"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_bad_body_gets_a_4xx_and_a_sentence(connection: http.client.HTTPConnection, path: str, body: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    refused_with_a_sentence(*send(connection, "POST", path, JSON, content))


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS]
)
def test_a_bad_method_path_or_header_gets_a_4xx_and_a_sentence(
    connection: http.client.HTTPConnection, method: str, path: str, headers: dict, body: bytes
) -> None:
    refused_with_a_sentence(*send(connection, method, path, headers, body))


def test_the_next_good_request_is_answered_as_before(connection: http.client.HTTPConnection) -> None:
    """After every bad one: the same products, not degraded, and the server still ready."""
    body = json.dumps(instances({"query": "lamp", "k": 5, "filter": {"brand": "Levi's"}})).encode()
    answers = []
    for _, path, bad in BODIES[::7]:
        content = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
        send(connection, "POST", path, JSON, content)
        status, text = send(connection, "POST", PREDICT, JSON, body)
        assert status == 200
        answers.append(json.loads(text)["predictions"][0])
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["degraded"] is False
    assert len(answers[0]["products"]) == 5
    assert send(connection, "GET", "/v2/health/ready", {}, b"")[0] == 200
