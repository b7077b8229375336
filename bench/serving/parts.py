"""A served request beside the sum of its parts, each measured bare in the same run.

    python -m bench.serving.parts --workdir .towerline --requests 300

Parts: a request to a KServe model that does nothing, the feature read, the query tower on ONNX Runtime (with its
inputs put together), the search and relevance control. Whole: `retrieval:predict` on one connection, without cache.
Expected: at most 1.3 times the sum (ratio <= 1.3). Prints a JSON object for the median, which is what is meant, on a
quiet machine, and for the 20th and 5th percentile: what others do on a busy machine only ever adds time, most of it to
the longest part. Times are milliseconds.
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
from components.common.manifest import current_release_id, read_release
from components.serving.http_client import HttpClient
from components.serving.opening import compute_on_one_thread, online_store, open_release
from components.serving.requests import SearchRequest
from components.serving.settings import ServingSettings

EXPECTED_RATIO = 1.3
_TRIVIAL_PORT = 18_199


Times = dict[str, list[float]]
"""Milliseconds of each round, by what was timed."""


def rounds(repeat: int, round_: Callable[[int], dict[str, float]]) -> Times:
    """The times of `round_(number)`, after a tenth of the repeats as warm-up."""
    made = [round_(number) for number in range(-repeat // 10, repeat)][repeat // 10 :]
    return {name: [times[name] for times in made] for name in made[0]}


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What a call returns, and its milliseconds."""
    begun = time.perf_counter()
    answer = call(*arguments)
    return answer, (time.perf_counter() - begun) * 1000


def bare(workdir: Path, requests: list[SearchRequest], repeat: int) -> Times:
    """The parts in this process on one thread, each by itself, request by request in the order of a request.

    One part repeated alone finds its data in the processor's cache, which no request does: there the others come in
    between.
    """
    release_id = str(current_release_id(workdir))
    compute_on_one_thread()
    store = online_store(read_release(workdir, release_id), workdir, ServingSettings())
    store.warm()
    release = open_release(workdir, release_id, ServingSettings())
    assert release.index is not None
    index = release.index

    def one(number: int) -> dict[str, float]:
        request = requests[number % len(requests)]
        times = {}
        (history,), times["features"] = timed(store.histories, [str(request.user_id)])
        made = release.make_request(request, history, release.now_us())
        vector, times["tower"] = timed(release.encoder.encode, [made])
        (found,), times["search"] = timed(index.find, vector, [request], True)
        _, times["control"] = timed(index.keep, request, found, True)
        return times

    return rounds(repeat, one)


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


def served(url: str, requests: list[SearchRequest], repeat: int) -> list[float]:
    """Times of `predict` on one keep-alive connection."""
    with HttpClient(url, 60.0) as client:

        def ask(number: int) -> dict[str, float]:
            request = requests[number % len(requests)]
            instance = {"query": request.query, "user_id": request.user_id, "k": request.k}
            return {"all": timed(client.post, PATH, {"instances": [instance]})[1]}

        return rounds(repeat, ask)["all"]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"))
    parser.add_argument("--requests", type=int, default=300)
    options = parser.parse_args()
    queries, _ = questions(options.workdir)
    store = online_store(
        read_release(options.workdir, str(current_release_id(options.workdir))), options.workdir, ServingSettings()
    )
    shoppers = [row["user_id"] for row in store.shoppers(50)] or ["nobody"]
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
    for quantile in (50, 20, 5):
        each = {name: round(float(np.percentile(times, quantile)), 3) for name, times in parts.items()}
        total, answer = round(sum(each.values()), 3), round(float(np.percentile(whole, quantile)), 3)
        figures = {"sum_ms": total, "served_ms": answer, "ratio": round(answer / total, 3)}
        print(json.dumps({"percentile": quantile, "parts_ms": each, **figures, "expected": EXPECTED_RATIO}))


if __name__ == "__main__":
    main()
