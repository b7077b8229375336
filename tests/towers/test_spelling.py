"""Spelling: what no title says is put right by what titles say; everything else stays as it was typed."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.features.history import History
from components.towers.encoder import QueryEncoder, Request
from components.towers.export import TOLERANCE
from components.towers.spelling import Spelling, distance
from components.towers.step import run

from .conftest import SMALL

TITLES = [
    *(["Kohler Elongated Toilet Seat 12 in. x 4 ft."] * 30),
    *(["Hand Tools for Laminate Flooring, 40 inch"] * 30),
    *(["Garland Lights"] * 30),
    *(["Laminates"] * 3),
    "Unique Gadget",
]


@pytest.fixture(scope="module")
def spelling():
    return Spelling.learn(TITLES)


@pytest.mark.parametrize("typed", ["Küchenarmaturen", "kuechenarmatur"])
def test_endings_and_umlauts_of_another_language_are_put_right_up_to_two_letters(typed):
    german = Spelling.learn(["Grohe Küchenarmatur chrom", "Küchenarmatur Edelstahl"])
    assert german(typed) == "küchenarmatur"
    assert german("kuechenarmaturen") == "kuechenarmaturen"


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        ("garlend lights", "garland lights"),
        ("kholer tolet seat", "kohler toilet seat"),
        ("liminate flooring", "laminate flooring"),
        ("handtools", "hand tools"),
        ("40inch seat", "40 inch seat"),
        ("seat 12x4", "seat 12 x 4"),
        ("seat 12x4µ", "seat 12x4μ"),
        ("Kohler a/c seat", "kohler a/c seat"),
        ("lighst, garlend", "lights, garland"),
        ("seats", "seats"),
        ("hnd", "hnd"),
        ("gadgt", "gadgt"),
        ("zzyzx", "zzyzx"),
        ("xx9400", "xx9400"),
        ("", ""),
    ],
)
def test_words_no_title_has_become_the_nearest_that_titles_have(spelling, typed, right):
    assert spelling(typed) == right


def test_of_words_as_near_the_one_in_more_titles_is_meant(spelling):
    assert spelling("laminat") == "laminate"


def test_every_title_is_left_as_it_is(spelling):
    for title in set(TITLES) - {"Unique Gadget"}:
        assert spelling(title) == title.lower()


def test_what_is_stored_puts_right_as_before(spelling, tmp_path):
    spelling.save(tmp_path / "spelling.parquet")
    again = Spelling.load(tmp_path / "spelling.parquet")
    assert again.counts == spelling.counts
    assert again.all(["garlend", "handtools"]) == ["garland", "hand tools"]


def naive_distance(left, right):
    """Fewest slips by trying all of them, at most three."""
    reached, letters = {left}, set(right)
    for slips in range(4):
        if right in reached:
            return slips
        reached |= {
            changed
            for word in reached
            for place in range(len(word) + 1)
            for changed in (
                word[:place] + word[place + 1 :],
                word[:place] + word[place + 1 : place + 2] + word[place : place + 1] + word[place + 2 :],
                *(word[:place] + letter + word[place:] for letter in letters),
                *(word[:place] + letter + word[place + 1 :] for letter in letters),
            )
        }
    return 4


@given(st.text("abc", max_size=4), st.text("abc", max_size=4))
def test_the_distance_is_the_fewest_slips(left, right):
    # A pair swapped and then changed again counts its slips apart, so the restricted distance is never the smaller one.
    assert distance(left, right) >= naive_distance(left, right)
    assert distance(left, right) == distance(right, left)


@pytest.mark.parametrize(
    ("left", "right", "slips"),
    [("", "ab", 2), ("ab", "ba", 1), ("abc", "abc", 0), ("guage", "gauge", 1), ("abc", "axc", 1), ("abc", "abbc", 1)],
)
def test_each_kind_of_slip_counts_one(left, right, slips):
    assert distance(left, right) == slips


def test_towers_read_a_slip_as_the_word_that_was_meant(bare_shop, tmp_path):
    run(bare_shop, tmp_path / "out", "mgdspr", json.dumps({**SMALL, "epochs": "1", "spelling": "true"}))
    typed, meant, other = (Request(text, History.empty(), 0) for text in ("red hammre", "red hammer", "red ladder"))
    for engine in ("onnx", "torch"):
        slip, right, ladder = QueryEncoder(tmp_path / "out", engine).encode([typed, meant, other])
        assert np.abs(slip - right).max() <= TOLERANCE
        assert np.abs(slip - ladder).max() > 0.01
