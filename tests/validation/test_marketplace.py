"""The built-in marketplace (simulated) passes without an alarm, night after night, and is caught when it is broken."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from components.logs.marketplace.generate import generate
from components.logs.settings import LogSettings
from tests.validation.shop import Result, copy, edit, validate

END = date(2026, 6, 30)


def _log(folder: Path, seed: int, night: int = 0) -> Path:
    settings = LogSettings(products=1_000, seed=seed, end=str(END + timedelta(days=night)))
    generate(settings, folder / "log", folder / "truth")
    return folder / "log"


@pytest.fixture(scope="module")
def first_night(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("marketplace")
    return validate(_log(folder, seed=1), folder / "run")


def test_the_first_night_raises_no_alarm(first_night: Result) -> None:
    assert first_night.open
    assert first_night.names == set(), first_night.verdict["alarms"]
    assert all(rows["quarantined"] == 0 for rows in first_night.verdict["rows"].values())


def test_the_next_night_raises_no_alarm(first_night: Result, tmp_path: Path) -> None:
    log = _log(tmp_path, seed=1, night=1)
    result = validate(log, tmp_path / "run", previous=first_night.folder / "statistics")
    assert len(result.verdict["compared_with"]) == 2
    assert result.open
    assert result.names == set(), result.verdict["alarms"]


def test_another_marketplace_is_sound_too(tmp_path: Path) -> None:
    result = validate(_log(tmp_path, seed=2), tmp_path / "run")
    assert result.open
    assert result.names == set(), result.verdict["alarms"]


def test_its_prices_in_cents_are_caught(first_night: Result, tmp_path: Path) -> None:
    log = copy(first_night.log, tmp_path / "log")
    path = sorted((log / "products").glob("*.parquet"))[0]
    edit(path, lambda c: {"product_id": c["product_id"], "title": c["title"], "price": [100 * p for p in c["price"]]})
    result = validate(log, tmp_path / "run", previous=first_night.folder / "statistics")
    assert "prices" in result.stops
    assert "cents" in result.alarm("prices")["sentence"]


def test_half_of_its_last_day_is_caught(first_night: Result, tmp_path: Path) -> None:
    log = copy(first_night.log, tmp_path / "log")
    noon = int((END - date(1970, 1, 1)).days * 86_400_000_000 + 43_200_000_000)
    for table in ("searches", "events"):
        for path in (log / table / f"dt={END}").glob("*.parquet"):
            edit(path, lambda c: _before(c, noon))
    result = validate(log, tmp_path / "run", previous=first_night.folder / "statistics")
    assert "missing_hours" in result.stops


def _before(columns: dict[str, list], moment: int) -> dict[str, list]:
    keep = [i for i, time in enumerate(columns["timestamp"]) if time < moment]
    return {name: [values[i] for i in keep] for name, values in columns.items()}
