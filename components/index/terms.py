"""Key terms: the words of a query that a product must carry, learned from the catalogue and never listed by hand.

MGDSPR marks brand, type, colour, style and audience by a query-understanding service. Here the catalogue itself says
which words those are: a value of `brand`, of a category level or of an attribute is a key term when its words occur in
titles, and when titles with these words mostly do have the value. Sizes are a number before a unit, and a unit is a
word that mostly follows numbers. A model number is a word whose shape (letters, digits, length) belongs to words that
single out a product.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.common.files import read_json, write_json
from components.index.postings import Postings
from components.index.settings import IndexSettings
from components.towers.text import stems

MOST_WORDS = 4
_NUMBER = re.compile(r"\d+(?:[.,/]\d+)*")
_UNIT_COUNT, _UNIT_SHARE = 20, 0.5
_MODEL_LENGTH, _MODEL_TYPES, _MODEL_RARE, _MODEL_SHARE = 4, 20, 3, 0.8
_COVERAGE = 0.05  # share of the products with a value whose titles say so; below it nobody writes the value
SIZE, MODEL = "size", "model"


@dataclass(frozen=True)
class KeyTerm:
    """A required part of a query: its kind (brand, category, size, model, or an attribute's name), value and words.

    `agreement` is the share of engaged products that carried it in the log, None where the log says too little.
    """

    kind: str
    value: str
    words: tuple[str, ...]
    agreement: float | None = None


@dataclass
class Terms:
    """What was learned: values by their words, units of sizes, shapes of model numbers, and how each kind agreed."""

    values: dict[tuple[str, ...], KeyTerm] = field(default_factory=dict)
    units: frozenset[str] = frozenset()
    model_shapes: frozenset[str] = frozenset()
    kinds: dict[str, dict[str, Any]] = field(default_factory=dict)

    def used(self, kind: str) -> bool:
        """Whether key terms of a kind are applied: unless the log showed that shoppers disregard them."""
        return bool(self.kinds.get(kind, {}).get("used", True))

    def agreement(self, kind: str) -> float | None:
        """The kind's share of engaged products that carried its terms, None where the log says too little."""
        return self.kinds.get(kind, {}).get("agreement")

    def write(self, path: Path) -> None:
        """Writes terms.json."""
        body = {
            "kinds": self.kinds,
            "units": sorted(self.units),
            "model_shapes": sorted(self.model_shapes),
            "terms": [asdict(term) for term in sorted(self.values.values(), key=lambda term: term.words)],
        }
        write_json(path, body)

    @classmethod
    def read(cls, path: Path) -> "Terms":
        """Reads terms.json. Raises NotFound or BadInput."""
        body = read_json(path)
        terms = [KeyTerm(**{**term, "words": tuple(term["words"])}) for term in body["terms"]]
        return cls(
            {term.words: term for term in terms},
            frozenset(body["units"]),
            frozenset(body["model_shapes"]),
            body["kinds"],
        )


def shape(word: str) -> str:
    """Runs of letters as a, of digits as 9, and the length: "dcd771c2" -> "a9a9:8"."""
    runs = re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", word))
    return f"{runs}:{len(word)}"


def sizes(words: Sequence[str], units: frozenset[str]) -> Iterator[str]:
    """Numbers with their unit, as one word each: ["5", "gal"] -> "5 gal"."""
    for number, unit in itertools.pairwise(words):
        if unit in units and _NUMBER.fullmatch(number):
            yield f"{number} {unit}"


def product_words(product: Mapping[str, Any], units: frozenset[str], title: Sequence[str] | None = None) -> set[str]:
    """The words a product carries: of title, brand, category path and attribute values, and its sizes.

    product: title, brand, category as texts or None; attributes as a mapping or pairs. `title`: its words, if known.
    """
    words = list(stems(product["title"]) if title is None else title)
    carried = {*words, *sizes(words, units)}
    attributes = product.get("attributes") or {}
    values = dict(attributes).values()
    for text in (product.get("brand"), product.get("category"), *values):
        if text:
            found = stems(str(text))
            carried.update(found)
            carried.update(sizes(found, units))
    return carried


def learn_terms(products: pa.Table, settings: IndexSettings) -> tuple[Terms, Postings]:
    """Key terms of a catalogue, and the inverted index of everything its products carry."""
    titles = [stems(title) for title in products.column("title").to_pylist()]
    units = _units(titles)
    shapes = _model_shapes(titles)
    by_title = Postings.build(titles)
    values: dict[tuple[str, ...], KeyTerm] = {}
    best: dict[tuple[str, ...], float] = {}
    for kind, holders in _holders(products).items():
        for text, rows in holders.items():
            words = tuple(dict.fromkeys(stems(text)))
            if not 1 <= len(words) <= MOST_WORDS or len(rows) < settings.key_support:
                continue
            said = by_title.all_of(words)
            both = len(np.intersect1d(said, np.array(rows, dtype=np.int32), assume_unique=True))
            if not both or both / len(said) < settings.key_precision or both / len(rows) < _COVERAGE:
                continue
            if both / len(said) > best.get(words, 0.0):
                best[words] = both / len(said)
                values[words] = KeyTerm(kind, text, words)
    wanted = [name for name in ("title", "brand", "category", "attributes") if name in products.column_names]
    records = products.select(wanted).to_pylist()
    postings = Postings.build(
        product_words(product, units, title) for product, title in zip(records, titles, strict=True)
    )
    return Terms(values, units, shapes), postings


def _units(titles: Iterable[list[str]]) -> frozenset[str]:
    total: Counter[str] = Counter()
    after_number: Counter[str] = Counter()
    for words in titles:
        total.update(words)
        after_number.update(
            right for left, right in itertools.pairwise(words) if _NUMBER.fullmatch(left) and right.isalpha()
        )
    return frozenset(
        word for word, count in after_number.items() if count >= _UNIT_COUNT and count / total[word] >= _UNIT_SHARE
    )


def _model_shapes(titles: Iterable[list[str]]) -> frozenset[str]:
    frequency: Counter[str] = Counter()
    for words in titles:
        frequency.update({word for word in words if len(word) >= _MODEL_LENGTH and any(map(str.isdigit, word))})
    rare: dict[str, list[bool]] = defaultdict(list)
    for word, count in frequency.items():
        rare[shape(word)].append(count <= _MODEL_RARE)
    return frozenset(
        name for name, kinds in rare.items() if len(kinds) >= _MODEL_TYPES and sum(kinds) / len(kinds) >= _MODEL_SHARE
    )


def _holders(products: pa.Table) -> dict[str, dict[str, list[int]]]:
    """kind -> value -> rows of the products that have it."""
    holders: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for kind in ("brand", "category"):
        if kind in products.column_names:
            for row, text in enumerate(products.column(kind).to_pylist()):
                parts = {part.strip() for part in text.split(">")} if text and kind == "category" else {text}
                for part in parts - {None, ""}:
                    holders[kind][part].append(row)
    if "attributes" in products.column_names:
        for row, pairs in enumerate(products.column("attributes").to_pylist()):
            for name, value in dict(pairs or []).items():
                if value and name not in (SIZE, MODEL):
                    holders[name][value].append(row)
    return holders
