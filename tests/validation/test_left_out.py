"""Logs that lack what is optional pass, and the notes say what was not checked; unusable logs are one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.common.errors import BadInput, BadSetting, NotFound
from components.logs.contract import EVENTS, SEARCHES
from tests.validation.shop import Result, copy, edit, edit_description, file_of, validate, write_table

MICROSECONDS_2016 = 1_453_075_200_000_000


def _drop(log: Path, table: str, *names: str) -> None:
    for day in range(6 if table != "products" else 1):
        edit(file_of(log, table, day), lambda c: {name: v for name, v in c.items() if name not in names})


def test_a_log_without_users_passes(sound_log: Path, tmp_path: Path) -> None:
    log = copy(sound_log, tmp_path / "log")
    _drop(log, "searches", "user_id")
    _drop(log, "events", "user_id")
    edit_description(log, has={"users": False, "times": True, "impressions": True})
    result = validate(log, tmp_path / "run")
    assert result.open
    assert not result.names
    assert any("no users" in note for note in result.verdict["notes"])


def test_a_log_whose_events_answer_no_search_is_told_that_it_trains_nothing(sound_log: Path, tmp_path: Path) -> None:
    log = copy(sound_log, tmp_path / "log")
    _drop(log, "events", "search_id")
    assert any("nothing to train on" in note for note in validate(log, tmp_path / "run").verdict["notes"])
    assert not any("nothing to train on" in note for note in validate(sound_log, tmp_path / "sound").verdict["notes"])


def test_a_log_without_impressions_passes(sound_log: Path, tmp_path: Path) -> None:
    log = copy(sound_log, tmp_path / "log")
    for day in range(6):
        edit(file_of(log, "events", day), _engaged)
    edit_description(log, has={"users": True, "times": True, "impressions": False}, counts={})
    result = validate(log, tmp_path / "run")
    assert result.open
    assert not result.names
    assert any("no impressions" in note for note in result.verdict["notes"])


def _engaged(columns: dict[str, Any]) -> dict[str, Any]:
    keep = [i for i, action in enumerate(columns["action"]) if action != "impression"]
    return {name: [values[i] for i in keep] for name, values in columns.items()}


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Query, product and click at one constant time: the least that a log may be."""
    log, number = tmp_path / "log", 300
    products = {"product_id": [f"p{i}" for i in range(50)], "title": [f"lamp {i}" for i in range(50)]}
    write_table(log / "products" / "p.parquet", products)
    times = [MICROSECONDS_2016] * number
    names = [f"q{i}" for i in range(number)]
    searches = {"search_id": names, "timestamp": times, "query": [f"lamp {i % 60}" for i in range(number)]}
    write_table(log / "searches" / "dt=2016-01-18" / "s.parquet", searches, SEARCHES)
    events = {
        "timestamp": times,
        "product_id": [f"p{i % 50}" for i in range(number)],
        "action": ["click"] * number,
        "search_id": names,
    }
    write_table(log / "events" / "dt=2016-01-18" / "e.parquet", events, EVENTS)
    body = {
        "source": "bare",
        "simulated": False,
        "split": "query",
        "has": dict.fromkeys(("users", "times", "impressions", "locations", "judgements"), False),
        "window": [],
        "counts": {"products": 50, "searches": number, "events": number},
    }
    (log / "log.json").write_text(json.dumps(body))
    return log


def test_the_least_log_passes_and_says_what_was_left_out(bare: Path, tmp_path: Path) -> None:
    result = validate(bare, tmp_path / "run")
    assert result.open
    assert result.verdict["newest_day"] is None
    for word in ("no times", "no users", "no impressions", "products has no description, brand, category"):
        assert any(word in note for note in result.verdict["notes"]), word


def test_a_log_without_times_is_compared_as_a_whole(bare: Path, tmp_path: Path) -> None:
    first = validate(bare, tmp_path / "one")
    path = bare / "searches" / "dt=2016-01-18" / "s.parquet"
    edit(path, lambda c: {**c, "query": [f"unheard of word{i}" for i in range(300)]})
    result = validate(bare, tmp_path / "two", previous=first.folder / "statistics")
    assert "unknown_words" in result.stops
    assert "this log" in result.alarm("unknown_words")["sentence"]


def test_judgements_are_checked_too(sound_log: Path, tmp_path: Path) -> None:
    log = copy(sound_log, tmp_path / "log")
    grades = [3.0] * 98 + [float("nan"), 1.0]
    products = [f"p{i:05d}" for i in range(99)] + ["p00000"]
    write_table(log / "judgements.parquet", {"query": ["lamp"] * 100, "product_id": products, "grade": grades})
    result = validate(log, tmp_path / "run")
    assert result.verdict["rows"]["judgements"] == {"in": 100, "good": 98, "quarantined": 2}
    rows = Result(result.folder, log).folder / "quarantine" / "judgements.parquet"
    assert rows.is_file()


def test_no_log_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"There is no log at .*nowhere"):
        validate(tmp_path / "nowhere", tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"has": None}, '"has"'), ({"window": ["yesterday", "today"]}, '"window" must be two ISO moments')],
)
def test_an_unusable_description_is_said_in_one_sentence(
    sound_log: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    log = copy(sound_log, tmp_path / "log")
    edit_description(log, **changes)
    with pytest.raises(BadInput, match=says):
        validate(log, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"events_volume": "3,2"}, "events_volume must be warn,stop"),
        ({"day_bad_share": "1.5"}, "day_bad_share must be a share"),
        ({"batch_rows": "0"}, "batch_rows must be at least 1"),
        ({"evnts_volume": "1,2"}, "Did you mean 'events_volume'"),
        ({"warn_only": "nonsense"}, "unknown alarm 'nonsense'"),
        ({"earliest": "the nineties"}, "earliest must be a day such as 1995-01-01"),
    ],
)
def test_a_wrong_setting_is_said_in_one_sentence(
    sound_log: Path, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    with pytest.raises(BadSetting, match=says):
        validate(sound_log, tmp_path / "run", **changes)
