"""What a server puts together in numpy is what training puts together in torch, number by number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.features.history import ACTION_CODES, Behaviour, History, Search
from components.towers.encoder import QueryEncoder, Request
from components.towers.export import OnnxTower, tower_inputs
from components.towers.request_inputs import RequestInputs

from .conftest import BRANDS, COLOURS, DAY, KINDS, START

NOW = START + 60 * DAY
EVERYTHING = frozenset(
    {"past", "behaviour", "behaviour_titles", "clicked_titles", "bought_titles", "location", "scalars"}
)

words = st.lists(st.sampled_from([*KINDS, *COLOURS, *BRANDS, "12ft", "unseen", "连衣裙"]), max_size=40).map(" ".join)
moments = st.integers(NOW - 40 * DAY, NOW + DAY)
behaviours = st.builds(
    Behaviour, moments, st.integers(0, 130).map(lambda number: f"p{number}"), st.sampled_from(list(ACTION_CODES))
)
histories = st.lists(behaviours | st.builds(Search, moments, words), max_size=60).map(History.of)
places = st.none() | st.floats(-80, 80)
requests = st.builds(
    Request, words, histories, st.just(NOW) | moments, places, places, st.sampled_from([None, "US", "CA", "XX"])
)


@pytest.fixture(scope="module")
def encoder(towers):
    """A query tower that is asked for every field that any model may need."""
    encoder = QueryEncoder(towers, "torch")
    vars(encoder.files)["needs"] = EVERYTHING
    return encoder


def inputs_of(encoder, names):
    rows = {product_id: row for row, product_id in enumerate(encoder.files.catalogue.product_ids.tolist())}
    return RequestInputs(encoder.files, rows, names)


@settings(max_examples=100, deadline=None)
@given(st.lists(requests, min_size=1, max_size=4))
def test_inputs_are_those_of_training(encoder, batch):
    expected = {name: tensor.numpy() for name, tensor in tower_inputs(encoder._batch(batch)[0]).items()}
    found = inputs_of(encoder, expected)(batch)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        assert np.array_equal(found[name], values, equal_nan=values.dtype.kind == "f"), name


def test_an_exported_tower_takes_only_what_it_reads(towers):
    """MGDSPR reads past queries and titles by their words alone; no request pays for their other units."""
    read = {name.rsplit(".", 1)[0] for name in OnnxTower(towers / "query_tower.onnx").names}
    assert {name for name in read if name.startswith("past_text")} == {"past_text.stems"}
    assert {name for name in read if name.startswith("behaviour.titles")} == {"behaviour.titles.stems"}


def test_only_what_the_tower_takes_is_made(encoder):
    names = {"text.stems.values", "text.stems.mask", "scalars"}
    assert inputs_of(encoder, names)([Request("red drill", History.empty(), NOW)]).keys() == names
