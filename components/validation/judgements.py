"""Row checks of the graded (query, product) pairs that evaluation uses."""

import numpy as np

from components.validation.checker import Across, Checker, later_copies
from components.validation.conform import Conformed
from components.validation.hashing import combine
from components.validation.identity import among
from components.validation.rules import Rules, check_numbers
from components.validation.text import check_id, check_text


class JudgementChecker(Checker):
    """Queries readable, grades finite, products in the catalogue (`products` uint64 ascending), each pair once."""

    table = "judgements"

    def __init__(self, day: str | None, rules: Rules, products: np.ndarray) -> None:
        super().__init__(day, rules)
        self._products = products

    def check(self, conformed: Conformed) -> None:
        check_text(conformed, "query", self.rules.settings.query_characters, empty=True, markup=False)
        check_id(conformed, "product_id", self.rules.settings.id_bytes)
        check_numbers(conformed, "grade", -1e6, 1e6)
        products = conformed.column("product_id")
        hashed = conformed.hashed("product_id")
        orphan = hashed.spread(~among(hashed.unique, self._products))
        sentence = "product_id {value} is not among the good rows of products"
        conformed.marks.add(orphan, "unknown_product", sentence, products)

    def keep(self, conformed: Conformed) -> None:
        names = ("query", "product_id", "locale")
        self.remember(row=combine(*(conformed.hashed(name).rows for name in names)), good=conformed.marks.good)

    def across(self) -> list[Across]:
        good = self.recall("good").astype(bool)
        twice = np.zeros(len(good), dtype=bool)
        twice[good] = later_copies(self.recall("row")[good])
        return [Across(twice, "duplicate", "the same query, product and locale are judged in an earlier row")]
