"""Location cells, quantiles and the graph branch: each against a naive version, gradients and export included."""

import doctest
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.common.errors import BadInput, BadSetting
from components.towers.interfaces import ItemBatch, Location
from components.towers.parts import graph, location, scalars
from components.towers.parts.graph import GraphBranch
from components.towers.parts.location import LocationEncoder, k_means
from components.towers.parts.scalars import QuantileTransform
from components.towers.parts.tokens import TokenTable
from components.towers.ragged import Ragged

NOWHERE = float("nan")


def place(latitude, longitude, country=None):
    count = len(latitude)
    country = torch.zeros(count, dtype=torch.int64) if country is None else torch.tensor(country)
    return Location(torch.tensor(latitude), torch.tensor(longitude), country)


def fitted(coordinates, cells=(5,)):
    encoder = LocationEncoder(width=3, countries=4, cells=cells)
    encoder.fit(np.asarray(coordinates, np.float64), seed=1)
    return encoder


@pytest.fixture
def towns():
    """Thirty shoppers around each of five towns."""
    centres = np.array([[52.5, 13.4], [48.1, 11.6], [40.7, -74.0], [-33.9, 151.2], [35.7, 139.7]])
    return np.repeat(centres, 30, axis=0) + np.random.default_rng(0).normal(0, 0.05, (150, 2))


def test_every_town_has_a_cell_of_its_own(towns):
    encoder = fitted(towns)
    vectors = encoder(place(towns[:, 0].astype(np.float32).tolist(), towns[:, 1].astype(np.float32).tolist()))
    cells = vectors[:, 3:].reshape(5, 30, 3)
    assert bool((cells == cells[:, :1]).all()), "shoppers of one town share a vector"
    assert len(torch.unique(cells[:, 0], dim=0)) == 5


def test_the_cell_is_the_nearest_centre(towns):
    encoder = fitted(towns, cells=(3, 7))
    lat, lon = np.deg2rad(towns.T)
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
    vectors = encoder(place(towns[:, 0].astype(np.float32).tolist(), towns[:, 1].astype(np.float32).tolist()))
    for level, count in enumerate((3, 7)):
        centres = encoder.get_buffer(f"centres_{count}").numpy()
        nearest = [int(np.argmin([np.linalg.norm(point - centre) for centre in centres])) for point in points]
        expected = encoder.tables[level].weight[nearest]
        assert torch.equal(vectors[:, 3 * (level + 1) : 3 * (level + 2)], expected)


def test_no_seam_at_the_date_line():
    encoder = fitted([[0.0, 179.9], [0.0, 90.0], [0.0, 0.0]], cells=(3,))
    west, east = encoder(place([0.0, 0.0], [179.8, -179.8]))
    assert torch.equal(west, east)


def test_unknown_place_has_its_own_cell_but_keeps_its_country(towns):
    encoder = fitted(towns)
    vectors = encoder(place([NOWHERE, 52.5], [13.4, 13.4], country=[2, 2]))
    assert torch.equal(vectors[0, 3:], encoder.tables[0].weight[5])
    assert torch.equal(vectors[0, :3], vectors[1, :3])
    assert torch.isfinite(vectors).all()


def test_without_any_coordinate_every_place_is_unknown():
    encoder = fitted(np.full((4, 2), np.nan))
    assert torch.equal(encoder(place([52.5], [13.4]))[0, 3:], encoder.tables[0].weight[5])


def test_fewer_places_than_cells_get_a_cell_each():
    centres = k_means(np.eye(3)[[0, 1, 1, 0]], 50, np.random.default_rng(0))
    assert sorted(map(tuple, centres)) == [(0.0, 1.0, 0.0), (1.0, 0.0, 0.0)]


def test_k_means_stops_where_every_centre_is_the_mean_of_its_members():
    points = np.random.default_rng(2).normal(size=(400, 3))
    centres = k_means(points, 6, np.random.default_rng(0), rounds=200)
    owner = np.argmin(((points[:, None] - centres[None]) ** 2).sum(2), axis=1)
    for cell in range(6):
        np.testing.assert_allclose(points[owner == cell].mean(0), centres[cell], atol=1e-8)


def test_equal_seeds_fit_equal_centres(towns):
    first, second = fitted(towns, cells=(8,)), fitted(towns, cells=(8,))
    assert torch.equal(first.get_buffer("centres_8"), second.get_buffer("centres_8"))


cents = st.integers(-10_000, 1_000_000).map(lambda value: value / 100)


@given(st.lists(cents, min_size=1, max_size=30), cents)
@settings(max_examples=60, deadline=None)
def test_quantiles_are_the_interpolated_distribution(column, value):
    transform = QuantileTransform(columns=1, edges=5)
    transform.fit(np.array(column, np.float32)[:, None])
    edges = transform.edges[0].numpy()
    covered = []
    for low, high in itertools.pairwise(edges):
        if high > low:
            covered.append(min(1.0, max(0.0, (value - low) / (high - low))))
        else:
            covered.append(float(value >= low))
    actual = transform(torch.tensor([[value]]))
    np.testing.assert_allclose(actual[0].numpy(), [np.mean(covered), 0.0], atol=1e-4)


def test_a_missing_scalar_stands_in_the_middle_and_is_flagged():
    transform = QuantileTransform(columns=2)
    transform.fit(np.array([[1.0, NOWHERE], [3.0, NOWHERE]]))
    assert transform(torch.tensor([[NOWHERE, NOWHERE]])).tolist() == [[0.5, 0.5, 1.0, 1.0]]


def test_quantiles_of_another_number_of_columns_are_refused():
    with pytest.raises(BadInput, match="made for 2"):
        QuantileTransform(columns=2).fit(np.zeros((3, 1)))


@pytest.mark.parametrize("make", [lambda: QuantileTransform(1, edges=1), lambda: LocationEncoder(3, 2, cells=(0,))])
def test_settings_without_sense_are_refused(make):
    with pytest.raises(BadSetting):
        make()


def graph_batch():
    """Three products: two neighbour queries, none, and one that it shares with the first."""
    return ItemBatch(
        ids=torch.arange(3),
        codes=torch.zeros(3, 4, dtype=torch.int64),
        text={},
        graph=Ragged.from_lists([[0, 1], [], [1]]),
        graph_text={"words": Ragged.from_lists([[1, 2], [3]])},
    )


def test_graph_branch_is_the_mean_of_the_means_of_its_queries():
    tokens = TokenTable(5, 4, sparse=False)
    vectors = GraphBranch(lambda text: tokens.mean(text["words"]), 4)(graph_batch())
    table = tokens.table.weight.detach().numpy()
    first, second = (table[1] + table[2]) / 2, table[3]
    np.testing.assert_allclose(vectors.numpy(), [(first + second) / 2, np.zeros(4), second], atol=1e-6)


@pytest.mark.parametrize("stop", [True, False])
def test_gradient_through_the_graph_only_with_the_switch_off(stop):
    tokens = TokenTable(5, 4, sparse=False)
    branch = GraphBranch(lambda text: tokens.mean(text["words"]), 4, stop_gradient=stop)
    (branch(graph_batch()).sum() + tokens.table.weight[4].sum()).backward()
    touched = tokens.table.weight.grad.abs().sum(1).nonzero().squeeze(1).tolist()
    assert touched == ([4] if stop else [1, 2, 3, 4])


def test_graph_of_padded_bags_equals_that_of_ragged_ones():
    tokens = TokenTable(5, 4, sparse=False)
    branch, batch = GraphBranch(lambda text: tokens.mean(text["words"]), 4), graph_batch()
    padded = ItemBatch(
        batch.ids, batch.codes, {}, graph=batch.graph.pad(), graph_text={"words": batch.graph_text["words"].pad()}
    )
    torch.testing.assert_close(branch(batch), branch(padded))


def test_dropped_products_go_without_their_graph_in_training_alone():
    tokens = TokenTable(5, 4, sparse=False)
    branch = GraphBranch(lambda text: tokens.mean(text["words"]), 4, dropout=0.5)
    many = torch.arange(400)
    batch = ItemBatch(
        many, torch.zeros(400, 4, dtype=torch.int64), {}, rows=many,
        graph=Ragged.from_lists([[0]] * 400), graph_text={"words": Ragged.from_lists([[1, 2]])},
    )  # fmt: skip
    empty = [(branch(batch, salt) == 0).all(1) for salt in (None, 1, 1, 2)]
    assert not empty[0].any()
    assert 0.4 < float(empty[1].float().mean()) < 0.6
    assert torch.equal(empty[1], empty[2])
    assert not torch.equal(empty[1], empty[3])


def test_branch_without_a_graph_is_zero_and_owns_no_parameters():
    tokens = TokenTable(5, 4)
    branch = GraphBranch(lambda text: tokens.mean(text["words"]), 4)
    assert not branch(ItemBatch(torch.arange(2), torch.zeros(2, 4, dtype=torch.int64), {})).any()
    assert list(branch.parameters()) == []


@pytest.mark.parametrize("module", [location, scalars, graph])
def test_the_example_of_every_docstring_runs(module):
    assert doctest.testmod(module, extraglobs={"torch": torch}, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0
