"""The world a log is drawn from: catalogue, brands, shops, demand and the old engine, all from settings and seed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.logs.marketplace.catalogue import (
    Brands,
    Catalogue,
    Shops,
    make_brands,
    make_catalogue,
    make_shops,
    type_demand,
)
from components.logs.marketplace.identifiers import numbered
from components.logs.marketplace.lexicon import Lexicon, lexicon
from components.logs.marketplace.postings import Index, build_index
from components.logs.marketplace.relevance import Relevance
from components.logs.settings import LogSettings

SHOPPERS_PER_PRODUCT = 0.34
SHARD = 20_000
"""Shoppers whose day is generated together: bounds the memory of a day at any scale."""


@dataclass(frozen=True)
class World:
    """Everything that does not change from day to day."""

    settings: LogSettings
    lexicon: Lexicon
    brands: Brands
    shops: Shops
    catalogue: Catalogue
    index: Index
    relevance: Relevance
    demand: NDArray[np.float64]
    product_ids: pa.StringArray

    @property
    def seed(self) -> int:
        """The seed all randomness follows from."""
        return self.settings.seed

    @property
    def days(self) -> int:
        """Days of the window: history first, then searches."""
        return self.settings.history_days + self.settings.days

    @property
    def first_day(self) -> date:
        """The first day of the window."""
        return date.fromisoformat(self.settings.end) - timedelta(days=self.days - 1)

    @property
    def shoppers(self) -> int:
        """How many shoppers there are."""
        return int(self.settings.products * SHOPPERS_PER_PRODUCT)

    @property
    def shards(self) -> int:
        """How many parts a day is generated in."""
        return -(-self.shoppers // SHARD)


def build_world(settings: LogSettings) -> World:
    """The world of these settings: about 0.1 s for 5,000 products, half a minute for 10,000,000."""
    words = lexicon()
    brands = make_brands(settings.seed, settings.products, len(words.styles))
    days = settings.history_days + settings.days
    catalogue = make_catalogue(settings.seed, settings.products, days, words, brands)
    return World(
        settings=settings,
        lexicon=words,
        brands=brands,
        shops=make_shops(settings.seed, settings.products, words),
        catalogue=catalogue,
        index=build_index(catalogue),
        relevance=Relevance(words, catalogue),
        demand=type_demand(settings.seed, words),
        product_ids=numbered("p", np.arange(settings.products), 8),
    )
