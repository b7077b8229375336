"""How shoppers put what they want into words: synonyms, colloquial terms, word order, compounds, typos."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.logs.marketplace.lexicon import SLOTS
from components.logs.marketplace.names import brand_names, model_number
from components.logs.marketplace.randomness import mix
from components.logs.marketplace.wants import ANY, CHEAP, Wants
from components.logs.marketplace.world import World

ORDERS = 4
TWISTS = 12
"""Ways to mistype a query: which word, and whether a letter is dropped, doubled or swapped with its neighbour."""
COMPOUND = TWISTS + 1
"""The twist that writes the words of a noun as one."""
_CHEAP = ("cheap", "budget", "affordable", "bargain")
_DEAR = ("high end", "designer", "expensive", "top of the line")
_AROUND = ("buy {}", "{} online", "best {}", "{} deals")


@dataclass(frozen=True)
class Wording:
    """The words chosen for each query, one row a query."""

    noun: NDArray[np.int8]  # which of the type's nouns (titles' first), or which saying of the occasion
    words: NDArray[np.int8]  # [queries, SLOTS] 0: the title's word for the attribute, n: the nth thing shoppers say
    order: NDArray[np.int8]  # 0: attributes first, 1: noun first, 2: brand last, 3: attributes reversed
    twist: NDArray[np.int8]  # 0: none, 1..TWISTS: a typo, COMPOUND
    filler: NDArray[np.int8]  # 0: none, n: the nth phrase around it; also picks the word of a price band

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Wording:
        """The wording of some rows."""
        return Wording(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def query_codes(wants: Wants, wording: Wording) -> NDArray[np.uint64]:
    """One number a query; queries of the same wants and wording share it."""
    parts = [wants.type, *wants.slots.T, wants.brand, wants.product, wants.band, wants.occasion]
    parts += [wording.noun, *wording.words.T, wording.order, wording.twist, wording.filler]
    return mix(0, "query", *[part.astype(np.int64) + 1 for part in parts])


def query_texts(world: World, wants: Wants, wording: Wording) -> list[str]:
    """The text of every query, lower case."""
    names = brand_names(len(world.brands.group))
    columns = zip(
        wants.type.tolist(), wants.slots.tolist(), wants.brand.tolist(), wants.product.tolist(), wants.band.tolist(),
        wants.occasion.tolist(), wording.noun.tolist(), wording.words.tolist(), wording.order.tolist(),
        wording.twist.tolist(), wording.filler.tolist(), strict=True,
    )  # fmt: skip
    texts = []
    for kind, slots, brand, product, band, occasion, noun, words, order, twist, filler in columns:
        maker = names[brand] if brand != ANY else ""
        if occasion != ANY:
            text = world.lexicon.occasions[occasion].say[noun]
        elif product != ANY:
            text = _model(world, product, maker, order)
        elif kind == ANY:
            text = maker
        else:
            text = _composed(world, kind, slots, words, maker, band, noun, order, filler, twist == COMPOUND)
        if 0 < twist <= TWISTS:
            text = _mistyped(text, twist)
        texts.append(text.lower().replace("'", ""))
    return texts


def model_numbers(world: World, products: NDArray[Any]) -> list[str]:
    """The model numbers of products, as their titles and attributes print them."""
    names = brand_names(len(world.brands.group))
    codes = (mix(world.seed, "title/model", products) >> np.uint64(16)).tolist()
    makers = world.catalogue.brand[products].tolist()
    return [model_number(names[maker], code) for maker, code in zip(makers, codes, strict=True)]


def _model(world: World, product: int, maker: str, order: int) -> str:
    model = model_numbers(world, np.array([product]))[0]
    forms = (model, model.replace("-", ""), f"{maker} {model}", f"{maker} {model.replace('-', ' ')}")
    return forms[order]


def _composed(
    world: World, kind: int, slots: list[int], words: list[int], maker: str, band: int, noun: int, order: int,
    filler: int, compound: bool,
) -> str:  # fmt: skip
    entry = world.lexicon.types[kind]
    said = []
    for slot in range(SLOTS):
        if slots[slot] != ANY:
            name = entry.slots[slot]
            others = world.lexicon.said[name][slots[slot]]
            choice = words[slot]
            said.append(others[(choice - 1) % len(others)] if choice else world.lexicon.attributes[name][slots[slot]])
    if band != ANY:
        phrases = _CHEAP if band == CHEAP else _DEAR
        said.append(phrases[filler % len(phrases)])
    subject = entry.nouns[noun].replace(" ", "") if compound else entry.nouns[noun]
    if order == 1:
        parts = [maker, subject, *said]
    elif order == 2:
        parts = [*said, subject, maker]
    elif order == 3:
        parts = [*reversed(said), maker, subject]
    else:
        parts = [maker, *said, subject]
    text = " ".join(part for part in parts if part)
    return text if band != ANY or not filler else _AROUND[filler % len(_AROUND)].format(text)


def _mistyped(text: str, twist: int) -> str:
    words = text.split()
    long = [place for place, word in enumerate(words) if len(word) >= 5]
    if not long:
        return text
    place = long[twist % len(long)]
    word, at = words[place], 1 + twist % 3
    kind = twist // 4
    if kind == 0:
        word = word[:at] + word[at + 1 :]
    elif kind == 1:
        word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    else:
        word = word[: at + 1] + word[at] + word[at + 1 :]
    return " ".join([*words[:place], word, *words[place + 1 :]])
