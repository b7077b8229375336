"""Exact search: the true top K of every query over the whole catalogue, in memory-bounded blocks.

Equal scores are ordered by a seeded random permutation of the catalogue, never by the catalogue's own order: in public
logs the order of candidates gives the label away (engaged products come first).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from components.common.errors import BadInput
from components.evaluation.targets import Targets

_CHUNK = 65_536  # products scored at once
_BYTES_PER_SCORE = 24  # float32 score, uint64 key, and the copies that partitioning makes of it
NOTHING = -1


class Scorer(Protocol):
    """Anything that can score every product for a search. `-inf` means: this method never returns that product."""

    products: int

    def scores(self, rows: slice, columns: slice) -> np.ndarray:
        """Scores of the searches `rows` against the products `columns`, float32 [rows, columns]."""
        ...


@dataclass(frozen=True)
class Found:
    """The best products of every search, best first.

    `products` int32 [searches, k] holds catalogue rows (-1 where a method returned fewer than k), `scores` float32 of
    the same shape, `pair_scores` float32 [entries] the score of each of the asked pairs (None when none were asked).
    """

    products: np.ndarray
    scores: np.ndarray
    pair_scores: np.ndarray | None = None


class VectorScorer:
    """Inner products of query vectors float32 [searches, d] with product vectors float32 [products, d].

    Cosine is the same on unit vectors. Raises BadInput for vectors of unequal width or with a NaN or infinite value.
    """

    def __init__(self, queries: np.ndarray, catalogue: np.ndarray) -> None:
        self._queries = np.ascontiguousarray(queries, dtype=np.float32)
        self._catalogue = np.ascontiguousarray(catalogue, dtype=np.float32)
        self.products = len(self._catalogue)
        if self._queries.ndim != 2 or self._catalogue.ndim != 2 or self._queries.shape[1] != self._catalogue.shape[1]:
            raise BadInput(
                f"query vectors of shape {self._queries.shape} do not fit product vectors {self._catalogue.shape}."
            )
        for name, vectors in (("query", self._queries), ("product", self._catalogue)):
            broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            if len(broken):
                raise BadInput(
                    f"the {name} vector in row {broken[0]} holds a NaN or infinite value ({len(broken)} do)."
                )

    def scores(self, rows: slice, columns: slice) -> np.ndarray:
        return self._queries[rows] @ self._catalogue[columns].T


def tie_order(products: int, seed: int) -> np.ndarray:
    """The place of every product among equals, uint32 [products]: a permutation that only the seed decides."""
    return np.random.default_rng(seed).permutation(products).astype(np.uint32)


def exact_search(
    scorer: Scorer,
    searches: int,
    k: int,
    seed: int = 0,
    memory_mb: int = 256,
    pairs: Targets | None = None,
    advance: Callable[[int], None] = lambda count: None,
    chunk: int = _CHUNK,
) -> Found:
    """The exact top `k` of `searches` searches, and the scores of the asked (search, product) `pairs`.

    Each score and the product's place among equals form one unsigned 64-bit key, so a partition of keys is exact and
    does not depend on the block sizes. `advance(n)` is told of every n searches done. `k` is capped at the catalogue.
    """
    total = scorer.products
    k = min(k, total)
    order = tie_order(total, seed)
    back = np.empty(total, dtype=np.int32)
    back[order] = np.arange(total, dtype=np.int32)
    low = (~order).astype(np.uint64)  # the first among equals gets the largest key
    budget = memory_mb << 20
    step = int(max(1, min(budget // (_BYTES_PER_SCORE * (min(chunk, total) + k)), budget // (4 * max(total, 1)))))
    products = np.full((searches, k), NOTHING, dtype=np.int32)
    scores = np.full((searches, k), -np.inf, dtype=np.float32)
    pair_scores = None if pairs is None else np.zeros(len(pairs.products), dtype=np.float32)
    for start in range(0, searches, step):
        rows = slice(start, min(start + step, searches))
        best = np.empty((rows.stop - rows.start, 0), dtype=np.uint64)
        for first in range(0, total, chunk):
            columns = slice(first, min(first + chunk, total))
            block = scorer.scores(rows, columns)
            if pairs is not None and pair_scores is not None:
                _collect_pairs(block, rows, columns, pairs, pair_scores)
            best = np.concatenate([best, _keys(block, low[columns])], axis=1)
            if best.shape[1] > k:
                best = np.partition(best, best.shape[1] - k, axis=1)[:, -k:]
        best = np.sort(best, axis=1)[:, ::-1]
        scores[rows] = _scores_of(best)
        products[rows] = back[~best.astype(np.uint32)]  # the low half of a key is the complement of the place
        advance(rows.stop - rows.start)
    products[np.isneginf(scores)] = NOTHING
    return Found(products, scores, pair_scores)


def _keys(scores: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Keys uint64 whose unsigned order is the order of (score, place): the sign trick on IEEE 754 bits."""
    bits = (scores + np.float32(0)).view(np.int32)  # adding 0 turns -0.0 into 0.0, which must tie
    ordered = (bits ^ ((bits >> 31) | np.int32(-(2**31)))).view(np.uint32)
    keys = ordered.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= low
    return keys


def _scores_of(keys: np.ndarray) -> np.ndarray:
    ordered = (keys >> np.uint64(32)).astype(np.uint32).view(np.int32)
    return (ordered ^ (~(ordered >> 31) | np.int32(-(2**31)))).view(np.float32)


def _collect_pairs(block: np.ndarray, rows: slice, columns: slice, pairs: Targets, into: np.ndarray) -> None:
    entries = slice(pairs.offsets[rows.start], pairs.offsets[rows.stop])
    products = pairs.products[entries]
    here = (products >= columns.start) & (products < columns.stop)
    chosen = np.flatnonzero(here) + entries.start
    into[chosen] = block[pairs.rows[chosen] - rows.start, pairs.products[chosen] - columns.start]
