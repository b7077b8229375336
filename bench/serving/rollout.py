"""Promotions and rollbacks while clients ask: no request may fail, and no answer may mix two releases.

    python -m bench.serving.rollout --workdir .towerline --requests 100000 --promotions 20 --rollbacks 5

Needs a running server on a work directory with at least two releases. The last two are promoted in turn, with
rollbacks in between, while clients ask golden queries on keep-alive connections; products and scores of every answer
are compared with what the release it names gives by itself, opened here. Prints one JSON object; expected: 0 failed, 0
mixed.
"""

import argparse
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.serving.kills import blessing_of
from bench.serving.load import PATH, questions
from components.common.errors import TowerlineError
from components.common.manifest import current_release_id, list_release_ids
from components.releases.operations import promote, rollback
from components.serving.client import running_server
from components.serving.http_client import HttpClient
from components.serving.opening import open_release
from components.serving.requests import SearchRequest
from components.serving.settings import ServingSettings

K = 20
ROUNDING = 1e-5
"""Scores of the same search in batches of different sizes differ by less."""

Answer = list[tuple[str, float]]


def own_answers(workdir: Path, release_id: str, queries: list[str]) -> dict[str, Answer]:
    """What one release answers to each query for nobody, computed in this process: products with their scores."""
    from components.features.history import History

    release = open_release(workdir, release_id, ServingSettings())
    assert release.index is not None
    answers = {}
    for query in queries:
        request = SearchRequest(query, k=K)
        vector = release.encoder.encode([release.make_request(request, History.empty(), release.now_us())])
        found = release.index.keep(request, release.index.find(vector, [request], True)[0], True).found
        answers[query] = list(zip(found.product_ids, found.scores, strict=True))
    release.retire()
    return answers


def is_mixed(answer: Answer, expected: Answer | None) -> bool:
    """Whether products or scores are not those of the release."""
    if expected is None or [product for product, _ in answer] != [product for product, _ in expected]:
        return True
    return any(abs(one - other) > ROUNDING for (_, one), (_, other) in zip(answer, expected, strict=True))


def change(workdir: Path, number: int, changes: int, rollbacks: int) -> str:
    """The next promotion of the release that is not served, or a rollback, spread evenly; which of the two it was."""
    if (number + 1) * rollbacks // changes > number * rollbacks // changes:
        rollback(workdir)
        return "rollbacks"
    other = next(id_ for id_ in list_release_ids(workdir)[-2:] if id_ != current_release_id(workdir))
    promote(workdir, other, *(blessing_of(workdir, other, gate) for gate in ("quality", "infrastructure")))
    return "promotions"


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"))
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--promotions", type=int, default=20)
    parser.add_argument("--rollbacks", type=int, default=5)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    url = running_server(options.workdir)
    releases = list_release_ids(options.workdir)[-2:]
    if url is None or len(releases) < 2:
        raise SystemExit("this needs a running server on a work directory with two releases.")
    queries = sorted(set(questions(options.workdir)[0]))
    expected = {release_id: own_answers(options.workdir, release_id, queries) for release_id in releases}
    outcomes = [Counter[str]() for _ in range(options.clients)]
    left = threading.Semaphore(options.requests)

    def load(number: int) -> None:
        outcome = outcomes[number]
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
                found = [(product["product_id"], product["score"]) for product in answer["products"]]
                outcome["mixed"] += is_mixed(found, expected.get(answer["release"], {}).get(query))
                outcome["degraded"] += bool(answer["degraded"])

    begun = time.monotonic()
    threads = [threading.Thread(target=load, args=(number,)) for number in range(options.clients)]
    for thread in threads:
        thread.start()
    changes = options.promotions + options.rollbacks
    made: Counter[str] = Counter()
    for number in range(changes):
        share = (number + 1) / (changes + 1)
        while sum(one["asked"] for one in outcomes) < options.requests * share and any(t.is_alive() for t in threads):
            time.sleep(0.05)
        made[change(options.workdir, number, changes, options.rollbacks)] += 1
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begun
    total = sum(outcomes, Counter({"failed": 0, "mixed": 0, "degraded": 0}))
    total.update({"failed": 0, "mixed": 0, "degraded": 0})
    print(json.dumps({**total, **made, "per_second": round(total["asked"] / seconds, 1)}))


if __name__ == "__main__":
    main()
