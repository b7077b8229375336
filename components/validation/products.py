"""Row checks of the catalogue."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from components.validation.checker import Across, Checker, later_copies
from components.validation.conform import Conformed
from components.validation.hashing import hash_strings
from components.validation.identity import Catalogue
from components.validation.rules import Rules, check_numbers, times_of
from components.validation.summaries import Summary
from components.validation.text import check_id, check_text, undecodable_rows, words


class ProductChecker(Checker):
    """Ids unique, titles readable, prices finite and positive, places on the globe. 25 bytes a product are kept."""

    table = "products"

    def __init__(self, day: str | None, rules: Rules) -> None:
        super().__init__(day, rules)
        self._codes: dict[str, dict[str, int]] = {"category": {}, "brand": {}}
        self._words = np.zeros(0, dtype=np.uint64)

    def reset(self) -> None:
        super().reset()
        self._codes = {"category": {}, "brand": {}}
        self._words = np.zeros(0, dtype=np.uint64)

    def check(self, conformed: Conformed) -> None:
        settings = self.rules.settings
        check_id(conformed, "product_id", settings.id_bytes)
        check_text(conformed, "title", settings.title_characters, empty=True)
        for name in ("brand", "category", "shop_id", "country"):
            check_text(conformed, name, settings.text_characters)
        # Descriptions hold line breaks, markup and odd bytes in every shop; only what would break a reader counts.
        _decodable(conformed, "description", settings.text_characters)
        _attributes(conformed)
        check_numbers(conformed, "price", 0.0, settings.price_maximum, above=True)
        check_numbers(conformed, "rating", 0.0, 1_000.0)
        check_numbers(conformed, "review_count", 0.0, 1e12)
        check_numbers(conformed, "sales", 0.0, 1e12)
        check_numbers(conformed, "latitude", -90.0, 90.0)
        check_numbers(conformed, "longitude", -180.0, 180.0)

    def keep(self, conformed: Conformed) -> None:
        good = conformed.marks.good
        self.remember(
            id=hash_strings(conformed.column("product_id")),
            good=good,
            category=self._encode("category", conformed.column("category")),
            brand=self._encode("brand", conformed.column("brand")),
            updated=times_of(conformed, "updated_at"),
        )
        for name in ("title", "brand", "category"):
            if name in conformed.columns:
                found = hash_strings(words(conformed.columns[name].filter(pa.array(good))))
                self._words = np.union1d(self._words, found)

    def across(self) -> list[Across]:
        good, ids = self.recall("good").astype(bool), self.recall("id").astype(np.uint64)
        twice = np.zeros(len(good), dtype=bool)
        twice[good] = later_copies(ids[good])
        return [Across(twice, "duplicate_id", "product_id occurs in an earlier row of products already")]

    def finish(self, good: np.ndarray, summary: Summary, folder: Path) -> None:
        ids = self.recall("id").astype(np.uint64)[good]
        order = np.argsort(ids)
        Catalogue(
            ids[order],
            self.recall("category").astype(np.int32)[good][order],
            self.recall("brand").astype(np.int32)[good][order],
            list(self._codes["category"]),
            list(self._codes["brand"]),
            self._words,
        ).save(folder)

    def _encode(self, name: str, array: pa.Array) -> np.ndarray:
        encoded = array.dictionary_encode()
        known = self._codes[name]
        table = [known.setdefault(value, len(known)) for value in encoded.dictionary.to_pylist()]
        codes = np.asarray([*table, -1], dtype=np.int32)
        return codes[encoded.indices.fill_null(len(table)).to_numpy(zero_copy_only=False)]


def _decodable(conformed: Conformed, name: str, characters: int) -> None:
    if name not in conformed.columns:
        return
    array = conformed.columns[name]
    conformed.marks.add(undecodable_rows(array), "undecodable_text", f"{name} is not valid UTF-8: {{value}}", array)
    sizes = np.asarray(array.cast(pa.binary()).is_valid().to_numpy(zero_copy_only=False), dtype=np.int64)
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
    sizes *= np.diff(offsets)
    sentence = f"{name} is longer than {characters:,} bytes: {{value}}"
    conformed.marks.add(sizes > characters, "text_too_long", sentence, array)


def _attributes(conformed: Conformed) -> None:
    """Marks rows with undecodable attribute names or values; in the usual case two checks of a whole array each."""
    if "attributes" not in conformed.columns:
        return
    array = conformed.columns["attributes"]
    bad_parts = undecodable_rows(array.keys) | undecodable_rows(array.items)
    if bad_parts.any():
        offsets = array.offsets.to_numpy() - array.offsets[0].as_py()
        before = np.concatenate([[0], np.cumsum(bad_parts)])
        bad = before[offsets[1:]] > before[offsets[:-1]]
        conformed.marks.add(bad, "undecodable_text", "attributes hold text that is not valid UTF-8")
