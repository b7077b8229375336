"""Posting lists: the products that share a key, most popular first, as the old engine's index holds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.logs.marketplace.catalogue import Catalogue
from components.logs.marketplace.lexicon import SLOTS

_VALUES = 16  # more than any attribute has
_TYPES = 128  # more than the lexicon has
_HEAD = 44  # products of a type that everybody comes across


class Postings:
    """Products grouped by an integer key, by falling popularity within a key.

    Args:
        keys: one key a row. products: the product of each row. popularity: its static rank.
    """

    def __init__(self, keys: NDArray[np.int64], products: NDArray[np.int32], popularity: NDArray[np.float32]) -> None:
        order = np.lexsort((-popularity, keys))
        self.products = products[order]
        self._keys, self._start = np.unique(keys[order], return_index=True)
        self._stop = np.append(self._start[1:], len(keys))

    def spans(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start in `products` and length of each key's list; length 0 for a key nobody has."""
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        found = self._keys[place] == keys
        start = self._start[place]
        return start, np.where(found, self._stop[place] - start, 0)


@dataclass(frozen=True)
class Index:
    """The old engine's lists: by type, by type and attribute, by brand and type, and by brand."""

    type: Postings
    slot: Postings
    maker: Postings
    brand: Postings


def type_key(kind: NDArray[np.int16]) -> NDArray[np.int64]:
    """Key of a product type."""
    return kind.astype(np.int64)


def slot_key(kind: NDArray[np.int16], slot: int, value: NDArray[np.int8]) -> NDArray[np.int64]:
    """Key of a type whose attribute in `slot` has `value`."""
    return (kind.astype(np.int64) * SLOTS + slot) * _VALUES + value


def maker_key(brand: NDArray[np.int32], kind: NDArray[np.int16]) -> NDArray[np.int64]:
    """Key of a brand's products of a type."""
    return brand.astype(np.int64) * _TYPES + kind


def build_index(catalogue: Catalogue) -> Index:
    """The lists of a catalogue: six entries a product."""
    number = np.arange(len(catalogue), dtype=np.int32)
    popularity = catalogue.popularity
    slots = [slot_key(catalogue.type, slot, catalogue.slots[:, slot]) for slot in range(SLOTS)]
    return Index(
        type=Postings(type_key(catalogue.type), number, popularity),
        slot=Postings(np.concatenate(slots), np.tile(number, SLOTS), np.tile(popularity, SLOTS)),
        maker=Postings(maker_key(catalogue.brand, catalogue.type), number, popularity),
        brand=Postings(catalogue.brand.astype(np.int64), number, popularity),
    )


def encounter(postings: Postings, keys: NDArray[np.int64], draws: NDArray[np.float64]) -> NDArray[np.int32]:
    """Products one comes across in each key's list, int32 [keys, k]; the keys must exist.

    Three of four columns come from the popular head, whose size does not grow with the catalogue, the last from the
    whole list. `draws` are uniform, float64 [keys, k].
    """
    start, length = postings.spans(keys)
    reach = np.where(np.arange(draws.shape[1]) % 4 < 3, np.minimum(length, _HEAD)[:, None], length[:, None])
    return postings.products[start[:, None] + (draws * reach).astype(np.int64)]
