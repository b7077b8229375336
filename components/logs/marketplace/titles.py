"""Products as shoppers read them: titles in natural product language, descriptions, attributes, ratings, places."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from components.logs.contract import PRODUCTS
from components.logs.marketplace.catalogue import BRAND_SHOWN, MODEL_SHOWN, STYLE_SHOWN, Catalogue
from components.logs.marketplace.lexicon import SLOTS, Lexicon
from components.logs.marketplace.names import brand_names
from components.logs.marketplace.randomness import bell, mix, uniform
from components.logs.marketplace.wording import model_numbers
from components.logs.marketplace.world import World

_FRONT = ("audience", "colour")
"""Attributes that stand before the noun; the others follow it."""


def product_rows(world: World, start: int, stop: int) -> pa.Table:
    """Rows `start` to `stop` of the products table."""
    catalogue, lexicon, seed = world.catalogue, world.lexicon, world.seed
    number = np.arange(start, stop)
    brand = catalogue.brand[start:stop]
    names = brand_names(len(world.brands.group))
    kinds = [lexicon.types[code] for code in catalogue.type[start:stop]]
    titles, attributes = product_texts(world, start, stop)
    place = world.shops.place[catalogue.shop[start:stop]]
    jitter = uniform(seed, "product/latitude", number) - 0.5
    quality, popularity = catalogue.quality[start:stop], catalogue.popularity[start:stop]
    rating = np.clip(4.0 + 0.45 * quality + 0.15 * bell(seed, "product/rating", number), 1.0, 5.0)
    sales = np.floor(np.exp(3.0 + 1.3 * popularity + 0.4 * bell(seed, "product/sales", number)))
    age = np.where(catalogue.born[start:stop] >= 0, 0.02, 1.0)
    columns: dict[str, Any] = {
        "product_id": world.product_ids.slice(start, stop - start),
        "title": titles,
        "description": [
            f"{names[maker]} makes this {kind.titles[0].lower()}: "
            + ", ".join(f"{name} {value.lower()}" for name, value in pairs if name != "model")
            + "."
            for maker, kind, pairs in zip(brand, kinds, attributes, strict=True)
        ],
        "brand": [names[maker] for maker in brand],
        "category": [kind.path for kind in kinds],
        "shop_id": [f"shop{shop:06d}" for shop in catalogue.shop[start:stop]],
        "price": catalogue.price[start:stop],
        "attributes": attributes,
        "rating": np.round(rating, 1),
        "review_count": np.floor(sales * age * 0.12).astype(np.int64),
        "sales": (sales * age).astype(np.int64),
        "latitude": np.round([lexicon.places[code][2] for code in place] + 0.2 * jitter, 4),
        "longitude": np.round([lexicon.places[code][3] for code in place] - 0.2 * jitter, 4),
        "country": [lexicon.places[code][1] for code in place],
        "in_stock": uniform(seed, "product/stock", number) < 0.97,
        "updated_at": _updated(world, start, stop),
    }
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in PRODUCTS}, schema=PRODUCTS)


def product_texts(world: World, start: int, stop: int) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """Titles and attribute pairs of a range of products."""
    catalogue, lexicon = world.catalogue, world.lexicon
    names = brand_names(len(world.brands.group))
    shape = (mix(world.seed, "title/shape", np.arange(start, stop)) >> np.uint64(8)).astype(np.int64)
    models = model_numbers(world, np.arange(start, stop))
    titles, attributes = [], []
    for row, number in enumerate(range(start, stop)):
        maker = names[catalogue.brand[number]]
        model = models[row]
        attributes.append([*_attributes(catalogue, lexicon, number), ("model", model)])
        titles.append(_title(catalogue, lexicon, number, maker, model, int(shape[row])))
    return titles, attributes


def _attributes(catalogue: Catalogue, lexicon: Lexicon, number: int) -> list[tuple[str, str]]:
    slots = lexicon.types[catalogue.type[number]].slots
    return [(name, lexicon.attributes[name][catalogue.slots[number, slot]]) for slot, name in enumerate(slots)]


def _title(catalogue: Catalogue, lexicon: Lexicon, number: int, maker: str, model: str, shape: int) -> str:
    kind, shown = lexicon.types[catalogue.type[number]], catalogue.shown[number]
    front: list[str] = []
    back: list[str] = []
    for slot in range(SLOTS):
        if shown >> slot & 1:
            name = kind.slots[slot]
            word = lexicon.attributes[name][catalogue.slots[number, slot]]
            (front if name in _FRONT else back).append(word)
    words = lexicon.style_words[catalogue.style[number]]
    style = words[shape % len(words)] if shown & STYLE_SHOWN else ""
    maker = maker if shown & BRAND_SHOWN else ""
    model = model if shown & MODEL_SHOWN else ""
    noun = kind.titles[catalogue.noun[number]]
    form = shape // 16 % 4
    if form == 0:
        parts = [maker, style, *front, noun, *back, model]
    elif form == 1:
        tail = ", ".join([*front, *back])
        parts = [maker, style, noun, model, f"– {tail}" if tail else ""]
    elif form == 2:
        parts = [*reversed(front), style, noun, *back, f"by {maker}" if maker else "", f"({model})" if model else ""]
    else:
        parts = [maker, model, *front, *back, style, noun]
    return " ".join(part for part in parts if part)


def _updated(world: World, start: int, stop: int) -> list[datetime]:
    first = datetime.combine(world.first_day, time(), UTC)
    spread = uniform(world.seed, "product/updated", np.arange(start, stop))
    moments = []
    for born, part in zip(world.catalogue.born[start:stop].tolist(), spread.tolist(), strict=True):
        away = timedelta(seconds=int(part * 14_400))
        moments.append(first + timedelta(days=born) + away if born >= 0 else first - timedelta(days=part * 365) - away)
    return [moment.replace(microsecond=0) for moment in moments]


def day_of(world: World, number: int) -> date:
    """The calendar day of day `number` of the window (0 is the first day of behaviour)."""
    return world.first_day + timedelta(days=number)
