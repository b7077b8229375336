"""A served request beside the sum of its parts, each measured bare in the same run.

    python -m bench.serving.parts --workdir .towerline --requests 300

Parts: a request to a KServe model that does nothing, the feature read, the query tower on ONNX Runtime (with its
inputs put together), the search and relevance control. Whole: `retrieval:predict` on one connection, without cache.
Expected: at most 1.3 times the sum (ratio <= 1.3). Prints one JSON object; times are p50 in milliseconds.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.serving.load import PATH, questions
from components.common.errors import Unavailable
from components.common.files import read_json
from components.common.manifest import current_release_id
from components.serving.http_client import HttpClient
from components.serving.online_store import OnlineStore
from components.serving.opening import open_release
from components.serving.requests import SearchRequest
from components.serving.settings import ServingSettings

EXPECTED_RATIO = 1.3
_TRIVIAL_PORT = 18_199


def p50(repeat: int, call: Callable[[int], Any]) -> float:
    """Median milliseconds of `call(number)` after a tenth of the repeats as warm-up."""
    times = []
    for number in range(-repeat // 10, repeat):
        begun = time.perf_counter()
        call(number)
        times.append((time.perf_counter() - begun) * 1000)
    return round(float(np.median(times[repeat // 10 :])), 3)


def bare(workdir: Path, requests: list[SearchRequest], repeat: int) -> dict[str, float]:
    """The parts in this process, one after another, on one thread."""
    store = OnlineStore(workdir, "local")
    store.warm()
    release = open_release(workdir, str(current_release_id(workdir)), ServingSettings())
    assert release.index is not None
    index, now = release.index, release.now_us()
    histories = [store.histories([str(request.user_id)])[0] for request in requests]
    inputs = [release.make_request(r, history, now) for r, history in zip(requests, histories, strict=True)]
    vectors = [release.encoder.encode([item]) for item in inputs]
    found = [index.find(vector, [request], True)[0] for vector, request in zip(vectors, requests, strict=True)]

    def at(items: list[Any], number: int) -> Any:
        return items[number % len(items)]

    return {
        "features": p50(repeat, lambda n: store.histories([str(at(requests, n).user_id)])),
        "tower": p50(repeat, lambda n: release.encoder.encode([at(inputs, n)])),
        "search": p50(repeat, lambda n: index.find(at(vectors, n), [at(requests, n)], True)),
        "control": p50(repeat, lambda n: index.keep(at(requests, n), at(found, n), True)),
    }


@contextmanager
def process(*command: str, url: str = "", announcement: Path | None = None) -> Iterator[str]:
    """A server process that answers; its URL. Stopped at the end."""
    with open(os.devnull, "wb") as nowhere:
        started = subprocess.Popen([sys.executable, "-m", *command], stdout=nowhere, stderr=nowhere)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if announcement is not None and announcement.exists():
                url = read_json(announcement)["url"]
            if url and _answers(url):
                break
            time.sleep(0.2)
        yield url
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(60)


def _answers(url: str) -> bool:
    try:
        with HttpClient(url, 5.0) as client:
            return client.ask("GET", "/v2/health/ready")[0] == 200
    except Unavailable:
        return False


def served(url: str, requests: list[SearchRequest], repeat: int) -> float:
    """p50 of `predict` on one keep-alive connection."""
    with HttpClient(url, 60.0) as client:

        def ask(number: int) -> None:
            request = requests[number % len(requests)]
            client.post(PATH, {"instances": [{"query": request.query, "user_id": request.user_id, "k": request.k}]})

        return p50(repeat, ask)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"))
    parser.add_argument("--requests", type=int, default=300)
    options = parser.parse_args()
    queries, _ = questions(options.workdir)
    shoppers = [row["user_id"] for row in OnlineStore(options.workdir, "local").shoppers(50)] or ["nobody"]
    requests = [SearchRequest(query, user_id=shoppers[n % len(shoppers)], k=100) for n, query in enumerate(queries)]
    parts = bare(options.workdir, requests, options.requests)
    with process("bench.serving.trivial", "--port", str(_TRIVIAL_PORT), url=f"http://127.0.0.1:{_TRIVIAL_PORT}") as url:
        parts["kserve"] = served(url, requests, options.requests)
    with tempfile.TemporaryDirectory() as folder:
        announcement = Path(folder) / "server.json"
        command = ["components.serving", "--workdir", str(options.workdir), "--port", "0"]
        command += ["--announce", str(announcement), "--set=serving.cache=off", "--set=serving.access_log=false"]
        with process(*command, announcement=announcement) as url:
            whole = served(url, requests, options.requests)
    total = round(sum(parts.values()), 3)
    ratio = round(whole / total, 3)
    print(
        json.dumps({"parts_ms": parts, "sum_ms": total, "served_ms": whole, "ratio": ratio, "expected": EXPECTED_RATIO})
    )


if __name__ == "__main__":
    main()
