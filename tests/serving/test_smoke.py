"""The infrastructure gate opens for a server that answers as stored, and for no other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.common.errors import NotFound
from components.common.files import read_json, write_json
from components.serving.smoke import smoke_test
from tests.serving.fakes import write_golden, write_manifest

FAKES = "tests.serving.fake_server"


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    """A work directory with a served release and a candidate with golden queries."""
    write_manifest(tmp_path, "release-a", current=True)
    write_manifest(tmp_path, "release-b")
    write_golden(tmp_path, "release-b")
    return tmp_path


def faults(workdir: Path, **fields: Any) -> None:
    write_json(workdir / "releases" / "release-b" / "faults.json", fields)


def test_a_candidate_that_answers_as_stored_opens_the_gate(candidate: Path) -> None:
    """The blessing names the release, its towers and the figures; nothing of the running server's files is touched."""
    write_json(candidate / "server.json", {"pid": 1, "url": "http://127.0.0.1:1"})
    verdict = smoke_test(candidate, "release-b", candidate / "blessing.json", {"smoke_p99_ms": "5000"}, FAKES)
    assert verdict["open"] is True, verdict
    assert read_json(candidate / "blessing.json") == verdict
    assert (verdict["gate"], verdict["release"], verdict["towers"]) == ("infrastructure", "release-b", "0" * 64)
    assert verdict["max_difference"] < 1e-4
    assert verdict["overlap"] == 1.0
    assert 0 < verdict["latency_ms"]["p50"] <= verdict["latency_ms"]["p99"]
    assert verdict["stages_ms"]["request"]["count"] > 0
    assert verdict["stages_ms"]["tower"]["p50"] <= verdict["stages_ms"]["request"]["p99"]
    assert read_json(candidate / "server.json")["pid"] == 1


def change_first(field: str, value: Callable[[Any], Any]) -> Callable[[Path], None]:
    def change(workdir: Path) -> None:
        path = workdir / "releases" / "release-b" / "golden.json"
        golden = read_json(path)
        golden[0][field] = value(golden[0][field])
        write_json(path, golden)

    return change


@pytest.mark.parametrize(
    ("spoil", "settings", "named"),
    [
        (lambda w: faults(w, broken=True), {}, "exit code"),
        (lambda w: faults(w, wrong_tower=True), {}, "differs from the evaluated one"),
        (change_first("products", lambda ids: [f"x{item}" for item in ids]), {}, "golden products"),
        (lambda w: faults(w, store_down=True), {}, "a search with a shopper's id is degraded"),
        (lambda w: faults(w, named="release-a"), {}, "answered for release release-a"),
        (lambda w: faults(w, exit_code=5), {"smoke_p99_ms": "5000"}, "exit code 5"),
        (lambda w: faults(w, slow_tower=0.02), {"smoke_p99_ms": "5", "smoke_requests": "5"}, "p99"),
        (lambda w: None, {"smoke_start_seconds": "0.2"}, "not ready within"),
        (lambda w: (w / "releases" / "release-b" / "golden.json").write_text("[]"), {}, "no golden queries"),
        (lambda w: (w / "releases" / "release-b" / "golden.json").unlink(), {}, "does not exist"),
    ],
    ids=[
        "dies",
        "wrong towers",
        "wrong products",
        "no store",
        "another's name",
        "ends badly",
        "slow",
        "never ready",
        "no golden",
        "no golden file",
    ],
)
def test_a_candidate_that_does_not_keeps_it_closed_and_says_why(
    candidate: Path, spoil: Callable[[Path], Any], settings: dict[str, str], named: str
) -> None:
    spoil(candidate)
    verdict = smoke_test(
        candidate, "release-b", candidate / "blessing.json", {"smoke_requests": "10", **settings}, FAKES
    )
    assert verdict["open"] is False
    assert named in verdict["reason"]
    assert "\n" not in verdict["reason"]
    assert read_json(candidate / "blessing.json") == verdict


def test_an_unknown_release_is_an_error_not_a_verdict(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="release-z"):
        smoke_test(tmp_path, "release-z", tmp_path / "blessing.json")
