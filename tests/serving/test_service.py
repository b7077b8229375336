"""What one serving process promises as a whole: which release it takes in, and when it says that it is ready."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.common.manifest import set_current
from components.serving.errors import DependencyDown
from components.serving.loaded_release import LoadedRelease
from components.serving.metrics import Metrics
from components.serving.service import Service
from components.serving.settings import ServingSettings
from tests.serving.fakes import FakeIndex, FakeStore, FakeTower, fake_release, write_manifest

SETTINGS = ServingSettings(watch_seconds=3600, breaker_failures=2, keep_previous=False)


class EmptyIndex(FakeIndex):
    """An index that opens and finds nothing."""

    def find(self, vectors: np.ndarray, requests: Any, control: bool) -> list[Any]:
        return [[] for _ in requests]


class NarrowTower(FakeTower):
    """A tower whose vectors do not fit the index."""

    def encode(self, requests: Any) -> np.ndarray:
        return np.ones((len(requests), 3), np.float32)


@pytest.fixture
def opened() -> dict[str, LoadedRelease]:
    """What is opened under a release's id, where it is not a sound fake."""
    return {}


@pytest.fixture
def service(tmp_path: Path, metrics: Metrics, opened: dict[str, LoadedRelease]) -> Iterator[Service]:
    for name in ("release-a", "release-b"):
        write_manifest(tmp_path, name, current=name == "release-a")
    made = Service(tmp_path, SETTINGS, metrics, lambda _, name: opened.get(name) or fake_release(name), FakeStore())
    made.start()
    yield made
    made.stop()


def narrow_predictor() -> LoadedRelease:
    """A release that only embeds, so that no index finds out."""
    release = fake_release("release-b", NarrowTower())
    release.index = None
    return release


@pytest.mark.parametrize(
    "broken",
    [lambda: fake_release("release-b", index=EmptyIndex()), narrow_predictor],
    ids=["finds nothing", "other vectors"],
)
def test_a_release_that_cannot_answer_is_not_taken_in(
    service: Service, opened: dict[str, LoadedRelease], broken: Callable[[], LoadedRelease]
) -> None:
    opened["release-b"] = broken()
    set_current(service.workdir, "release-b")
    service.loader.check()
    assert service.table.stable.release_id == "release-a"
    opened["release-b"] = fake_release("release-b")
    write_manifest(service.workdir, "release-b", current=True)
    service.loader.check()
    assert service.table.stable.release_id == "release-b"


@pytest.mark.parametrize(("name", "ready"), [("features", True), ("tower", False), ("search", False)])
def test_a_server_without_tower_or_index_is_not_ready_and_one_without_features_is(
    service: Service, name: str, ready: bool
) -> None:
    assert service.ready
    for _ in range(SETTINGS.breaker_failures):
        assert isinstance(service.retriever.guards[name].late(), DependencyDown)
    assert service.ready is ready


def test_a_server_that_shuts_down_is_not_ready(service: Service) -> None:
    service.draining = True
    assert not service.ready
