"""Products as integers, whatever columns a catalogue has."""

import pyarrow as pa
import pytest
import torch

from components.common.errors import BadInput
from components.towers.catalogue import build_catalogue
from components.towers.data import with_graph
from components.towers.fields import field_values, fit_price_levels, group_tokens
from components.towers.interfaces import BRAND, LEAF, PRICE_LEVEL, SHOP, TOP
from components.towers.settings import TowerSettings
from components.towers.vocabulary import Vocabulary

from .conftest import make_products

SETTINGS = TowerSettings(word_unit="words", max_title_tokens=4)
NEEDS = frozenset({"category", "brand", "attributes", "description", "location", "scalars"})


@pytest.fixture(scope="module")
def products():
    return make_products(6)


@pytest.fixture(scope="module")
def vocabulary(products):
    return Vocabulary.build(
        products["title"].to_pylist(), ("words",), min_count=1, buckets=3,
        codes=field_values(products, fit_price_levels(products)), price_levels=fit_price_levels(products),
        token_rows=[row for name in ("category", "brand") for row in group_tokens(products, name, "words", 9)],
    )  # fmt: skip


def build(products, vocabulary, needs=NEEDS, ids=None):
    return build_catalogue(products, vocabulary, SETTINGS, ("words",), ids or {"p1": 1, "p4": 2}, needs)


def test_ids_codes_and_title_tokens(products, vocabulary):
    catalogue = build(products, vocabulary)
    assert catalogue.ids.tolist() == [0, 1, 0, 0, 2, 0]
    row = products.slice(2, 1).to_pylist()[0]
    codes = catalogue.codes[2]
    assert codes[BRAND] == vocabulary.code("brand", row["brand"])
    assert codes[LEAF] == vocabulary.code("leaf", row["category"])
    assert codes[TOP] == vocabulary.code("top", "Tools")
    assert codes[SHOP] == vocabulary.code("shop", row["shop_id"])
    assert codes[PRICE_LEVEL] == 0, "six products are too few for quantiles"
    assert catalogue.text["words"].row(2).tolist() == vocabulary.encode(row["title"], "words", 4)


def test_a_batch_is_the_rows_of_the_catalogue(products, vocabulary):
    catalogue = build(products, vocabulary)
    batch = catalogue.batch(torch.tensor([4, 0, 4]))
    assert batch.ids.tolist() == [2, 0, 2]
    assert torch.equal(batch.text["words"].row(1), catalogue.text["words"].row(0).long())
    assert torch.equal(batch.scalars[0], catalogue.scalars[4])
    assert torch.equal(batch.location.country, catalogue.location.country[[4, 0, 4]])
    assert set(batch.fields) == {"category", "brand", "attributes", "description"}


def test_words_of_a_brand_are_those_of_titles(products):
    tokens = group_tokens(products, "brand", "words", 9)[0]
    brand = products["brand"][0].as_py()
    assert tokens == [("brand", brand), ("words", brand)]


def test_titles_alone_are_enough(vocabulary):
    bare = build(pa.table({"product_id": ["x"], "title": ["red drill"]}), vocabulary)
    assert bare.codes.tolist() == [[0, 0, 0, 0, 0]]
    assert bare.scalars.isnan().all()
    assert [len(bags.row(0)) for bags in bare.fields.values()] == [0, 0, 0, 0]


def test_a_product_without_title_is_refused(vocabulary):
    with pytest.raises(BadInput, match="title is empty in row 1"):
        build(pa.table({"product_id": ["x", "y"], "title": ["a", None]}), vocabulary)


def test_neighbour_queries_heaviest_first_or_drawn_without_the_target(products, vocabulary):
    graph = {"p0": ["a", "b", "c"], "p1": ["b"]}
    catalogue = with_graph(build(products, vocabulary), graph, vocabulary, SETTINGS)
    names = catalogue.graph_queries

    def chosen(batch, row):
        distinct = batch.graph.row(row).tolist()
        return len(distinct)

    heaviest = catalogue.batch(torch.tensor([0, 1, 2]), 2)
    assert [chosen(heaviest, row) for row in range(3)] == [2, 1, 0]
    target = torch.tensor([names.index("b"), names.index("b"), -1])
    drawn = catalogue.batch(torch.tensor([0, 1, 2]), 5, target, torch.Generator().manual_seed(1))
    assert [chosen(drawn, row) for row in range(3)] == [2, 0, 0]
    assert len(drawn.graph_text["words"]) == 2
