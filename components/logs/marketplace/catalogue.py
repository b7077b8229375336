"""Every product of the marketplace as arrays of codes: what it is, who makes it, what it costs, how good it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.logs.marketplace.lexicon import GROUPS, SLOTS, Lexicon
from components.logs.marketplace.randomness import bell, choose, mix, running, uniform

BRAND_SHOWN, STYLE_SHOWN, MODEL_SHOWN = 1 << SLOTS, 2 << SLOTS, 4 << SLOTS
"""Bits of `Catalogue.shown` beyond the first three, which stand for the attribute slots."""
NEW_SHARE = 0.15
"""Share of the catalogue that appears during the log's window."""


@dataclass(frozen=True)
class Brands:
    """Brands by number: their group, style, price level in 0..1 and quality (mean 0, deviation 1)."""

    group: NDArray[np.int8]
    style: NDArray[np.int8]
    level: NDArray[np.float32]
    quality: NDArray[np.float32]
    start: NDArray[np.int32]  # where each group's brands begin, [groups + 1]


@dataclass(frozen=True)
class Shops:
    """Shops by number: where they are, and how readily a visitor buys (mean 0, deviation 1)."""

    place: NDArray[np.int8]
    conversion: NDArray[np.float32]


@dataclass(frozen=True)
class Catalogue:
    """Products by number, one array a property. Lengths are the number of products."""

    type: NDArray[np.int16]
    brand: NDArray[np.int32]
    shop: NDArray[np.int32]
    style: NDArray[np.int8]
    noun: NDArray[np.int8]  # which of the type's title nouns its title uses
    slots: NDArray[np.int8]  # [products, SLOTS] attribute values
    shown: NDArray[np.uint8]  # bits: which slots, and whether brand, style and model, stand in the title
    level: NDArray[np.float32]  # price level within the type, 0 cheap .. 1 dear
    price: NDArray[np.float64]
    quality: NDArray[np.float32]  # moves orders, not relevance
    appeal: NDArray[np.float32]  # of the picture: moves clicks, not relevance
    popularity: NDArray[np.float32]  # static rank of the old engine
    born: NDArray[np.int32]  # day of the window it appears on, -1: before

    def __len__(self) -> int:
        return len(self.type)


def brand_count(products: int) -> int:
    """How many brands a catalogue of this size has: one per 60 products, 12 in each group at least."""
    return max(len(GROUPS) * 12, products // 60)


def shop_count(products: int) -> int:
    """How many shops sell in a catalogue of this size: one per 20 products."""
    return products // 20


def make_brands(seed: int, products: int, styles: int) -> Brands:
    """The brands of a catalogue."""
    count = brand_count(products)
    number = np.arange(count)
    start = np.linspace(0, count, len(GROUPS) + 1).astype(np.int32)
    return Brands(
        group=(np.searchsorted(start, number, side="right") - 1).astype(np.int8),
        style=(mix(seed, "brand/style", number) % np.uint64(styles)).astype(np.int8),
        level=uniform(seed, "brand/level", number).astype(np.float32),
        quality=bell(seed, "brand/quality", number).astype(np.float32),
        start=start,
    )


def make_shops(seed: int, products: int, lexicon: Lexicon) -> Shops:
    """The shops of a catalogue."""
    number = np.arange(shop_count(products))
    places = running([place[4] for place in lexicon.places])
    return Shops(
        place=choose(places, uniform(seed, "shop/place", number)).astype(np.int8),
        conversion=bell(seed, "shop/conversion", number).astype(np.float32),
    )


def type_demand(seed: int, lexicon: Lexicon) -> NDArray[np.float64]:
    """How often each type is wanted: a Zipf law over the types in an order of the seed's own, summing to 1."""
    order = np.argsort(uniform(seed, "type/demand", np.arange(len(lexicon.types))), kind="stable")
    weight = np.empty(len(order))
    weight[order] = [round((rank + 3) ** -0.9, 9) for rank in range(len(order))]
    return weight / weight.sum()


def make_catalogue(seed: int, products: int, days: int, lexicon: Lexicon, brands: Brands) -> Catalogue:
    """The catalogue. Every property is a hash of the product's number, so any part can be made on its own.

    Args:
        days: length of the log's window; new products appear evenly over it.
    """

    def draw(what: str) -> NDArray[np.float64]:
        return uniform(seed, f"product/{what}", number)

    number = np.arange(products, dtype=np.int64)
    kind = choose(running(np.sqrt(type_demand(seed, lexicon))), draw("type")).astype(np.int16)
    group = lexicon.column("group")[kind]
    many = np.diff(brands.start)[group]
    # Each type has an order of its own among the brands of its group, so that a brand is strong in some types.
    place = (draw("brand") * np.sqrt(draw("brand/skew")) * many).astype(np.int64)
    brand = (brands.start[group] + (place + kind.astype(np.int64) * 7) % many).astype(np.int32)
    own_style = draw("style/own") < 0.4
    styles = len(lexicon.styles)
    style = np.where(own_style, (draw("style") * styles).astype(np.int8), brands.style[brand]).astype(np.int8)
    level = np.clip(brands.level[brand] + 0.2 * bell(seed, "product/level", number), 0, 1).astype(np.float32)
    sizes = lexicon.slot_sizes()[kind]
    slots = np.stack(
        [(draw(f"slot/{slot}") * draw(f"slot/skew/{slot}") ** 0.25 * sizes[:, slot]) for slot in range(SLOTS)], axis=1
    ).astype(np.int8)
    quality = (0.6 * brands.quality[brand] + 0.8 * bell(seed, "product/quality", number)).astype(np.float32)
    typical = np.log(lexicon.column("price").astype(np.float64))[kind]
    price = np.exp(typical + 1.5 * (level - 0.5) + 0.12 * bell(seed, "product/price", number))
    new = draw("new") < NEW_SHARE
    return Catalogue(
        type=kind,
        brand=brand,
        shop=_shops(seed, products, number, brand),
        style=style,
        noun=(draw("noun") * np.array([len(entry.titles) for entry in lexicon.types])[kind]).astype(np.int8),
        slots=slots,
        shown=_shown(draw),
        level=level,
        price=np.maximum(np.rint(price), 2.0) - 0.01,
        quality=quality,
        appeal=bell(seed, "product/appeal", number).astype(np.float32),
        popularity=(0.4 * quality + bell(seed, "product/popularity", number)).astype(np.float32),
        born=np.where(new, (draw("born") * days).astype(np.int32), -1).astype(np.int32),
    )


def _shops(seed: int, products: int, number: NDArray[np.int64], brand: NDArray[np.int32]) -> NDArray[np.int32]:
    """Six of ten products sell in their brand's own shop, the others in any."""
    shops = shop_count(products)
    anywhere = (uniform(seed, "product/shop", number) * shops).astype(np.int32)
    home = (mix(seed, "brand/shop", brand) % np.uint64(shops)).astype(np.int32)
    return np.where(uniform(seed, "product/home", number) < 0.6, home, anywhere).astype(np.int32)


def _shown(draw: Any) -> NDArray[np.uint8]:
    """Titles leave things out: an attribute stands in 65 of 100, the brand in 85, style and model in about half."""
    shares = [0.65] * SLOTS + [0.85, 0.45, 0.5]
    bits = [(draw(f"shown/{bit}") < share).astype(np.uint8) << bit for bit, share in enumerate(shares)]
    return np.bitwise_or.reduce(np.stack(bits), axis=0).astype(np.uint8)
