"""The day summaries: bounded in error and size, the same merged or whole, kept as JSON without pickle."""

import json

import numpy as np
import pyarrow as pa
import pytest

from components.validation.sketches import Distinct, HeavyHitters, Quantiles, QuantilesBuilder

SHARES = np.arange(1, 100) / 100


def _quantiles(values: np.ndarray) -> Quantiles:
    builder = QuantilesBuilder()
    for part in np.array_split(values, 7):
        builder.add(part)
    return builder.finish()


def _rank_error(summary: Quantiles, values: np.ndarray) -> float:
    """The largest distance of a requested rank from the ranks that its answer holds among the values."""
    ordered, answers = np.sort(values), summary.quantile(SHARES)
    low = np.searchsorted(ordered, answers, side="left") / len(values)
    high = np.searchsorted(ordered, answers, side="right") / len(values)
    return float(np.maximum(np.maximum(low - SHARES, SHARES - high), 0).max())


@pytest.mark.parametrize("values", [np.random.default_rng(0).lognormal(3, 1, 200_000), np.arange(50_000.0)])
def test_a_days_quantiles_are_within_their_stated_error(values: np.ndarray) -> None:
    assert _rank_error(_quantiles(values), values) <= 0.002


def test_quantiles_of_few_values_are_exact() -> None:
    summary = _quantiles(np.repeat([1.0, 2.0, 7.0], [50, 30, 20]))
    assert summary.values.tolist() == [1, 2, 7]
    assert summary.weights.tolist() == [50, 30, 20]
    assert summary.quantile(np.array([0.5, 0.51, 0.8, 0.81])).tolist() == [1, 2, 2, 7]


def test_merged_quantiles_are_within_their_stated_error() -> None:
    rng = np.random.default_rng(1)
    days = [rng.lognormal(3 + 0.1 * day, 1, 20_000 * (day + 1)) for day in range(8)]
    merged = Quantiles.merge(_quantiles(day) for day in days)
    assert merged.rows == sum(len(day) for day in days)
    assert _rank_error(merged, np.concatenate(days)) <= 0.003


def test_quantiles_survive_json() -> None:
    summary = _quantiles(np.random.default_rng(2).normal(size=5_000))
    back = Quantiles.from_json(json.loads(json.dumps(summary.as_json())))
    assert np.array_equal(back.values, summary.values)
    assert np.array_equal(back.weights, summary.weights)


def test_an_empty_column_has_empty_quantiles() -> None:
    empty = QuantilesBuilder().finish()
    assert empty.rows == 0
    assert np.isnan(empty.quantile(0.5))
    assert empty.gap(_quantiles(np.ones(3))) == 0.0


def test_what_is_no_number_is_ignored_also_where_there_is_nothing_else() -> None:
    for values, rows in (([np.nan, np.nan], 0.0), ([], 0.0), ([np.nan, 2.0], 1.0)):
        builder = QuantilesBuilder()
        builder.add(np.array(values))
        assert builder.finish().rows == rows


def test_the_gap_of_two_distributions_is_kolmogorov_smirnov() -> None:
    one, two = _quantiles(np.repeat([1.0, 2.0], [50, 50])), _quantiles(np.repeat([1.0, 3.0], [20, 80]))
    assert one.gap(two) == pytest.approx(0.8)
    assert one.gap(one) == 0.0


def _zipf(seed: int, rows: int = 30_000) -> list[str]:
    return [f"w{value}" for value in np.random.default_rng(seed).zipf(1.3, rows) % 5_000]


def test_heavy_hitters_are_within_their_stated_error_after_a_merge() -> None:
    days = [_zipf(seed) for seed in range(4)]
    merged = HeavyHitters(500)
    for day in days:
        sketch = HeavyHitters(500)
        sketch.add(pa.array(day))
        merged.merge(HeavyHitters.from_json(json.loads(json.dumps(sketch.as_json()))))
    everything = [word for day in days for word in day]
    counts = merged.counts(20)
    assert merged.total == len(everything)
    for word, count in counts.items():
        assert abs(count - everything.count(word)) <= merged.total / 500


def test_heavy_hitters_are_exact_below_their_capacity() -> None:
    sketch = HeavyHitters(10)
    sketch.add(pa.array(["b", "a", None, "b", "c"]))
    assert sketch.counts() == {"b": 2, "a": 1, "c": 1}
    assert list(sketch.counts()) == ["b", "a", "c"]
    assert list(sketch.counts(1)) == ["b"]
    assert sketch.total == 4


def test_distinct_counts_merge_without_counting_twice() -> None:
    one, two = Distinct(), Distinct()
    one.add(pa.array([f"u{i}" for i in range(60_000)]))
    two.add(pa.array([f"u{i}" for i in range(30_000, 90_000)]))
    one.merge(Distinct.from_json(json.loads(json.dumps(two.as_json()))))
    assert one.count() == pytest.approx(90_000, rel=0.05)


def test_distinct_counts_are_exact_when_small() -> None:
    sketch = Distinct()
    sketch.add(pa.array(["a", "b", None, "a"]))
    assert sketch.count() == 2
