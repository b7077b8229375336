"""How much a shopper likes a product for its style, price, brand, shop and audience: what a history tells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.logs.marketplace.randomness import mix
from components.logs.marketplace.shoppers import BRANDS_LIKED, Shoppers
from components.logs.marketplace.wants import ANY
from components.logs.marketplace.world import World

STYLE, SECOND_STYLE, PRICE, BRAND, SHOP, AUDIENCE = 1.5, 0.6, 3.4, 0.5, 1.2, 2.2
"""Weights of a taste's parts, in units of utility."""
_CENTRE = 1.3


def taste(
    world: World, shoppers: Shoppers, rows: NDArray[np.int64], products: NDArray[np.int32]
) -> NDArray[np.float32]:
    """The liking of each row's products, float32 [rows, k], about -2..3; 0 for types that nobody has a taste in.

    Args:
        rows: shoppers, int64 [n]. products: int32 [n, k].
    """
    catalogue, lexicon = world.catalogue, world.lexicon
    kind = catalogue.type[products]
    group = lexicon.column("group")[kind]
    who = rows[:, None]
    style = catalogue.style[products]
    liking = np.where(style == shoppers.styles[who, group, 0], np.float32(STYLE), np.float32(0))
    liking += np.where(style == shoppers.styles[who, group, 1], np.float32(SECOND_STYLE), np.float32(0))
    liking += np.float32(0.5 * PRICE) * (
        1 - np.float32(2.2) * np.abs(catalogue.level[products] - shoppers.level[who, group])
    )
    brand = catalogue.brand[products]
    for choice in range(BRANDS_LIKED):
        liking += np.where(brand == shoppers.brands[who, group, choice], np.float32(BRAND), np.float32(0))
    liking += np.where(trusted(world, shoppers, rows, catalogue.shop[products]), np.float32(SHOP), np.float32(0))
    slot = lexicon.audience_slot()[kind]
    audience = np.take_along_axis(catalogue.slots[products], np.maximum(slot, 0)[..., None], axis=2)[..., 0]
    other = (slot != ANY) & (audience != shoppers.audience[who])
    liking -= np.where(other, np.float32(AUDIENCE), np.float32(0))
    return (liking - np.float32(_CENTRE)) * lexicon.column("taste").astype(np.float32)[kind]


def trusted(world: World, shoppers: Shoppers, rows: NDArray[np.int64], shops: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each row's shopper trusts each of its shops, bool [rows, k]: one shop in eight, for life."""
    return mix(world.seed, "taste/shop", shoppers.number[rows][:, None], shops) % np.uint64(8) == 0
