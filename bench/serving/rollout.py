"""Promotions and rollbacks while clients ask: no request may fail, and no answer may mix two releases.

    python -m bench.serving.rollout --workdir .towerline --requests 100000 --changes 25

Needs a running server on a work directory with at least two releases. The pointer `current` goes back and forth between
the last two while clients ask golden queries on keep-alive connections; every answer is compared with what the release
it names gives by itself, opened here. Prints one JSON object; expected: 0 failed, 0 mixed.
"""

import argparse
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.serving.load import PATH, questions
from components.common.errors import TowerlineError
from components.common.manifest import current_release_id, list_release_ids, set_current
from components.serving.client import running_server
from components.serving.http_client import HttpClient
from components.serving.opening import open_release
from components.serving.requests import SearchRequest
from components.serving.settings import ServingSettings

K = 20


def own_answers(workdir: Path, release_id: str, queries: list[str]) -> dict[str, list[str]]:
    """What one release answers to each query for nobody, computed in this process."""
    from components.features.history import History

    release = open_release(workdir, release_id, ServingSettings())
    assert release.index is not None
    answers = {}
    for query in queries:
        request = SearchRequest(query, k=K)
        vector = release.encoder.encode([release.make_request(request, History.empty(), release.now_us())])
        found = release.index.keep(request, release.index.find(vector, [request], True)[0], True).found
        answers[query] = list(found.product_ids)
    release.retire()
    return answers


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"))
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=25)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    url = running_server(options.workdir)
    releases = list_release_ids(options.workdir)[-2:]
    if url is None or len(releases) < 2:
        raise SystemExit("this needs a running server on a work directory with two releases.")
    first = str(current_release_id(options.workdir))
    queries = sorted(set(questions(options.workdir)[0]))
    expected = {release_id: own_answers(options.workdir, release_id, queries) for release_id in releases}
    outcome: Counter[str] = Counter()
    left = threading.Semaphore(options.requests)

    def load(number: int) -> None:
        with HttpClient(str(url), 60.0) as client:
            while left.acquire(blocking=False):
                query = queries[(outcome["asked"] + number) % len(queries)]
                outcome["asked"] += 1
                try:
                    body: dict[str, Any] = {"instances": [{"query": query, "k": K}]}
                    (answer,) = client.post(PATH, body)["predictions"]
                except TowerlineError:
                    outcome["failed"] += 1
                    continue
                outcome[answer["release"]] += 1
                found = [product["product_id"] for product in answer["products"]]
                outcome["mixed"] += found != expected.get(answer["release"], {}).get(query)
                outcome["degraded"] += bool(answer["degraded"])

    begun = time.monotonic()
    threads = [threading.Thread(target=load, args=(number,)) for number in range(options.clients)]
    for thread in threads:
        thread.start()
    for change in range(options.changes):
        while outcome["asked"] < options.requests * (change + 1) / (options.changes + 1) and threads[0].is_alive():
            time.sleep(0.05)
        set_current(options.workdir, releases[change % 2])
    for thread in threads:
        thread.join()
    set_current(options.workdir, first)
    seconds = time.monotonic() - begun
    named = {"failed": 0, "mixed": 0, "degraded": 0, **outcome}
    print(json.dumps({**named, "changes": options.changes, "per_second": round(outcome["asked"] / seconds, 1)}))


if __name__ == "__main__":
    main()
