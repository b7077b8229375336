"""What a text is cut into, in spaced and unspaced scripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.common.errors import BadSetting
from components.towers import text


def test_normalise_folds_width_case_quotes_and_space():
    assert text.normalise("  ＢＩＧ\tTee’s ") == "big tee's"


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("Women's 12ft Ladder", ["women", "12", "ft", "ladder"]),
        ("1/2 in. x 3.5gal 2,000", ["1/2", "in", "x", "3.5", "gal", "2,000"]),
        ("DCD771C2 2x4 don't", ["dcd771c2", "2x4", "dont"]),
        ("Über-straße", ["über", "strasse"]),
        ("हिन्दी कपड़े", ["हिन्दी", "कपड़े"]),
        ("夏季 nike", ["夏", "季", "nike"]),
        ("", []),
        ("!!! --", []),
    ],
)
def test_words(given_text, expected):
    assert text.words(given_text) == [text.normalise(word) for word in expected]


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("新款连衣裙 nike 白色", ["新款", "连衣裙", "nike", "白色"]),
        ("ワイヤレスイヤホン防水スポーツ用", ["ワイヤレスイヤホン", "防水", "スポーツ", "用"]),
        ("เสื้อผ้าผู้หญิง red", ["เสื้อ", "ผ้า", "ผู้หญิง", "red"]),
        ("plain words", ["plain", "words"]),
    ],
)
def test_segments_cut_unspaced_scripts_and_lose_nothing(given_text, expected):
    found = text.segments(given_text)
    assert "".join(found) == text.normalise(given_text).replace(" ", "")
    if "连" not in given_text:  # how a segmenter cuts Chinese is its own matter; that it cuts is ours
        assert found == expected
    else:
        assert 3 < len(found) < len(text.characters(given_text))
        assert "nike" in found


@pytest.mark.parametrize(
    ("word", "stem"),
    [("batteries", "battery"), ("shoes", "shoe"), ("boxes", "boxe"), ("glass", "glass"), ("bus", "bus")],
)
def test_stems_drop_the_english_plural(word, stem):
    assert text.stems(word) == [stem]


def test_word_bigrams_pair_neighbours():
    assert text.word_bigrams("red tee shirt") == ["red tee", "tee shirt"]
    assert text.stem_bigrams("red shirts on") == ["red shirt", "shirt on"]
    assert text.word_bigrams("red") == []


def test_character_ngrams_mark_spaced_words_alone():
    assert text.character_ngrams("tee", 3) == ["^te", "tee", "ee$"]
    assert text.character_ngrams("连衣裙", 2) == ["连衣", "衣裙"]
    assert text.character_ngrams("a", 4) == ["^a$"]
    assert text.cut("裙", "character_2grams") == ["裙"]


def test_an_unknown_unit_is_named():
    with pytest.raises(BadSetting, match="syllables"):
        text.cut("a", "syllables")


@given(st.text(max_size=60))
def test_every_unit_is_total_and_sees_only_the_normalised_text(anything):
    for unit in text.UNITS:
        found = text.cut(anything, unit)
        assert all(token for token in found)
        assert found == text.cut(text.normalise(anything), unit)


@given(st.text(max_size=60))
def test_a_single_typed_character_changes_a_bounded_number_of_trigrams(anything):
    """The reason for trigrams: a typo leaves most of a word's tokens as they were."""
    before, after = text.character_ngrams(f"hammer{anything}"), text.character_ngrams(f"hamer{anything}")
    assert len(set(before) - set(after)) <= 4
