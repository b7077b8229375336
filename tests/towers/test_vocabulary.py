"""Numbers of tokens: counted, stored, hashed where unknown."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput
from components.towers.vocabulary import Vocabulary

TEXTS = ["red drill", "red hammer", "blue drill", "red saw"]


@pytest.fixture
def vocabulary():
    return Vocabulary.build(TEXTS, ("words", "word_bigrams"), min_count=2, buckets=7, codes={"brand": ["b", None, "a"]})


def test_frequent_tokens_come_first_and_rare_ones_are_hashed(vocabulary):
    assert vocabulary.token("words", "red") == 1
    assert vocabulary.token("words", "drill") == 2
    assert vocabulary.size == 1 + 2 + 7
    for rare in ("saw", "hammer", "never seen"):
        assert 3 <= vocabulary.token("words", rare) < 10


def test_a_token_counts_once_a_text_and_units_are_apart():
    built = Vocabulary.build(["a a a", "a b"], ("words", "characters"), min_count=2, buckets=1)
    assert built.size == 1 + 2 + 1
    assert built.token("words", "a") != built.token("characters", "a")


def test_the_order_of_texts_does_not_matter(vocabulary):
    again = Vocabulary.build(TEXTS[::-1], ("words", "word_bigrams"), 2, 7, codes={"brand": ["a", "b"]})
    assert [again.token("words", word) for word in ("red", "drill", "saw")] == [
        vocabulary.token("words", word) for word in ("red", "drill", "saw")
    ]


def test_encode_keeps_the_first_tokens(vocabulary):
    assert vocabulary.encode("red drill red", "words", 2) == [1, 2]


def test_encode_counts_a_repeated_token_once_when_asked(vocabulary):
    assert vocabulary.encode("red drill red", "words", 5, distinct=True) == [1, 2]
    once = vocabulary.encode_all(["red red", "drill red drill"], ("words",), 5, distinct=True)["words"]
    assert [once.row(row).tolist() for row in range(2)] == [[1], [2, 1]]


def test_codes_number_values_from_one(vocabulary):
    assert [vocabulary.code("brand", value) for value in ("a", "b", "c", None)] == [1, 2, 0, 0]
    assert vocabulary.code_sizes() == {"brand": 3}


def test_idf_falls_with_frequency_and_a_bucket_weighs_little(vocabulary):
    weights = vocabulary.idf()
    assert weights[0] == 0
    assert weights[1] == pytest.approx(np.log(1 + 4 / 3))
    assert weights[1] < weights[2]
    assert weights[3:] == pytest.approx(0.1 * np.log(5))


def test_saved_and_loaded_is_the_same(vocabulary, tmp_path):
    vocabulary.save(tmp_path / "v.parquet")
    loaded = Vocabulary.load(tmp_path / "v.parquet")
    assert loaded.size == vocabulary.size
    assert loaded.codes == vocabulary.codes
    assert np.array_equal(loaded.idf(), vocabulary.idf())
    for word in ("red", "drill", "saw", "zebra"):
        assert loaded.encode(word, "words", 5) == vocabulary.encode(word, "words", 5)


def test_another_parquet_file_is_refused(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    with pytest.raises(BadInput, match=r"x\.parquet"):
        Vocabulary.load(tmp_path / "x.parquet")
