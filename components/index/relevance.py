"""Relevance control (MGDSPR, section on serving): a boolean filter that keeps what carries the query's key terms.

The paper's form is (found by vectors) AND (brand: x) AND (category: y): products that lack a key term are dropped from
the found list. With `relevance=inside` the same condition limits the search itself, so no place of the list is wasted.

The rule when too few survive: key terms are given up one by one, the one that shoppers disregarded most in the log
first, until `relevance_minimum` products survive (or as many as were found, if fewer); without any term left the list
stays as it was found. A key term that no product carries is given up at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.index.postings import Postings, contained
from components.index.products import Products
from components.index.ranking import Found
from components.index.settings import IndexSettings
from components.index.terms import MODEL, MOST_WORDS, SIZE, KeyTerm, Terms, shape, sizes
from components.towers.text import stems


@dataclass(frozen=True)
class Controlled:
    """A found list after relevance control.

    rows int64 and scores float32 [m]; removed: products dropped; terms: applied; given_up: recognised, not applied.
    """

    rows: np.ndarray
    scores: np.ndarray
    removed: int
    terms: tuple[KeyTerm, ...] = ()
    given_up: tuple[KeyTerm, ...] = ()

    @property
    def share_removed(self) -> float:
        """Share of the found products that were dropped (1 minus the paper's stage survival)."""
        return self.removed / max(1, self.removed + len(self.rows))


def key_terms(query: str, terms: Terms, postings: Postings | None = None) -> list[KeyTerm]:
    """The key terms of a query, from left to right: the longest known value at each place, sizes, model numbers.

    With `postings`, a word of a model's shape counts only when some product carries it.
    """
    words = stems(query)
    found: list[KeyTerm] = []
    start = 0
    while start < len(words):
        for length in range(min(MOST_WORDS, len(words) - start), 0, -1):
            term = _term(tuple(words[start : start + length]), terms, postings)
            if term is not None:
                found.append(term)
                start += length
                break
        else:
            start += 1
    return list(dict.fromkeys(found))


def _term(words: tuple[str, ...], terms: Terms, postings: Postings | None) -> KeyTerm | None:
    known = terms.values.get(tuple(dict.fromkeys(words)))
    if known is not None and terms.used(known.kind):
        return known
    if len(words) == 2 and terms.used(SIZE):
        for size in sizes(words, terms.units):
            return KeyTerm(SIZE, size, (size,), terms.agreement(SIZE))
    model_like = len(words) == 1 and shape(words[0]) in terms.model_shapes and terms.used(MODEL)
    if model_like and (postings is None or postings.frequency(words[0])):
        return KeyTerm(MODEL, words[0], words, terms.agreement(MODEL))
    return None


class RelevanceControl:
    """The relevance control of one release. Thread-safe; made by `open`."""

    def __init__(self, terms: Terms, postings: Postings, settings: IndexSettings) -> None:
        self.terms, self.postings = terms, postings
        self.mode = settings.relevance
        self._minimum, self._fetch = settings.relevance_minimum, settings.relevance_fetch

    @classmethod
    def open(cls, index: Path, products: Products, settings: IndexSettings) -> "RelevanceControl":
        """From a release's index directory. Raises NotFound or BadInput."""
        return cls(Terms.read(index / "terms.json"), Postings.read(index), settings)

    def key_terms(self, query: str) -> list[KeyTerm]:
        """See `key_terms`; empty when relevance control is off."""
        return [] if self.mode == "off" else key_terms(query, self.terms, self.postings)

    def fetch(self, query: str, k: int) -> int:
        """How many products to search for so that about k survive."""
        return k * self._fetch if self.mode == "after" and self.key_terms(query) else k

    def apply(self, query: str, found: Found, k: int | None = None) -> Controlled:
        """Drops the found products that lack a key term of the query, by the rule above; keeps the best k, in order."""
        rows, scores = found
        wanted = self.key_terms(query)
        if not wanted or not len(rows):
            return Controlled(rows[:k], scores[:k], 0)
        carries = [contained(rows, self.postings.all_of(term.words)) for term in wanted]
        given_up = [term for term in wanted if not len(self.postings.all_of(term.words))]
        keep = _all(carries, wanted, given_up, len(rows))
        for term in self._weakest_first(wanted):
            if keep.sum() >= min(self._minimum, len(rows)):
                break
            if term not in given_up:
                given_up.append(term)
                keep = _all(carries, wanted, given_up, len(rows))
        applied = tuple(term for term in wanted if term not in given_up)
        return Controlled(rows[keep][:k], scores[keep][:k], int((~keep).sum()), applied, tuple(given_up))

    def limit(self, query: str) -> tuple[np.ndarray | None, tuple[KeyTerm, ...]]:
        """For `inside`: the rows int64 a search is limited to (None: no limit) and the key terms applied."""
        wanted = [term for term in self.key_terms(query) if len(self.postings.all_of(term.words))]
        for term in [None, *self._weakest_first(wanted)]:
            if term is not None:
                wanted.remove(term)
            if not wanted:
                return None, ()
            rows = self.postings.all_of([word for each in wanted for word in each.words])
            if len(rows) >= self._minimum:
                return rows.astype(np.int64), tuple(wanted)
        return None, ()

    def carried(self, query: str, row: int) -> list[KeyTerm]:
        """The key terms of a query that the product in a row carries."""
        here = np.array([row])
        return [term for term in self.key_terms(query) if contained(here, self.postings.all_of(term.words))[0]]

    @staticmethod
    def _weakest_first(wanted: Sequence[KeyTerm]) -> list[KeyTerm]:
        order = sorted(range(len(wanted)), key=lambda place: (_reliability(wanted[place]), -place))
        return [wanted[place] for place in order]


def _reliability(term: KeyTerm) -> float:
    return 0.5 if term.agreement is None else term.agreement


def _all(carries: list[np.ndarray], wanted: list[KeyTerm], given_up: list[KeyTerm], count: int) -> np.ndarray:
    keep = np.ones(count, dtype=bool)
    for mask, term in zip(carries, wanted, strict=True):
        if term not in given_up:
            keep &= mask
    return keep
