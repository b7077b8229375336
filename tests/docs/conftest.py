"""The tutorial, run once a session; the other pages go on from the shop that it makes."""

import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from prometheus_client import CollectorRegistry

from components.serving.client import running_server
from components.serving.metrics import Metrics
from tests.docs.pages import DOCS
from tests.docs.session import free_port, run_page, scratch


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory):
    """(what running the tutorial gave, the directory it ran in, the shop it made)."""
    directory = scratch(tmp_path_factory.mktemp("tutorial") / "towerline")
    yield run_page(DOCS / "tutorial.md", directory), directory, directory / "my-shop"
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def served(tutorial):
    """The port of a server over the tutorial's shop."""
    _, directory, shop = tutorial
    port = free_port()
    words = [sys.executable, "pipeline.py", "serve", "--workdir", str(shop), "--port", str(port)]
    with open(directory / "server.log", "ab") as log:
        process = subprocess.Popen(words, cwd=directory, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while running_server(shop) is None:
            assert process.poll() is None, (directory / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the server did not become ready in two minutes"
            threading.Event().wait(0.2)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture(scope="session")
def metrics_registry():
    """Every metric of a server by the name `/metrics` shows, with its labels."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    kept = [value for value in vars(metrics).values() if hasattr(value, "_labelnames")]
    return {
        f"{metric._name}{'_total' if metric._type == 'counter' else ''}": set(metric._labelnames) for metric in kept
    }
