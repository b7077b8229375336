"""Load on a server over keep-alive connections on loopback, every client one connection that asks again at once.

    python -m bench.serving.load --workdir .towerline --clients 1,16,64 --seconds 20

Queries and shoppers come from the release's golden requests, made different from each other by a suffix (unless
`--repeat`), so that no cache answers them. Prints a JSON object a row: requests a second, quantiles, failures, and
the share of each stage from the server's own histograms.
"""

import argparse
import asyncio
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from components.common.errors import NotFound
from components.common.files import read_json
from components.common.manifest import current_release_id, read_release
from components.serving.client import running_server

PATH = "/v1/models/retrieval:predict"
STAGES = ("queue", "features", "tower", "search", "control", "request")


@dataclass
class Row:
    """What one level of concurrency gave. Times in milliseconds."""

    clients: int
    seconds: float
    times: list[float] = field(default_factory=list)
    failures: int = 0
    degraded: int = 0

    def summary(self) -> dict[str, Any]:
        """The row as plain values."""
        quantiles = (
            {f"p{q}_ms": round(float(np.percentile(self.times, q)), 2) for q in (50, 95, 99)} if self.times else {}
        )
        return {
            "clients": self.clients,
            "requests": len(self.times),
            "per_second": round(len(self.times) / self.seconds, 1),
            **quantiles,
            "failures": self.failures,
            "degraded": self.degraded,
        }


def bodies(queries: Sequence[str], users: Sequence[str | None], k: int, repeat: bool, seed: int) -> Iterator[bytes]:
    """Endless request bodies, in a fixed random order."""
    draw = random.Random(seed)
    while True:
        query, user = draw.choice(queries), draw.choice(users)
        instance: dict[str, Any] = {"query": query if repeat else f"{query} {draw.randrange(10**9)}", "k": k}
        if user is not None:
            instance["user_id"] = user
        yield json.dumps({"instances": [instance]}).encode()


async def client(url: str, source: Iterator[bytes], until: float, row: Row) -> None:
    """One connection that asks again as soon as it is answered."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST {PATH} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\ncontent-length: "
    try:
        while time.perf_counter() < until:
            body = next(source)
            begun = time.perf_counter()
            writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
            status, answer = await _answer(reader)
            row.times.append((time.perf_counter() - begun) * 1000)
            row.failures += status != 200
            row.degraded += status == 200 and b'"degraded":false' not in answer
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    start = lower.index(b"content-length:") + len(b"content-length:")
    length = int(lower[start : lower.index(b"\r\n", start)])
    return int(head[9:12]), await reader.readexactly(length)


async def measure(url: str, clients: int, seconds: float, sources: Sequence[Iterator[bytes]]) -> Row:
    """One level of concurrency for `seconds`."""
    row = Row(clients, seconds)
    until = time.perf_counter() + seconds
    await asyncio.gather(*(client(url, source, until, row) for source in sources))
    return row


def server_metrics(url: str) -> dict[str, float]:
    """Seconds spent in each stage since the server started, and its resident memory; empty for another server."""
    try:
        text = urllib.request.urlopen(f"{url}/metrics", timeout=30).read().decode()
    except urllib.error.HTTPError:
        return {}
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    found = {stage: float(values.get(f'towerline_stage_seconds_sum{{stage="{stage}"}}', 0.0)) for stage in STAGES}
    return {**found, "memory": float(values.get("process_resident_memory_bytes", 0.0))}


def questions(workdir: Path) -> tuple[list[str], list[str | None]]:
    """Golden queries of the served release, and shoppers the server offers (or nobody)."""
    release_id = current_release_id(workdir)
    if release_id is None:
        raise NotFound(f"{workdir} has no promoted release.")
    golden = read_json(read_release(workdir, release_id).path("golden.json"))
    return [item["request"]["query"] for item in golden], [None]


def main() -> None:
    """Runs the levels one after another and prints a JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"))
    parser.add_argument("--url", help="a server; default: the one that runs on the work directory")
    parser.add_argument("--clients", default="1,16,64", help="levels of concurrency")
    parser.add_argument("--seconds", type=float, default=20.0, help="time per level")
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--anonymous", action="store_true", help="no shopper ids")
    parser.add_argument("--repeat", action="store_true", help="repeat queries, so that caches help")
    options = parser.parse_args()
    url = options.url or running_server(options.workdir)
    if url is None:
        raise SystemExit(f"no server runs on {options.workdir}; start `python pipeline.py serve`.")
    queries, users = questions(options.workdir)
    if not options.anonymous:
        shoppers = json.load(urllib.request.urlopen(f"{url}/page/shoppers?limit=200", timeout=60))["shoppers"]
        users = [shopper["user_id"] for shopper in shoppers] or users
    for clients in map(int, options.clients.split(",")):
        sources = [bodies(queries, users, options.k, options.repeat, seed) for seed in range(clients)]
        before = server_metrics(url)
        row = asyncio.run(measure(url, clients, options.seconds, sources))
        after = server_metrics(url)
        each = max(1, len(row.times))
        stages = {stage: round(1000 * (after[stage] - before[stage]) / each, 3) for stage in STAGES if stage in after}
        megabytes = [round(found.get("memory", 0.0) / 2**20, 1) for found in (before, after)]
        print(json.dumps({**row.summary(), "stage_ms_per_request": stages, "megabytes": megabytes}), flush=True)


if __name__ == "__main__":
    main()
