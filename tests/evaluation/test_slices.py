from collections import Counter

import numpy as np
import pytest

from components.evaluation.slices import NEW_PRODUCTS, frequency_bands, make_slices, normalised, shopper_kinds
from components.evaluation.targets import Targets


def bands(queries, training, head=1 / 3, torso=1 / 3):
    masks = frequency_bands(queries, Counter(training), head, torso)
    return {name: [query for query, flag in zip(queries, mask, strict=True) if flag] for name, mask in masks.items()}


def test_bands_share_the_training_searches():
    training = {"lamp": 40, "chair": 30, "desk": 10, "rug": 10, "vase": 10}
    result = bands(["vase", "lamp", "yacht", "chair"], training)
    assert result["head queries"] == ["lamp"]
    assert result["torso queries"] == ["chair"]
    assert result["tail queries"] == ["vase", "yacht"]
    assert result["unseen queries"] == ["yacht"]
    assert bands(["a", "b"], {"a": 5, "b": 4, "c": 1}, head=0.5)["torso queries"] == ["b"], "it begins past the head"


def test_queries_of_one_frequency_share_a_band():
    training = dict.fromkeys("abcdefgh", 5)
    result = bands(list(training), training)
    assert sorted(len(result[f"{name} queries"]) for name in ("head", "torso", "tail")) == [0, 0, 8]


def test_case_and_spaces_make_no_new_query():
    assert normalised("  Oak\tDESK ") == "oak desk"
    assert bands(["  OAK  desk"], {"oak desk": 3})["unseen queries"] == []


def test_an_empty_training_window_makes_every_query_unseen():
    assert bands(["lamp"], {})["unseen queries"] == ["lamp"]


def test_shoppers_fall_into_one_kind_each():
    known, past = np.array([False, True, True]), np.array([True, False, True])
    kinds = shopper_kinds(known, past)
    assert np.sum(list(kinds.values()), axis=0).tolist() == [1, 1, 1]
    assert [name for name, mask in kinds.items() if mask[2]] == ["shoppers with history"]
    assert [name for name, mask in kinds.items() if mask[1]] == ["new shoppers"]


def test_new_products_are_measured_on_the_new_targets_alone():
    targets = Targets.of([[0, 1], [1], [2]])
    slices, notes = make_slices({}, targets, np.array([True, False, True]))
    (fresh,) = [part for part in slices if part.name == NEW_PRODUCTS]
    assert fresh.mask.tolist() == [True, True, False]
    assert [fresh.targets.row(search).tolist() for search in range(3)] == [[1], [1], []]
    assert notes == []


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        ([False, False], "No test search belongs to these slices: anonymous, new products."),
        ([True, True], "Every test search belongs to these slices, which have no rows of their own: anonymous."),
    ],
)
def test_a_slice_that_says_nothing_is_left_out_with_a_sentence(mask, sentence):
    slices, notes = make_slices({"anonymous": np.array(mask)}, Targets.of([[0], [0]]), np.array([True]))
    assert [part.name for part in slices] == ["all"]
    assert sentence in notes
