"""The tutorial, run once a session; the other pages go on from the shop that it makes."""

import shutil
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry

from components.runs.demo import server_of
from components.serving.metrics import Metrics
from tests.docs.pages import DOCS
from tests.docs.session import run_page, scratch


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory):
    """(what running the tutorial gave, the directory it ran in, the shop it made)."""
    directory = scratch(tmp_path_factory.mktemp("tutorial") / "towerline")
    yield run_page(DOCS / "tutorial.md", directory), directory, directory / "my-shop"
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def served(tutorial):
    """The port of a server over the tutorial's shop."""
    _, _, shop = tutorial
    with server_of(shop) as url:
        yield urlsplit(url).port


@pytest.fixture(scope="session")
def metrics_registry():
    """Every metric of a server by the name `/metrics` shows, with its labels."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    kept = [value for value in vars(metrics).values() if hasattr(value, "_labelnames")]
    return {
        f"{metric._name}{'_total' if metric._type == 'counter' else ''}": set(metric._labelnames) for metric in kept
    }
