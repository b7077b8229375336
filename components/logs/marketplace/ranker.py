"""The shop's old search engine: lexical, with a hand-made synonym list, ordering by matches and popularity.

It decides what is shown at all, so the log carries its selection bias: a product it never finds is never clicked.
"""

from __future__ import annotations

import itertools
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from components.logs.marketplace.lexicon import SLOTS, stems
from components.logs.marketplace.postings import Postings, maker_key, slot_key, type_key
from components.logs.marketplace.randomness import uniform
from components.logs.marketplace.wants import ANY, Wants
from components.logs.marketplace.wording import Wording
from components.logs.marketplace.world import World

NARROW, WIDE, ASTRAY = 28, 24, 12
"""Candidates from the narrowest list a query has, from its type's list, and from types that share its words."""
_KNOWN_NOUNS, _KNOWN_WORDS, _KNOWN_OCCASIONS = 0.5, 0.45, 0.6
_GUESS = 14  # wide candidates of the right type although no word matched: the shop's category guess


class Ranker:
    """Answers queries as the old engine does."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._noun_start = world.lexicon.noun_start

    def shown(
        self, wants: Wants, wording: Wording, today: int, depth: int, rng: np.random.Generator
    ) -> NDArray[np.int32]:
        """The products shown for each query, best first, int32 [queries, depth]; -1 where the list ends."""
        candidates = self._candidates(wants, wording, rng)
        score = self._score(wants, wording, candidates, rng)
        score[(candidates < 0) | (self._world.catalogue.born[candidates] > today)] = -np.inf
        score[_repeated(candidates)] = -np.inf
        best = np.argsort(-score, axis=1, kind="stable")[:, :depth]
        found = np.take_along_axis(candidates, best, axis=1)
        return np.where(np.isfinite(np.take_along_axis(score, best, axis=1)), found, -1).astype(np.int32)

    def understood(self, wants: Wants, wording: Wording) -> NDArray[np.bool_]:
        """Whether the engine makes sense of each query's main word."""
        typed = (wording.twist == 0) | (wording.twist % 2 == 1)  # it corrects half of all typos
        noun = self._known_nouns[self._nouns(wants, wording)]
        named = wants.occasion >= 0
        occasion = self._known_occasions[np.maximum(wants.occasion, 0)]
        return typed & np.where(named, occasion, noun | (wants.type == ANY) | (wants.product != ANY))

    def _nouns(self, wants: Wants, wording: Wording) -> NDArray[np.int64]:
        return self._noun_start[np.maximum(wants.type, 0)].astype(np.int64) + wording.noun

    def _candidates(self, wants: Wants, wording: Wording, rng: np.random.Generator) -> NDArray[np.int32]:
        index, queries = self._world.index, len(wants)
        understood = self.understood(wants, wording)
        draws = rng.random((queries, NARROW + WIDE + ASTRAY), dtype=np.float32)
        kind = self._guessed_types(wants, rng)
        start, length = index.type.spans(type_key(kind))
        wide = _listed(index.type, start, length, WIDE, draws[:, NARROW : NARROW + WIDE], NARROW)
        narrow = _listed(index.type, start, length, NARROW, draws[:, :NARROW], 0)
        for rows, postings, keys in self._narrower(wants):
            first, many = postings.spans(keys)
            narrow[rows] = _listed(postings, first, many, NARROW, draws[rows, :NARROW], 0)
        lost = ~understood
        wide[lost, _GUESS:] = -1
        narrow[lost] = -1
        astray = self._astray(wants, wording, lost, draws[:, NARROW + WIDE :], rng)
        model = np.where(understood, wants.product, ANY)[:, None]
        return np.concatenate([model, narrow, wide, astray], axis=1).astype(np.int32)

    def _guessed_types(self, wants: Wants, rng: np.random.Generator) -> NDArray[np.int16]:
        """The type whose list is read: the query's own, one of the occasion's, or that of the asked model."""
        kind = np.where(wants.product >= 0, self._world.catalogue.type[wants.product], wants.type)
        for code, occasion in enumerate(self._world.lexicon.occasions):
            rows = np.flatnonzero(wants.occasion == code)
            kind[rows] = np.asarray(occasion.types)[(rng.random(len(rows)) * len(occasion.types)).astype(np.int64)]
        return kind.astype(np.int16)

    def _narrower(self, wants: Wants) -> list[tuple[NDArray[np.int64], Postings, NDArray[np.int64]]]:
        """Rows with a list narrower than their type's, the narrowest last."""
        index, found = self._world.index, []
        for slot in range(SLOTS):
            rows = np.flatnonzero(wants.slots[:, slot] != ANY)
            found.append((rows, index.slot, slot_key(wants.type[rows], slot, wants.slots[rows, slot])))
        rows = np.flatnonzero((wants.brand != ANY) & (wants.type != ANY))
        found.append((rows, index.maker, maker_key(wants.brand[rows], wants.type[rows])))
        rows = np.flatnonzero((wants.brand != ANY) & (wants.type == ANY))
        found.append((rows, index.brand, wants.brand[rows].astype(np.int64)))
        return found

    def _astray(
        self, wants: Wants, wording: Wording, lost: NDArray[np.bool_], draws: NDArray[np.float32],
        rng: np.random.Generator,
    ) -> NDArray[np.int32]:  # fmt: skip
        """Products of types that share a word with the query; for a query not understood, of popular types."""
        near = self._near_types[self._nouns(wants, wording)]
        anything = np.searchsorted(np.cumsum(self._world.demand), rng.random((len(wants), 2)))
        either = np.where(lost[:, None] | (wants.occasion >= 0)[:, None], anything, near)
        parts = []
        for place, draw in zip(either.T, np.split(draws, 2, axis=1), strict=True):
            start, length = self._world.index.type.spans(place.astype(np.int64))
            parts.append(_listed(self._world.index.type, start, length, draw.shape[1], draw, 0))
        return np.concatenate(parts, axis=1)

    def _score(
        self, wants: Wants, wording: Wording, candidates: NDArray[np.int32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        catalogue = self._world.catalogue
        kind = catalogue.type[candidates]
        titles = self._noun_start[kind] + catalogue.noun[candidates]
        score = np.float32(2.0) * self._match[self._nouns(wants, wording)[:, None], titles]
        score[~self.understood(wants, wording)] = 0
        same = kind == wants.type[:, None]
        for slot in range(SLOTS):
            value = wants.slots[:, slot, None]
            known = self._known_words[np.maximum(wants.type, 0), slot, wants.slots[:, slot], wording.words[:, slot]]
            shown = np.where(catalogue.shown[candidates] >> slot & 1, np.float32(1.2), np.float32(0.5))
            hit = same & (value != ANY) & known[:, None] & (catalogue.slots[candidates, slot] == value)
            score += np.where(hit, shown, np.float32(0))
        asked = wants.brand[:, None]
        score += np.where((asked != ANY) & (catalogue.brand[candidates] == asked), np.float32(1.5), np.float32(0))
        score += np.where(candidates == wants.product[:, None], np.float32(5), np.float32(0))
        score += np.float32(0.15) * catalogue.popularity[candidates]
        return score + np.float32(1.3) * rng.random(candidates.shape, dtype=np.float32)

    @cached_property
    def _known_nouns(self) -> NDArray[np.bool_]:
        """Which nouns the engine can look up: all that titles use, and half of what shoppers say."""
        known = uniform(self._world.seed, "engine/noun", np.arange(self._noun_start[-1])) < _KNOWN_NOUNS
        for code, kind in enumerate(self._world.lexicon.types):
            known[self._noun_start[code] : self._noun_start[code] + len(kind.titles)] = True
        return known

    @cached_property
    def _known_occasions(self) -> NDArray[np.bool_]:
        return uniform(self._world.seed, "engine/occasion", np.arange(len(self._world.lexicon.occasions))) < (
            _KNOWN_OCCASIONS
        )

    @cached_property
    def _known_words(self) -> NDArray[np.bool_]:
        """Which attribute words it can look up: the titles' own, and some of the others; [types, SLOTS, 16, 8]."""
        shape = (len(self._world.lexicon.types), SLOTS, 16, 8)
        axes = np.meshgrid(*[np.arange(size) for size in shape], indexing="ij")
        known = uniform(self._world.seed, "engine/word", *axes) < _KNOWN_WORDS
        known[..., 0] = True
        return known

    @cached_property
    def _match(self) -> NDArray[np.float32]:
        """Share of a noun's words that a title's noun holds, with the synonym list applied; [nouns, nouns]."""
        types = self._world.lexicon.types
        words = [stems(noun) for kind in types for noun in kind.nouns]
        match = np.array([[len(asked & held) / len(asked) for held in words] for asked in words], dtype=np.float32)
        listed = uniform(self._world.seed, "engine/noun", np.arange(len(words))) < _KNOWN_NOUNS
        for code in range(len(types)):
            own = slice(self._noun_start[code], self._noun_start[code + 1])
            rows = np.flatnonzero(listed[own]) + own.start
            match[rows, own] = np.maximum(match[rows, own], np.float32(0.9))
        return match

    @cached_property
    def _near_types(self) -> NDArray[np.int16]:
        """The two other types whose title nouns share most words with each noun, -1 for none; [nouns, 2]."""
        types = self._world.lexicon.types
        spans = [(start, start + len(kind.titles)) for start, kind in zip(self._noun_start, types, strict=False)]
        near = np.stack([self._match[:, slice(*span)].max(axis=1) for span in spans], axis=1)
        for code, (start, stop) in enumerate(itertools.pairwise(self._noun_start)):
            near[start:stop, code] = 0
        best = np.argsort(-near, axis=1, kind="stable")[:, :2]
        return np.where(np.take_along_axis(near, best, axis=1) > 0, best, -1).astype(np.int16)


def _listed(
    postings: Postings, start: NDArray[np.int64], length: NDArray[np.int64], count: int, draws: NDArray[np.float32],
    skip: int,
) -> NDArray[np.int32]:  # fmt: skip
    """`count` products of each list: the top ones after `skip`, and a third drawn with a bias to the top; -1: none."""
    rank = np.broadcast_to(np.arange(skip, skip + count), (len(start), count)).astype(np.int64)
    drawn = (draws * draws * length[:, None]).astype(np.int64)
    rank = np.where(np.arange(count) < count - count // 3, rank, drawn)
    place = np.minimum(start[:, None] + rank, len(postings.products) - 1)
    return np.where(rank < length[:, None], postings.products[place], -1).astype(np.int32)


def _repeated(candidates: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Marks every occurrence of a product in a row but one."""
    order = np.argsort(candidates, axis=1, kind="stable")
    ordered = np.take_along_axis(candidates, order, axis=1)
    again = np.zeros(candidates.shape, dtype=bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    result = np.empty_like(again)
    np.put_along_axis(result, order, again, axis=1)
    return result
