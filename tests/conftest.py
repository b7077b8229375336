"""What holds for all tests: how long a property may take, and which tests share a process of several."""

import os
from pathlib import Path
from typing import Any

import prometheus_client  # noqa: F401 - before Feast, whose import would make it count in files shared by processes
import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# How long an example takes says more about the machine than about the code.
settings.register_profile("towerline", deadline=None)
settings.load_profile("towerline")

TOGETHER = ("tests/e2e/", "tests/docs/")
"""Folders whose tests share whole runs: each goes to one process, and before everything else, as they take longest."""


class ByFile(LoadScopeScheduling):
    """Gives a process a whole file, or a whole folder of `TOGETHER`, since its tests share fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid.split("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """How `pytest -n 2` shares the tests out."""
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first where several processes share the tests; alone, the files come in their own order."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(TOGETHER))


@pytest.fixture
def real_data() -> Path:
    """The folder with the public sets, from TOWERLINE_DATA."""
    folder = os.environ.get("TOWERLINE_DATA")
    if not folder:
        pytest.skip("TOWERLINE_DATA does not name a folder with the public sets")
    return Path(folder)
