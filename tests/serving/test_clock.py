"""A search happens now, except behind a log that ended long ago."""

from datetime import datetime

import pytest

from components.serving.clock import clock_of

MADE = "2026-07-10T12:00:00+00:00"
DAY = 86_400_000_000


def microseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("kind", "simulated", "log", "behind_days"),
    [
        ("auto", False, {"window": ["2026-07-01T00:00:00+00:00", "2026-07-10T00:00:00+00:00"]}, 0.0),
        ("auto", False, {"window": ["2026-05-01T00:00:00+00:00", "2026-06-10T12:00:00+00:00"]}, 30.0),
        ("auto", True, {"window": ["2026-07-01T00:00:00+00:00", "2026-07-10T00:00:00+00:00"]}, 0.5),
        ("log", False, {"window": ["2026-07-01T00:00:00+00:00", "2026-07-10T00:00:00"]}, 0.5),
        ("wall", True, {"window": ["2020-07-01T00:00:00+00:00", "2020-07-10T00:00:00+00:00"]}, 0.0),
        ("auto", True, {"window": {"train": ["2026-07-01", "2026-07-09"], "test": ["2026-07-09", "2026-07-10"]}}, 0.5),
        ("auto", True, {}, 0.0),
        ("auto", True, {"window": None}, 0.0),
        ("auto", True, {"window": ["?", "?"]}, 0.0),
    ],
)
def test_the_clock_goes_on_from_the_end_of_an_old_log(
    kind: str, simulated: bool, log: dict, behind_days: float
) -> None:
    wall = microseconds("2026-07-12T00:00:00+00:00")
    assert clock_of(kind, simulated, log, MADE, lambda: wall)() == wall - behind_days * DAY
