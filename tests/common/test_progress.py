"""Progress where there is no terminal: plain lines, with a rate that says something of slow work too."""

import itertools

import pytest

from components.common.progress import Progress


@pytest.mark.parametrize(("done", "rate"), [(1, "0.1/s"), (45, "4.5/s"), (12_000, "1,200/s")])
def test_a_rate_has_digits_that_count(tmp_path, monkeypatch, done, rate):
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr("components.common.progress.time.monotonic", lambda: next(clock))
    monkeypatch.setenv("TOWERLINE_PROGRESS", str(tmp_path / "progress.log"))
    with Progress(total=done, label="count", unit="buckets") as progress:
        progress.advance(done)
    shown = (tmp_path / "progress.log").read_text().splitlines()
    assert shown[0] == f"count: 100% {done:,}/{done:,} buckets, {rate}, 0:00 left"
