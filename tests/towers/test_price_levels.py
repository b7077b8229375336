"""Price levels: dear or cheap within a category, with the category above where one is too small."""

import numpy as np
import pyarrow as pa
import pytest

from components.towers.catalogue import build_catalogue
from components.towers.fields import field_values, fit_price_levels
from components.towers.interfaces import PRICE_LEVEL
from components.towers.price_levels import LEVELS, PriceLevels
from components.towers.settings import TowerSettings
from components.towers.vocabulary import Vocabulary


def table(categories, prices):
    numbers = [str(number) for number in range(len(prices))]
    return pa.table({"product_id": numbers, "title": numbers, "category": categories, "price": prices})


@pytest.fixture(scope="module")
def products():
    """100 cups from 1 to 100, 100 lamps ten times as dear, and 3 candles, too few for quantiles of their own."""
    prices = [*range(1, 101), *(10 * price for price in range(1, 101)), 5, 500, 5000]
    categories = ["Home > Cups"] * 100 + ["Home > Lamps"] * 100 + ["Home > Candles"] * 3
    return table(categories, [float(price) for price in prices])


def test_each_level_holds_a_tenth_of_its_category(products):
    levels = fit_price_levels(products)
    of_cups = [levels.level(("Home", "Cups"), price) for price in range(1, 101)]
    assert [of_cups.count(str(level)) for level in range(LEVELS)] == [10] * LEVELS
    assert sorted(of_cups) == of_cups


def test_one_price_is_dear_for_a_cup_and_cheap_for_a_lamp(products):
    levels = fit_price_levels(products)
    assert levels.level(("Home", "Cups"), 95.0) == "9"
    assert levels.level(("Home", "Lamps"), 95.0) == "0"


def test_a_small_or_new_category_takes_the_quantiles_above_it(products):
    levels = fit_price_levels(products)
    for path in (("Home", "Candles"), ("Home", "Soap"), ("Garden",), ()):
        found = [levels.level(path, price) for price in (1.0, 5000.0)]
        assert found == ["0", "9"]


def test_no_price_and_no_catalogue_mean_no_level(products):
    assert fit_price_levels(products).level(("Home", "Cups"), float("nan")) is None
    bare = fit_price_levels(products.select(["product_id", "title"]))
    assert bare.level(("Home", "Cups"), 5.0) is None
    assert set(field_values(products, bare)["price_level"]) == {None}


def test_levels_are_kept_with_the_vocabulary(products, tmp_path):
    """A product that comes after the training gets the level it would have had in it."""
    levels = fit_price_levels(products)
    fitted = Vocabulary.build(["a"], ("words",), codes=field_values(products, levels), price_levels=levels)
    fitted.save(tmp_path / "vocabulary.parquet")
    loaded = Vocabulary.load(tmp_path / "vocabulary.parquet")
    later = table(["Home > Cups", "Home > Lamps"], [95.5, 95.5])
    built = build_catalogue(later, loaded, TowerSettings(word_unit="words"), ("words",), {})
    assert built.codes[:, PRICE_LEVEL].tolist() == [loaded.code("price_level", "9"), loaded.code("price_level", "0")]


def test_quantiles_rise(products):
    prices = np.asarray(products["price"])
    levels = PriceLevels.fit([("Home",)] * len(prices), prices)
    assert all(edges == sorted(edges) and len(edges) == LEVELS - 1 for edges in levels.edges.values())
