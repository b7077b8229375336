"""The marketplace's words: product types, attributes, styles, occasions and places, read from the YAML files beside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

GROUPS = ("fashion", "tech", "home", "leisure")
SLOTS = 3
_FOLDER = Path(__file__).parent / "lexicon"


@dataclass(frozen=True)
class ProductType:
    """One kind of product: the nouns of its titles, what shoppers say instead, its attributes and economics."""

    path: str
    titles: tuple[str, ...]
    say: tuple[str, ...]
    slots: tuple[str, ...]
    price: float
    taste: float
    season: int
    group: int
    local: bool = False

    @property
    def leaf(self) -> str:
        """The last part of the category path."""
        return self.path.rsplit(" > ", 1)[-1]

    @property
    def nouns(self) -> tuple[str, ...]:
        """Everything a query may call it: the titles' nouns first."""
        return self.titles + self.say


@dataclass(frozen=True)
class Occasion:
    """A need without a product's name: which types serve it, and for whom."""

    say: tuple[str, ...]
    types: tuple[int, ...]
    audience: int  # code of the audience, -1: anybody


@dataclass(frozen=True)
class Lexicon:
    """All words, with the code of each."""

    types: tuple[ProductType, ...]
    attributes: dict[str, tuple[str, ...]]
    said: dict[str, tuple[tuple[str, ...], ...]]  # attribute -> value -> what shoppers say
    styles: tuple[str, ...]
    style_words: tuple[tuple[str, ...], ...]
    occasions: tuple[Occasion, ...]
    places: tuple[tuple[str, str, float, float, float], ...]

    @property
    def noun_start(self) -> NDArray[np.int32]:
        """Where a type's nouns begin in the list of all nouns, int32 [types + 1]."""
        return np.concatenate([[0], np.cumsum([len(kind.nouns) for kind in self.types])]).astype(np.int32)

    def column(self, name: str) -> NDArray[Any]:
        """One field of every type as an array."""
        return np.array([getattr(kind, name) for kind in self.types])

    def slot_sizes(self) -> NDArray[np.int8]:
        """How many values each slot of each type has, int8 [types, SLOTS]."""
        return np.array([[len(self.attributes[slot]) for slot in kind.slots] for kind in self.types], dtype=np.int8)

    def audience_slot(self) -> NDArray[np.int8]:
        """Which slot of a type is the audience, -1 where it has none, int8 [types]."""
        rows = [kind.slots.index("audience") if "audience" in kind.slots else -1 for kind in self.types]
        return np.array(rows, dtype=np.int8)


def stems(text: str) -> frozenset[str]:
    """The words of a text as a lexical engine compares them: lower case, without a plural s."""
    found = re.findall(r"[a-z0-9]+", text.lower().replace("'", ""))
    return frozenset(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in found)


@cache
def lexicon() -> Lexicon:
    """The lexicon of the package."""
    groups = _read("types")
    types = tuple(
        ProductType(**{**_tuples(entry), "group": number})
        for number, group in enumerate(GROUPS)
        for entry in groups[group]
    )
    attributes = _read("attributes")
    styles = _read("styles")
    leaves = {kind.leaf: code for code, kind in enumerate(types)}
    audiences = list(attributes["audience"])
    occasions = tuple(
        Occasion(
            tuple(entry["say"]),
            tuple(leaves[leaf] for leaf in entry["types"]),
            audiences.index(entry["audience"]) if "audience" in entry else -1,
        )
        for entry in _read("occasions")
    )
    return Lexicon(
        types,
        {name: tuple(values) for name, values in attributes.items()},
        {name: tuple(tuple(said) for said in values.values()) for name, values in attributes.items()},
        tuple(styles),
        tuple(tuple(words) for words in styles.values()),
        occasions,
        tuple(tuple(place) for place in _read("places")),
    )


def _read(name: str) -> Any:
    return yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(str(item) for item in value) if isinstance(value, list) else value
            for name, value in entry.items()}  # fmt: skip
