"""Hashes, conversions and comparisons: the small parts that the checks rest on."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.logs.contract import TIMESTAMP
from components.validation.comparison import distribution_gap, divergence, rate_change, share_change, volume_change
from components.validation.conversion import convert
from components.validation.counts import HashedCounts
from components.validation.hashing import combine, hash_strings
from components.validation.identity import DaySearches, repeated_across
from components.validation.sketches import HeavyHitters, QuantilesBuilder
from components.validation.speed import leak
from components.validation.text import words


@given(st.lists(st.one_of(st.none(), st.text(max_size=90)), max_size=30), st.integers(0, 5))
def test_equal_strings_and_only_they_have_equal_hashes(values: list[str | None], cut: int) -> None:
    hashes = hash_strings(pa.array(values, pa.string()).slice(cut))
    kept = values[cut:]
    assert all((hashes[i] == 0) == (kept[i] is None) for i in range(len(kept)))
    assert len(set(hashes.tolist())) == len(set(kept))


def test_hashes_are_the_same_on_every_machine() -> None:
    found = hash_strings(pa.array(["", "lamp", "a" * 64, "a" * 65, "Kühlschrank"])).tolist()
    assert found == [
        16294208416658607535,
        2914967899943302024,
        5734457551929266978,
        17009111936242230876,
        12854279453245194388,
    ]


def test_the_hash_of_a_row_depends_on_the_order_of_its_columns() -> None:
    one, two = np.array([1, 2]), np.array([2, 1])
    assert combine(one, two)[0] != combine(two, one)[0]
    assert combine(one, two)[0] == combine(two, one)[1]


@pytest.mark.parametrize(
    ("array", "kind", "expected", "bad"),
    [
        (pa.array(["1.5", " 2e3 ", "x", None]), pa.float64(), [1.5, 2000.0, None, None], [2]),
        (pa.array(["3", "3.5", "99999999999"]), pa.int32(), [3, None, None], [1, 2]),
        (pa.array([1.0, 1.5, None]), pa.int32(), [1, None, None], [1]),
        (pa.array([2**40, 5]), pa.int32(), [None, 5], [0]),
        (pa.array([0, 1, 2]), pa.bool_(), [False, True, None], [2]),
        (pa.array(["TRUE", "false", "yes"]), pa.bool_(), [True, False, None], [2]),
        (pa.array([7, None]), pa.string(), ["7", None], []),
        (pa.array([7.0]), pa.string(), [None], [0]),
        (pa.array(["a"], pa.large_string()), pa.string(), ["a"], []),
        (pa.array(["a", "b", "a"]).dictionary_encode(), pa.string(), ["a", "b", "a"], []),
        (pa.array([None, None], pa.null()), pa.float64(), [None, None], []),
        (pa.array([["a"]]), pa.float64(), [None], [0]),
    ],
)
def test_a_column_is_read_as_the_contracts_type_where_nothing_is_lost(
    array: pa.Array, kind: pa.DataType, expected: list[object], bad: list[int]
) -> None:
    result = convert(array, kind)
    assert result.array.type == kind
    assert result.array.to_pylist() == expected
    assert np.flatnonzero(result.bad).tolist() == bad


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-01T12:00:00Z", 1_709_294_400_000_000),
        ("2024-03-01 14:00:00.5+02:00", 1_709_294_400_500_000),
        ("2024-03-01", 1_709_251_200_000_000),
        ("2024-13-01", None),
        ("01/03/2024", None),
    ],
)
def test_moments_in_text_are_read_in_their_zone(text: str, expected: int | None) -> None:
    result = convert(pa.array([text]), TIMESTAMP)
    assert result.array.cast(pa.int64()).to_pylist() == [expected]
    assert result.bad.tolist() == [expected is None]


def test_undecodable_numbers_are_bad_rows_not_a_crash() -> None:
    result = convert(pa.array([b"1.5", b"\xff"], pa.binary()), pa.float64())
    assert result.array.to_pylist() == [1.5, None]
    assert result.bad.tolist() == [False, True]


def test_words_are_runs_of_letters_and_digits_of_any_script() -> None:
    found = words(pa.array(["Red Lamp-X200", None, "", "冷蔵庫 Kühl"]))
    assert found.to_pylist() == ["red", "lamp", "x200", "冷蔵庫", "kühl"]


def test_noise_is_not_a_change_of_volume() -> None:
    assert volume_change(110, [100, 95, 104]) == (1.0, 100)
    assert volume_change(400, [100, 95, 104])[0] == 4.0
    assert volume_change(0, [100])[0] == math.inf
    assert volume_change(250, [100, 300, 120, 280, 200])[0] == 1.0


def test_sampling_alone_makes_no_share_rate_or_mix_differ() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        hits = rng.binomial(2_000, 0.1, 2)
        alarms += share_change(hits[0], 2_000, hits[1], 2_000) != 1.0
        alarms += rate_change(hits[0], 2_000, hits[1], 2_000) != 1.0
        one, two = (dict(zip("abcdefgh", rng.multinomial(500, np.full(8, 1 / 8)), strict=True)) for _ in range(2))
        alarms += divergence(one, two) > 0.02
    assert alarms <= 2


def test_a_replaced_mix_diverges_fully_and_an_equal_one_not_at_all() -> None:
    assert divergence({"a": 1e6}, {"b": 1e6}) == pytest.approx(1.0, abs=1e-4)
    assert divergence({"a": 50, "b": 50}, {"a": 500, "b": 500}) == 0.0
    assert divergence({}, {"a": 3}) == 0.0


def test_two_samples_of_one_distribution_have_no_gap() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for mean in (0.0, 0.0, 1.0):
        builder = QuantilesBuilder()
        builder.add(rng.normal(mean, 1, 3_000))
        parts.append(builder.finish())
    assert distribution_gap(parts[0], parts[1]) == 0.0
    assert distribution_gap(parts[0], parts[2]) == pytest.approx(0.38 - 0.05, abs=0.03)


def test_search_ids_used_on_two_days_belong_to_the_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    days = {f"2024-01-0{n}": rng.integers(0, 2**63, 500, dtype=np.uint64) * np.uint64(2) for n in range(1, 4)}
    days["2024-01-02"][:3] = days["2024-01-01"][:3]
    days["2024-01-03"][:2] = days["2024-01-01"][1:3]
    days["2024-01-03"][5] = days["2024-01-02"][9]
    for day, ids in days.items():
        DaySearches.of(ids, np.zeros(500, np.int64), np.zeros(500, np.uint64)).save(tmp_path / day)
    folders = {day: tmp_path / day for day in days}
    for bucket_rows in (100, 10_000):
        found = {day: set(ids.tolist()) for day, ids in repeated_across(folders, set(days), bucket_rows).items()}
        assert found == {
            "2024-01-02": set(days["2024-01-01"][:3].tolist()),
            "2024-01-03": {*days["2024-01-01"][1:3].tolist(), int(days["2024-01-02"][9])},
        }


@pytest.mark.parametrize("fresh", [0, 1, 2])
def test_a_fresh_day_is_compared_with_days_before_and_after_it(tmp_path: Path, fresh: int) -> None:
    days = {f"2024-01-0{n + 1}": np.arange(n * 1_000, n * 1_000 + 500, dtype=np.uint64) for n in range(3)}
    names = list(days)
    other = (fresh + 1) % 3
    days[names[fresh]][7] = days[names[other]][9]
    for day, ids in days.items():
        DaySearches.of(ids, np.zeros(500, np.int64), np.zeros(500, np.uint64)).save(tmp_path / day)
    folders = {day: tmp_path / day for day in days}
    for known in ({names[fresh]}, set(names)):
        found = {day: ids.tolist() for day, ids in repeated_across(folders, known).items()}
        assert found == {names[max(fresh, other)]: [int(days[names[other]][9])]}
    assert repeated_across(folders, set()) == {}


def test_hashed_counts_are_those_of_their_sketch_and_add_up(tmp_path: Path) -> None:
    one, two = HeavyHitters(10), HeavyHitters(10)
    one.add(pa.array(["b", "a", "b"]))
    two.add(pa.array(["c", "b"]))
    HashedCounts.of(one).save(tmp_path / "one.npy")
    both = HashedCounts.load(tmp_path / "one.npy").plus(HashedCounts.of(two))
    found = dict(zip(both.hashes.tolist(), both.counts.tolist(), strict=True))
    assert found == dict(zip(hash_strings(pa.array(["a", "b", "c"])).tolist(), [1.0, 3.0, 1.0], strict=True))
    assert (np.diff(both.hashes.astype(object)) > 0).all()


def test_a_label_leak_is_counted_by_row_and_by_position() -> None:
    searches = np.repeat(np.array([1, 2, 3], np.uint64), 5)
    pairs = np.arange(15, dtype=np.uint64)
    engaged = np.array([0, 1, 7, 10], np.uint64)
    positions = np.array([1, 2, 3, 4, 5, 2, 3, 1, 4, 5, 5, 4, 3, 2, 1], np.int32)
    # Search 1 leads by row and position, search 2 by position only (row 7 stands third), search 3 by row only.
    assert leak(searches, pairs, engaged, positions).tolist() == [3, 2, 2]
