"""One sound log and its statistics, made once; every test damages a copy."""

from pathlib import Path

import pytest

from tests.validation.shop import Result, validate, write_shop


@pytest.fixture(scope="session")
def sound_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "log"
    write_shop(path)
    return path


@pytest.fixture(scope="session")
def sound(sound_log: Path) -> Result:
    """The sound log, validated; its statistics are those of the release that is served."""
    return validate(sound_log, sound_log.parent / "run")
