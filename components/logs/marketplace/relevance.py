"""True relevance: whether a product is what a query asks for. Taste, price, quality and pictures play no part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.logs.marketplace.catalogue import Catalogue
from components.logs.marketplace.lexicon import SLOTS, Lexicon
from components.logs.marketplace.wants import ANY, DEAR, Wants

SAME_FAMILY = 0.12
WRONG_ATTRIBUTE = 0.35
WRONG_BRAND = 0.3
WRONG_PRICE = 0.45
SAME_MAKER = 0.4  # a brand's other products of the type, when one model was asked for
BANDS = (0.36, 0.64)  # price levels up to the first are cheap, from the second on dear


class Relevance:
    """Grades (query, product) pairs of one catalogue."""

    def __init__(self, lexicon: Lexicon, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        families = [kind.path.rsplit(" > ", 1)[0] for kind in lexicon.types]
        codes = {family: code for code, family in enumerate(dict.fromkeys(families))}
        self._family = np.array([codes[family] for family in families], dtype=np.int16)
        self._audience_slot = lexicon.audience_slot()
        self._serves = np.zeros((len(lexicon.occasions), len(lexicon.types)), dtype=bool)
        self._for_whom = np.array([occasion.audience for occasion in lexicon.occasions], dtype=np.int8)
        for code, occasion in enumerate(lexicon.occasions):
            self._serves[code, list(occasion.types)] = True

    def grades(self, wants: Wants, products: NDArray[np.int32]) -> NDArray[np.float32]:
        """Relevance of each query's products, float32 [queries, k] in 0..1; exactly 1 is relevant.

        Args:
            products: numbers of the products to grade, int32 [queries, k].
        """
        catalogue = self._catalogue
        kind, asked = catalogue.type[products], wants.type[:, None]
        same = kind == asked
        family = self._family[kind] == self._family[asked]
        grade = np.where(same, 1.0, np.where(family, SAME_FAMILY, 0.0)).astype(np.float32)
        for slot in range(SLOTS):
            value = wants.slots[:, slot, None]
            wrong = (value != ANY) & (catalogue.slots[products, slot] != value) & same
            grade *= np.where(wrong, np.float32(WRONG_ATTRIBUTE), np.float32(1))
        band, level = wants.band[:, None], catalogue.level[products]
        fits = np.where(band == DEAR, level >= BANDS[1], level <= BANDS[0])
        grade *= np.where((band != ANY) & ~fits, np.float32(WRONG_PRICE), np.float32(1))
        brand = wants.brand[:, None]
        own = catalogue.brand[products] == brand
        grade *= np.where((brand != ANY) & ~own, np.float32(WRONG_BRAND), np.float32(1))
        alone = (asked == ANY) & (brand != ANY)
        grade = np.where(alone, own.astype(np.float32), grade)
        model = wants.product[:, None]
        grade = np.where(model != ANY, np.where(products == model, np.float32(1), grade * SAME_MAKER), grade)
        named = wants.occasion >= 0
        if named.any():
            grade[named] = self._suits(wants.occasion[named], products[named])
        return grade.astype(np.float32)

    def _suits(self, occasion: NDArray[np.int8], products: NDArray[np.int32]) -> NDArray[np.float32]:
        kind = self._catalogue.type[products]
        suits = self._serves[occasion[:, None], kind]
        whom, slot = self._for_whom[occasion][:, None], self._audience_slot[kind]
        audience = np.take_along_axis(self._catalogue.slots[products], np.maximum(slot, 0)[..., None], axis=-1)[..., 0]
        return (suits & ((whom == ANY) | (slot == ANY) | (audience == whom))).astype(np.float32)
