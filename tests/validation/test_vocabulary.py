"""Vocabularies and buckets for the towers come from the same statistics."""

from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadSetting
from components.validation.vocabulary import bucket_edges, vocabulary
from tests.validation.shop import Result, day_name, file_of


def test_the_vocabulary_counts_query_words_over_the_days_asked_for(sound: Result) -> None:
    days = [day_name(0), day_name(1)]
    found = dict(vocabulary(sound.folder / "statistics", "searches", "query_words", 100, days=days))
    expected: Counter[str] = Counter()
    for day in range(2):
        for query in pq.read_table(file_of(sound.log, "searches", day), partitioning=None)["query"].to_pylist():
            expected.update(query.split())
    assert found == expected


def test_the_vocabulary_is_the_most_frequent_first_and_cut(sound: Result) -> None:
    found = vocabulary(sound.folder / "statistics", "products", "brand", 5, minimum=2)
    assert len(found) == 5
    assert [count for _, count in found] == sorted((count for _, count in found), reverse=True)


def test_buckets_of_prices_are_equally_full(sound: Result) -> None:
    edges = bucket_edges(sound.folder / "statistics", "products", "price", 8)
    prices = pq.read_table(file_of(sound.log, "products"))["price"].to_numpy()
    sizes = np.bincount(np.searchsorted(edges, prices, side="right"), minlength=8)
    assert len(edges) == 7
    assert sizes.min() > 45
    assert sizes.max() < 55


def test_a_column_without_counts_is_refused(sound: Result) -> None:
    with pytest.raises(BadSetting, match=r"no counts of products\.colour"):
        vocabulary(sound.folder / "statistics", "products", "colour", 5)
    with pytest.raises(BadSetting, match=r"no 1 buckets of products\.price"):
        bucket_edges(sound.folder / "statistics", "products", "price", 1)
