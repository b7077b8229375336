"""Queries made from titles: words of a title as the query, its product as the answer.

A log has clicks for few products and few words. These made-up searches teach the token vectors of the whole catalogue
to find a title by its words, so that rare words and products nobody clicked are placed too. After the random-substring
retrieval that JD pre-trains its retrievers with (CIKM 2022); here it is mixed into training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from components.towers.examples import Examples
from components.towers.interfaces import Location
from components.towers.ragged import Ragged
from components.towers.settings import TowerSettings
from components.towers.text import cut
from components.towers.vocabulary import Vocabulary

_WORDS = (1, 2, 3, 4)
"""Lengths of a made-up query, equally likely; shoppers type about three words."""


def title_queries(titles: Sequence[str], count: int, seed: int, typos: float = 0.0) -> list[str]:
    """`count` queries for every title, one title after the other: half adjacent words, half words from all over.

    `typos` is the share of queries with one slip of the keyboard. A title without words gives empty queries.
    """
    generator = np.random.default_rng(seed)
    made = []
    for title in titles:
        found = cut(title, "words")
        for _ in range(count):
            length = min(int(generator.choice(_WORDS)), len(found))
            if generator.random() < 0.5:
                start = int(generator.integers(len(found) - length + 1))
                chosen = list(range(start, start + length))
            else:
                chosen = sorted(generator.permutation(len(found))[:length].tolist())
            query = " ".join(found[place] for place in chosen)
            made.append(with_typo(query, generator) if generator.random() < typos else query)
    return made


def with_typo(query: str, generator: np.random.Generator) -> str:
    """The query with one letter dropped, doubled, swapped with the next or lost between two words (a space dropped)."""
    if len(query) < 4:
        return query
    place = int(generator.integers(1, len(query) - 1))
    kind = int(generator.integers(4))
    before, letter, after = query[:place], query[place], query[place + 1 :]
    if kind == 0 or letter == " ":
        return before + after
    if kind == 1:
        return before + letter + letter + after
    if kind == 2:
        return before + after[:1] + letter + after[1:]
    return query.replace(" ", "", 1) if " " in query else before + after


def with_title_queries(
    examples: Examples, titles: Sequence[str], vocabulary: Vocabulary, settings: TowerSettings
) -> Examples:
    """The examples followed by `settings.title_queries` made-up searches a title, without a shopper.

    Title p answers catalogue row p. Made-up searches have no vector of a pretrained encoder: they teach words.
    """
    count = settings.title_queries
    made = title_queries(titles, count, settings.seed, settings.title_query_typos)
    rows = torch.arange(len(titles)).repeat_interleave(count)
    text = vocabulary.encode_all(made, tuple(examples.query_text), settings.max_query_tokens)
    new = len(made)
    first = len(examples.queries)
    unknown = torch.full((new,), float("nan"))
    return replace(
        examples,
        queries=[*examples.queries, *made],
        query_text={unit: _joined(bags, text[unit]) for unit, bags in examples.query_text.items()},
        query=torch.cat([examples.query, torch.arange(first, first + new)]),
        now=torch.cat([examples.now, torch.zeros(new, dtype=torch.int64)]),
        real_time=_joined(examples.real_time, Ragged.empty(new)),
        short_term=_joined(examples.short_term, Ragged.empty(new)),
        long_term={action: _joined(bags, Ragged.empty(new)) for action, bags in examples.long_term.items()},
        past=_joined(examples.past, Ragged.empty(new)),
        bought=_joined(examples.bought, Ragged.empty(new)),
        location=Location(
            torch.cat([examples.location.latitude, unknown]),
            torch.cat([examples.location.longitude, unknown]),
            torch.cat([examples.location.country, torch.zeros(new, dtype=torch.int64)]),
        ),
        listed=_joined(examples.listed, Ragged(rows, torch.arange(new + 1))),
        stages=torch.cat([examples.stages, torch.ones(new, dtype=torch.int8)]),
        text_vectors=None if examples.text_vectors is None else _with_zeros(examples.text_vectors, new),
        search_ids=[*examples.search_ids, *(f"title query {query!r}" for query in made)],
    )


def _with_zeros(vectors: torch.Tensor, count: int) -> torch.Tensor:
    return torch.cat([vectors, vectors.new_zeros(count, vectors.shape[1])])


def _joined(first: Ragged, second: Ragged) -> Ragged:
    values = torch.cat([first.values, second.values.to(first.values.dtype)])
    return Ragged(values, torch.cat([first.offsets, second.offsets[1:] + first.offsets[-1]]))
