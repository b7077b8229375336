"""Shoppers: lasting tastes that drift, the project of a week, and when and where they shop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.logs.marketplace.catalogue import Brands
from components.logs.marketplace.lexicon import GROUPS, Lexicon
from components.logs.marketplace.randomness import bell, choose, mix, running, uniform

BRANDS_LIKED = 2
LASTING_TYPES = 5
DRIFT_DAYS = 45
"""A shopper's taste holds about this long; then one of its parts is drawn anew."""
_SPREAD = 1.05  # deviation of log activity: a few shoppers do most of the shopping


@dataclass(frozen=True)
class Shoppers:
    """Some shoppers as they are on one day, one row each. Group columns follow `lexicon.GROUPS`."""

    number: NDArray[np.int64]
    styles: NDArray[np.int8]  # [shoppers, groups, 2] the style liked most, and second
    level: NDArray[np.float32]  # [shoppers, groups] price level sought, 0..1
    brands: NDArray[np.int32]  # [shoppers, groups, BRANDS_LIKED]
    audience: NDArray[np.int8]  # whom they buy clothes for
    place: NDArray[np.int8]
    activity: NDArray[np.float32]  # mean 1
    joined: NDArray[np.int32]  # day of the window, -1: before
    types: NDArray[np.int16]  # [shoppers, LASTING_TYPES] what they come back for

    def __len__(self) -> int:
        return len(self.audience)


def make_shoppers(
    seed: int, number: NDArray[np.int64], days: int, today: int, lexicon: Lexicon, brands: Brands,
    demand: NDArray[np.float64],
) -> Shoppers:  # fmt: skip
    """The shoppers of these numbers as they are on day `today` of a window of `days`."""
    column = number[:, None]
    groups = np.arange(len(GROUPS))[None, :]
    # Each part of a taste has its own epoch, so that parts change one at a time and at different days for everybody.
    epoch = ((today + uniform(seed, "taste/phase", column, groups) * DRIFT_DAYS) // DRIFT_DAYS).astype(np.int64)
    styles = len(lexicon.styles)
    common = (mix(seed, "taste/style", number) % np.uint64(styles)).astype(np.int8)[:, None]
    own = (mix(seed, "taste/style/own", column, groups) % np.uint64(styles)).astype(np.int8)
    first = np.where(uniform(seed, "taste/style/common", column, groups) < 0.8, common, own)
    later = (mix(seed, "taste/style/later", column, groups, epoch) % np.uint64(styles)).astype(np.int8)
    second = np.where(later == first, (later + 1) % styles, later)
    lean = uniform(seed, "taste/level", number)[:, None]
    level = np.clip(lean + 0.12 * bell(seed, "taste/level/own", column, groups, epoch), 0, 1).astype(np.float32)
    style_pair = np.stack([first, second], axis=2).astype(np.int8)
    lasting = choose(running(np.sqrt(demand)), uniform(seed, "taste/types", column, np.arange(LASTING_TYPES)[None, :]))
    # Nine of ten buy for one audience all their life.
    audience = choose(running([0.42, 0.46, 0.12]), uniform(seed, "taste/audience", number))
    new = uniform(seed, "shopper/new", number) < 0.15
    return Shoppers(
        number=number,
        styles=style_pair,
        level=level,
        brands=_liked_brands(seed, column, style_pair, level, brands),
        audience=audience.astype(np.int8),
        place=choose(running([place[4] for place in lexicon.places]), uniform(seed, "shopper/place", number)).astype(
            np.int8
        ),
        activity=np.exp(_SPREAD * bell(seed, "shopper/activity", number) - _SPREAD**2 / 2).astype(np.float32),
        joined=np.where(new, (uniform(seed, "shopper/joined", number) * days).astype(np.int32), -1).astype(np.int32),
        types=lasting.astype(np.int16),
    )


def weekly_project(
    seed: int, shopper: NDArray[np.int64], week: int, which: NDArray[np.int64], demand: NDArray[np.float64]
) -> NDArray[np.int16]:
    """The type of a shopper's project in a week; `which` (0 or 1) tells its two parts apart."""
    return choose(running(demand), uniform(seed, "project", shopper, week, which)).astype(np.int16)


def _liked_brands(
    seed: int, column: NDArray[np.int64], styles: NDArray[np.int8], level: NDArray[np.float32], brands: Brands
) -> NDArray[np.int32]:
    """Of eight brands each shopper met by chance in each group, the two that suit style and price best."""
    shoppers, groups = level.shape
    met = 8
    draws = uniform(seed, "taste/brands", column[:, :, None], np.arange(groups)[None, :, None], np.arange(met))
    start, many = brands.start[:-1][None, :, None], np.diff(brands.start)[None, :, None]
    candidates = (start + (draws * many).astype(np.int32)).astype(np.int32)
    suits = (brands.style[candidates] == styles[:, :, :1]).astype(np.float32)
    suits = suits - np.float32(1.5) * np.abs(brands.level[candidates] - level[:, :, None])
    best = np.argsort(-suits, axis=2, kind="stable")[:, :, :BRANDS_LIKED]
    return np.take_along_axis(candidates, best, axis=2).reshape(shoppers, groups, BRANDS_LIKED)
