"""Filters: typed, resolved to codes, and the same to Milvus and to numpy."""

import math
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.common.errors import BadInput
from components.index.codes import CATEGORY_LEVELS, Codes, category_levels
from components.index.filters import Filter
from components.logs.contract import PRODUCTS
from tests.index.fakes import BRANDS, TYPES

EXPRESSION = re.compile(r"[a-z_0-9 \[\],.()=<>+-]*")

HOSTILE = ["", "x' or 1==1 --", '"] or price > 0 or brand in ["', "a\nb", "💡", "norrland", "NORRLAND ", "old  mill"]


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"brand": 3}, "brand must be a text"),
        ({"brand": " "}, "1 to 512 characters"),
        ({"category": "x" * 513}, "1 to 512 characters"),
        ({"price_min": "3"}, "must be a number"),
        ({"price_min": True}, "must be a number"),
        ({"price_max": math.nan}, "finite"),
        ({"price_max": math.inf}, "finite"),
        ({"price_min": 10**400}, "finite"),
        ({"price_min": -1}, "at least 0"),
        ({"price_min": 5, "price_max": 4}, "is above"),
        ({"in_stock": "yes"}, "true or false"),
        ({"colour": "red"}, "has no field 'colour'"),
    ],
)
def test_a_bad_filter_is_refused_with_a_sentence(values, part):
    with pytest.raises(BadInput, match=part):
        Filter.from_mapping(values)


def test_an_unknown_value_finds_nothing_and_says_so(products):
    codes = Codes.learn(products)
    resolved = codes.resolve(Filter(brand="Nobody", category="Home > Nowhere"))
    assert resolved.impossible
    assert resolved.notes == (
        "No product has the brand 'Nobody'.",
        "No product is in the category 'Home > Nowhere'.",
    )
    assert not resolved.mask(codes.columns(products)).any()


def test_codes_of_known_values_never_change(products):
    first = Codes.learn(products.slice(0, 40))
    second = Codes.learn(products, first)
    for name, vocabulary in first.values.items():
        assert second.values[name].items() >= vocabulary.items()
        assert len(set(second.values[name].values())) == len(second.values[name])


def test_codes_survive_their_file(tmp_path, products):
    codes = Codes.learn(products)
    codes.write(tmp_path / "codes.json")
    assert Codes.read(tmp_path / "codes.json").values == codes.values


def test_a_category_path_is_filtered_at_every_depth():
    deep = " > ".join("abcdefgh")
    paths = ["a > b > x", deep, deep + " > i", "a", None, " > ", "q > b", deep + "ats"]
    table = pa.Table.from_pylist(
        [{"product_id": str(n), "title": "t", "category": path} for n, path in enumerate(paths)], schema=PRODUCTS
    )
    codes = Codes.learn(table)
    columns = codes.columns(table)

    def found(category):
        return np.flatnonzero(codes.resolve(Filter(category=category)).mask(columns)).tolist()

    assert found("A > B") == [0, 1, 2, 7]
    assert found("a") == [0, 1, 2, 3, 7]
    assert found(deep) == [1, 2]
    assert found("b") == [0, 1, 2, 6, 7]  # a name, wherever it stands in the tree
    assert found("a > b > c > d > e > f > g") == [1, 2, 7]
    assert found("b > c") == []
    assert len(category_levels(deep)) == CATEGORY_LEVELS


def matches(wanted: Filter, product: dict) -> bool:
    """The filter's meaning, read straight off a product."""

    def plain(value):
        return " ".join(value.casefold().split())

    def same(value, text):
        return value is not None and plain(value) == plain(text)

    for name in ("brand", "shop_id", "country"):
        if getattr(wanted, name) is not None and not same(product[name], getattr(wanted, name)):
            return False
    if wanted.category is not None:
        parts = [plain(part) for part in product["category"].split(">")]
        asked = [plain(part) for part in wanted.category.split(">")]
        if parts[: len(asked)] != asked and not (len(asked) == 1 and asked[0] in parts):
            return False
    price = product["price"]
    if wanted.price_min is not None and (price is None or price < wanted.price_min):
        return False
    if wanted.price_max is not None and (price is None or price > wanted.price_max):
        return False
    return wanted.in_stock is None or (product["in_stock"] is not False) == wanted.in_stock


PRICES = st.none() | st.floats(0, 220, allow_nan=False) | st.sampled_from([0.0, 1e-9, 5e-324, 1e22, 1.7e308])
FILTERS = st.builds(
    lambda brand, category, shop_id, country, prices, in_stock: Filter(
        brand or None, category, shop_id, country, *prices, in_stock
    ),
    st.none() | st.sampled_from([*BRANDS, *HOSTILE]),
    st.none() | st.sampled_from([*TYPES.values(), "Home", "home > lighting", "Boots", *HOSTILE[1:]]),
    st.none() | st.sampled_from(["shop1", "SHOP2", "shop9"]),
    st.none() | st.sampled_from(["DE", "se", "FR"]),
    st.tuples(PRICES, PRICES).filter(lambda pair: None in pair or pair[0] <= pair[1]),
    st.sampled_from([None, True, False]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=FILTERS)
def test_milvus_numpy_and_the_plain_meaning_select_the_same_products(wanted, products, filled_store, vectors):
    codes = Codes.learn(products)
    resolved = codes.resolve(wanted)
    ids = products.column("product_id").to_pylist()
    meant = [row["product_id"] for row in products.to_pylist() if matches(wanted, row)]
    masked = [ids[row] for row in np.flatnonzero(resolved.mask(codes.columns(products)))]
    assert masked == meant
    assert resolved.impossible <= (not meant)
    if resolved.impossible:
        return
    expression = resolved.expression()
    assert EXPRESSION.fullmatch(expression), expression
    hits = filled_store.search("towerline_filled", vectors[:1], len(ids), expression)[0]
    assert sorted(key for key, _ in hits) == meant
