"""A real server takes a canary back by itself when it fails or is slow; the shoppers notice nothing more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.common.files import read_json, write_json
from components.common.manifest import rollout_path
from components.runs.commands import main
from components.serving.http_client import HttpClient
from tests.serving.conftest import RunningServer
from tests.serving.fakes import wait_until, write_manifest

PREDICT = "/v1/models/retrieval:predict"
HISTORY = {"product_ids": ["p3"], "actions": ["click"], "timestamps": [1_700_000_000_000_000]}


def ask(client: HttpClient, number: int) -> dict[str, Any]:
    """The answer to one of many shoppers, with a history of their own."""
    instance = {"query": f"lamp {number}", "user_id": f"u{number}", "history": HISTORY, "k": 3}
    (answer,) = client.post(PREDICT, {"instances": [instance]})["predictions"]
    return answer


@pytest.mark.parametrize(
    ("faults", "reason"),
    [({"poisoned": "p3"}, "of its latest 20 requests failed"), ({"slow_tower": 0.15}, "its p99 over the latest 20")],
    ids=["failing", "slow"],
)
def test_a_canary_that_breaks_its_budget_is_taken_back_from_everybody(
    start_server: Callable[..., RunningServer], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    faults: dict[str, Any], reason: str,
) -> None:  # fmt: skip
    write_manifest(tmp_path, "release-a", current=True)
    write_manifest(tmp_path, "release-b")
    write_json(tmp_path / "releases" / "release-b" / "faults.json", faults)
    write_json(rollout_path(tmp_path), {"stable": "release-a", "canary": "release-b", "percent": 50})
    settings = ("canary_min_requests=20", "canary_p99_ms=100", "tower_budget_ms=5000", "cache=off")
    running = start_server(*settings).wait()
    with HttpClient(running.url, timeout=60) as client:
        wait_until(lambda: any(ask(client, number)["release"] == "release-b" for number in range(10)), 30)
        for number in range(100):
            ask(client, number)
        after = [ask(client, number) for number in range(100)]
    assert {(answer["release"], answer["degraded"]) for answer in after} == {("release-a", False)}
    stopped = read_json(rollout_path(tmp_path))["stopped"]
    assert stopped["release"] == "release-b"
    assert reason in stopped["reason"]
    assert main(lambda **_: None, ["canary", "--workdir", str(tmp_path)]) == 0
    assert stopped["reason"] in capsys.readouterr().out
