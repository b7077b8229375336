"""One work directory with one promoted release and one server over it, shared by the end-to-end tests."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.serving.client import running_server, search

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "logs.products=1000", "logs.days=4", "logs.history_days=5", "towers.epochs=2", "towers.dimension=32",
    "towers.lstm_layers=0", "towers.negatives=256", "evaluation.lexical_margin=1.0",
)  # fmt: skip
"""A run of about a minute. The margin is wide: two small epochs do not reach BM25, nor need they here."""


@dataclass
class Shop:
    """A work directory and the command line over it."""

    workdir: Path

    def command(self, *words: str, settings: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Runs `python pipeline.py ...` as a person would and returns its exit code and output."""
        return subprocess.run(
            self.words(*words, settings=settings), cwd=ROOT, capture_output=True, text=True, check=False
        )

    def words(self, *words: str, settings: tuple[str, ...] = ()) -> list[str]:
        sets = [part for item in settings for part in ("--set", item)]
        return [sys.executable, "pipeline.py", *words, "--workdir", str(self.workdir), *sets]

    def run(self, *words: str, settings: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
        """One pipeline run: its exit code and its `run.json`."""
        done = self.command("run", "--json", *words, settings=SMALL + settings)
        assert done.stdout.startswith("{"), done.stderr
        return done.returncode, json.loads(done.stdout)

    def current(self) -> str:
        return (self.workdir / "current").read_text().strip()

    def latest_run(self) -> dict[str, Any]:
        return json.loads(max(self.workdir.glob("runs/*/run.json")).read_text())

    def served_release(self) -> str:
        """The release that the running server names in a reply."""
        url = running_server(self.workdir)
        assert url, "the server is not ready"
        return search(self.workdir, "sofa", url=url)["release"]


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """The sample marketplace after one successful run."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    code, run = shop.run()
    assert code == 0, run["reason"]
    yield shop
    shutil.rmtree(shop.workdir, ignore_errors=True)


@pytest.fixture(scope="session")
def server(shop):
    """A real server over the shop's current release, as `python pipeline.py serve` starts it."""
    process = subprocess.Popen(
        shop.words("serve", "--port", "0"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while running_server(shop.workdir) is None:
            assert process.poll() is None, "the server ended before it was ready"
            assert time.monotonic() < deadline, "the server did not become ready in two minutes"
            threading.Event().wait(0.3)
        yield shop
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def kill_group(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the run's own process alone: its tasks must notice by themselves."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
