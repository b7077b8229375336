"""Property tests have no deadline: how long an example takes says more about the machine than about the code."""

import os
from pathlib import Path

import prometheus_client  # noqa: F401 - before Feast, whose import would make it count in files shared by processes
import pytest
from hypothesis import settings

settings.register_profile("towerline", deadline=None)
settings.load_profile("towerline")


@pytest.fixture
def real_data() -> Path:
    """The folder with the public sets, from TOWERLINE_DATA."""
    folder = os.environ.get("TOWERLINE_DATA")
    if not folder:
        pytest.skip("TOWERLINE_DATA does not name a folder with the public sets")
    return Path(folder)
