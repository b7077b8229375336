"""A million requests on one server: does its memory stay where it was, and does every kind of request end as it should?

    python -m bench.serving.soak --workdir .towerline --requests 1000000
    python -m bench.serving.soak --workdir .towerline --requests 100000 --cache off

Shoppers with and without a session, nobody, half-typed queries that no cache knows, query vectors, behaviours, looks at
the page, and hostile bodies come in a fixed random order over keep-alive connections. The server is started here unless
`--url` and `--pid` name one. Prints a JSON line for the first hundredth and for each tenth (requests, resident
megabytes) and one at the end: the growth since the first hundredth, the slope in megabytes per 100,000 requests since
the first tenth, and how often each kind got which status that it should not. Ends with 1 for a wrong answer or when
the growth is past `memory_growth_megabytes` of expected.toml.
"""

import argparse
import json
import random
import socket
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from bench.serving.load import PATH, questions
from bench.serving.parts import process
from components.common.files import read_json
from components.common.manifest import current_release_id, read_release
from components.index.products import Products
from components.serving.http_client import HttpClient

INFER, EVENTS = "/v2/models/query-tower/infer", "/v1/events"
SHARES = {"shopper": 25, "session": 25, "anonymous": 36, "vector": 2, "behaviour": 1, "page": 3, "hostile": 8}
"""Requests of each kind in a hundred; `--fresh` percent of the searches among them ask what was never asked."""
HOSTILE: tuple[tuple[str, bytes], ...] = (
    (PATH, b""),
    (PATH, b"hello"),
    (PATH, b'{"instances": [{"query": "lamp"'),
    (PATH, b'{"instances": [{"query": NaN}]}'),
    (PATH, b'{"instances": [{"query": "\xff\xfe"}]}'),
    (PATH, b"[" * 20_000 + b"]" * 20_000),
    (PATH, json.dumps({"instances": [{"query": "lamp " * 20_000}]}).encode()),
    (PATH, json.dumps({"instances": [{"query": "la\x00mp"}]}).encode()),
    (PATH, json.dumps({"instances": [{"query": "lamp", "k": 1_000_000}]}).encode()),
    (PATH, json.dumps({"instances": [{"query": "lamp", "k": -1}]}).encode()),
    (PATH, json.dumps({"instances": [{"query": "lamp"}] * 65}).encode()),
    (PATH, json.dumps({"instances": [{"query": "lamp", "filter": {"brand": "x' OR '1'='1"}}]}).encode()),
    (PATH, json.dumps({"instances": [{"query": "lamp", "filter": {"$or": [1]}}]}).encode()),
    (PATH, json.dumps({"instances": [{"query": "lamp", "release": "../../etc/passwd"}]}).encode()),
    (PATH, json.dumps({"instances": [{"query": "lamp", "history": {"product_ids": "p"}}]}).encode()),
    (INFER, b'{"inputs": []}'),
    (INFER, json.dumps({"inputs": [{"name": "query", "datatype": "FP32", "shape": [1], "data": [1]}]}).encode()),
    (EVENTS, b'{"user_id": "u", "product_id": "p", "action": "impression"}'),
    ("/v1/models/nothing:predict", b'{"instances": [{"query": "lamp"}]}'),
    ("/v2/models/../../etc/passwd/infer", b"{}"),
)
"""Bodies that deserve a 4xx."""

Asked = tuple[str, bytes]
"""A kind and the bytes that go over the wire."""


def post(path: str, body: bytes) -> bytes:
    """An HTTP request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str) -> bytes:
    """An HTTP request without a body."""
    return f"GET {path} HTTP/1.1\r\nhost: soak\r\n\r\n".encode()


def requests(
    queries: list[str], shoppers: list[str], products: list[str], fresh: float, seed: int = 17
) -> Iterator[Asked]:
    """Endless requests in a fixed random order."""
    draw = random.Random(seed)
    kinds, weights = list(SHARES), list(SHARES.values())
    while True:
        kind, shopper, query = draw.choices(kinds, weights)[0], draw.choice(shoppers), draw.choice(queries)
        if draw.random() * 100 < fresh:
            query = f"{query[: draw.randrange(1, len(query) + 1)]} {draw.randrange(10**9)}"
        search: dict[str, Any] = {"query": query, "k": draw.choice((10, 10, 10, 100))}
        if kind == "shopper":
            yield kind, post(PATH, json.dumps({"instances": [{**search, "user_id": shopper}]}).encode())
        elif kind == "session":
            session = {"user_id": shopper, "session_id": f"s-{shopper}"}
            yield kind, post(PATH, json.dumps({"instances": [{**search, **session}]}).encode())
        elif kind == "anonymous":
            yield kind, post(PATH, json.dumps({"instances": [search]}).encode())
        elif kind == "vector":
            tensor = {"name": "query", "datatype": "BYTES", "shape": [1], "data": [query]}
            yield kind, post(INFER, json.dumps({"inputs": [tensor]}).encode())
        elif kind == "behaviour":
            event = {"user_id": shopper, "product_id": draw.choice(products), "action": "click"}
            yield kind, post(EVENTS, json.dumps(event).encode())
        elif kind == "page":
            wanted = (f"/page/products?id={quote(draw.choice(products))}", f"/page/history?user_id={quote(shopper)}")
            yield kind, get(draw.choice(("/", "/metrics", "/v2/health/ready", *wanted)))
        else:
            yield kind, post(*draw.choice(HOSTILE))


def as_it_should(kind: str, status: int) -> bool:
    """Whether this kind of request ends so: hostile ones with a 4xx, all others with 200."""
    return 400 <= status < 500 if kind == "hostile" else status == 200


class Connection:
    """A keep-alive connection on which one request at a time is under way; opened again when the server closes it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket = socket.create_connection(address, 60)

    def send(self, request: bytes) -> None:
        """Sends a request."""
        self._socket.sendall(request)

    def status(self) -> int:
        """The status of the answer, once it has come as a whole."""
        data = self._socket.recv(65_536)
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        lower = head.lower()
        start = lower.find(b"content-length:")
        missing = int(lower[start + 15 :].split(b"\r\n", 1)[0]) - len(body) if start >= 0 else 0
        while missing > 0:
            missing -= len(self._more())
        if b"connection: close" in lower:
            self._socket.close()
            self._socket = socket.create_connection(self._address, 60)
        return int(head[9:12])

    def _more(self) -> bytes:
        data = self._socket.recv(65_536)
        if not data:
            raise SystemExit("the server closed a connection in the middle of an answer.")
        return data


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024, 1)


def soak(url: str, pid: int, source: Iterator[Asked], count: int, clients: int, seconds: float) -> dict[str, Any]:
    """Sends `count` requests, or what goes in `seconds`, in waves of `clients`; the figures of the last line."""
    parts = urlsplit(url)
    connections = [Connection((str(parts.hostname), int(parts.port or 80))) for _ in range(clients)]
    wrong: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    marks = [count // 100, *range(count // 10, count + 1, count // 10)]  # requests at which memory is looked at
    points = [(0, resident_megabytes(pid))]
    begun, sent = time.monotonic(), 0
    while sent < count and time.monotonic() - begun < seconds:
        wave = [next(source) for _ in connections]
        for connection, (_, request) in zip(connections, wave, strict=True):
            connection.send(request)
        for connection, (kind, _) in zip(connections, wave, strict=True):
            asked[kind] += 1
            status = connection.status()
            wrong[f"{kind}: {status}"] += not as_it_should(kind, status)
        sent += len(wave)
        if marks and sent >= marks[0]:
            points.append((sent, resident_megabytes(pid)))
            marks = marks[1:]
            print(json.dumps({"requests": sent, "megabytes": points[-1][1]}), flush=True)
    points.append((sent, resident_megabytes(pid)))
    settled = np.array(points[2:])
    return {
        "requests": sent,
        "per_second": round(sent / (time.monotonic() - begun), 1),
        "megabytes": [point[1] for point in points],
        "growth": round(points[-1][1] - points[1][1], 1),
        "slope": round(100_000 * float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0]), 3),
        "asked": dict(asked),
        "wrong": {answer: number for answer, number in wrong.items() if number},
    }


def main() -> int:
    """Starts a server, soaks it, prints; 1 when something is not as expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"))
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end sooner, with what was sent by then")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--cache", default="both", help="the server's setting: off, session, features or both")
    parser.add_argument("--fresh", type=float, default=1.0, help="percent of searches that no cache can know")
    parser.add_argument("--url", help="a server that runs already; give its --pid too")
    parser.add_argument("--pid", type=int)
    options = parser.parse_args()
    release = read_release(options.workdir, str(current_release_id(options.workdir)))
    products = Products(release.path("index", "products.parquet")).ids
    with ExitStack() as stack:
        url, pid = options.url, options.pid
        if url is None:
            announcement = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "server.json"
            command = ["components.serving", "--workdir", str(options.workdir), "--port", "0"]
            command += ["--announce", str(announcement), f"--set=serving.cache={options.cache}"]
            url = stack.enter_context(process(*command, announcement=announcement))
            pid = int(read_json(announcement)["pid"])
        with HttpClient(url, 60.0) as client:
            known = json.loads(client.read("/page/shoppers?limit=200"))["shoppers"]
        shoppers = [row["user_id"] for row in known] or ["nobody"]
        source = requests(sorted(set(questions(options.workdir)[0])), shoppers, list(products), options.fresh)
        found = soak(url, pid, source, options.requests, options.clients, options.seconds)
    print(json.dumps(found), flush=True)
    limits = tomllib.loads(Path(__file__).with_name("expected.toml").read_text(encoding="utf-8"))["limits"]
    return int(bool(found["wrong"]) or found["growth"] > limits["memory_growth_megabytes"])


if __name__ == "__main__":
    sys.exit(main())
