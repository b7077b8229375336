"""Settings, metrics and a running server for the tests of this room."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from components.common.files import read_json
from components.serving.metrics import Metrics
from components.serving.server import bound_socket
from components.serving.settings import ServingSettings
from tests.serving.fakes import wait_until, write_manifest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _metrics_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoes what importing Feast in an earlier test did to prometheus_client."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)


@pytest.fixture
def metrics() -> Metrics:
    """Metrics in a registry of their own."""
    return Metrics(CollectorRegistry())


@pytest.fixture
def settings() -> ServingSettings:
    """Budgets wide enough for a busy machine."""
    return ServingSettings(feature_budget_ms=5000, tower_budget_ms=5000, search_budget_ms=5000)


class RunningServer:
    """A server process and how to reach it."""

    url = ""
    grpc_port = 0

    def __init__(self, workdir: Path, *settings: str) -> None:
        self.workdir = workdir
        arguments = [f"--set=serving.{item}" for item in ("port=0", "watch_seconds=0.05", *settings)]
        command = [sys.executable, "-m", "tests.serving.fake_server", "--workdir", str(workdir), *arguments]
        self.log = open(workdir / "server.log", "w+")  # noqa: SIM115 - lives as long as the process
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PROMETHEUS_MULTIPROC_DIR": str(workdir)}
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=self.log, stdout=self.log, env=environment)

    def wait(self) -> "RunningServer":
        """Returns once requests are accepted."""
        announcement = self.workdir / "server.json"
        wait_until(lambda: announcement.exists() or self.process.poll() is not None, 120)
        assert self.process.poll() is None, (self.workdir / "server.log").read_text()
        self.url = read_json(announcement)["url"]
        return self

    def stop(self) -> int:
        """Sends SIGTERM and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.log.close()
        return code


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server on fakes for all tests that only ask."""
    workdir = tmp_path_factory.mktemp("served")
    write_manifest(workdir, "release-a", current=True)
    with bound_socket("127.0.0.1", 0) as free:
        grpc_port = free.getsockname()[1]
    budgets = ("feature_budget_ms=5000", "tower_budget_ms=5000", "search_budget_ms=5000")
    running = RunningServer(workdir, f"grpc_port={grpc_port}", *budgets).wait()
    running.grpc_port = grpc_port
    yield running
    running.stop()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers of the test's own; those still running are stopped at its end."""
    started: list[RunningServer] = []

    def start(*settings: str) -> RunningServer:
        started.append(RunningServer(tmp_path, *settings))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.stop()
