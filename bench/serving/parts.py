"""A served request beside the sum of its parts, each measured bare, request by request in turn.

    python -m bench.serving.parts --workdir .towerline --requests 300

Parts: a request to a KServe model that does nothing but give a ready answer of as many products, the feature read, the
query tower on ONNX Runtime (with its inputs put together), the search and relevance control. Whole: `retrieval:predict`
on one connection, without cache. Each round takes the parts one after another and then the whole. Asked again and again
by itself (`--apart`: KServe, the other parts, the whole), each would have the machine of another minute, and a part
that never pauses finds all it needs in the processor's caches, which no request does: it takes a half to two thirds of
the time. Expected: at most 1.3 times the sum (ratio <= 1.3). Prints a JSON object for the median, which is what is
meant, on a quiet machine, and for the 20th and 5th percentile: what others do on a busy machine only ever adds time,
most of it to the longest part. Times are milliseconds.
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
from contextlib import ExitStack, contextmanager
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


def rounds(repeat: int, *steps: Callable[[int], dict[str, float]]) -> Times:
    """The times of all `step(number)`, one after another in each round, after a tenth of the repeats as warm-up."""
    made: list[dict[str, float]] = []
    for number in range(-repeat // 10, repeat):
        made.append({name: time for step in steps for name, time in step(number).items()})
    return {name: [times[name] for times in made[repeat // 10 :]] for name in made[0]}


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What a call returns, and its milliseconds."""
    begun = time.perf_counter()
    answer = call(*arguments)
    return answer, (time.perf_counter() - begun) * 1000


def bare(workdir: Path, requests: list[SearchRequest]) -> Callable[[int], dict[str, float]]:
    """The parts that need no server, in this process on one thread, in the order of a request."""
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

    return one


@contextmanager
def process(*command: str, url: str = "", announcement: Path | None = None) -> Iterator[str]:
    """A server process that answers; its URL. Stopped at the end. Ends the program when it does not answer in time."""
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
        else:
            raise SystemExit(f"{' '.join(command)} did not answer within two minutes.")
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


def asked(name: str, client: HttpClient, requests: list[SearchRequest]) -> Callable[[int], dict[str, float]]:
    """`predict` on one keep-alive connection."""

    def ask(number: int) -> dict[str, float]:
        request = requests[number % len(requests)]
        instance = {"query": request.query, "user_id": request.user_id, "k": request.k}
        return {name: timed(client.post, PATH, {"instances": [instance]})[1]}

    return ask


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"))
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--apart", action="store_true", help="all rounds of one before those of the next")
    options = parser.parse_args()
    queries, _ = questions(options.workdir)
    store = online_store(
        read_release(options.workdir, str(current_release_id(options.workdir))), options.workdir, ServingSettings()
    )
    shoppers = [row["user_id"] for row in store.shoppers(50)] or ["nobody"]
    requests = [SearchRequest(query, user_id=shoppers[n % len(shoppers)], k=100) for n, query in enumerate(queries)]
    with ExitStack() as stack:
        announcement = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "server.json"
        command = ["components.serving", "--workdir", str(options.workdir), "--port", "0"]
        command += ["--announce", str(announcement), "--set=serving.cache=off", "--set=serving.access_log=false"]
        nothing = ["bench.serving.trivial", "--port", str(_TRIVIAL_PORT), "--products", str(requests[0].k)]
        bare_url = stack.enter_context(process(*nothing, url=f"http://127.0.0.1:{_TRIVIAL_PORT}"))
        url = stack.enter_context(process(*command, announcement=announcement))
        clients = [stack.enter_context(HttpClient(each, 60.0)) for each in (bare_url, url)]
        kserve, whole = (asked(name, client, requests) for name, client in zip(("kserve", "all"), clients, strict=True))
        steps = (kserve, bare(options.workdir, requests), whole)
        parts: Times = {}
        for together in [(step,) for step in steps] if options.apart else [steps]:
            parts |= rounds(options.requests, *together)
    answers = parts.pop("all")
    for quantile in (50, 20, 5):
        each = {name: round(float(np.percentile(times, quantile)), 3) for name, times in parts.items()}
        total, answer = round(sum(each.values()), 3), round(float(np.percentile(answers, quantile)), 3)
        figures = {"sum_ms": total, "served_ms": answer, "ratio": round(answer / total, 3)}
        print(json.dumps({"percentile": quantile, "parts_ms": each, **figures, "expected": EXPECTED_RATIO}))


if __name__ == "__main__":
    main()
