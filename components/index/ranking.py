"""The last step of every engine: exact scores of the candidates, and an order that never depends on the engine.

An engine proposes candidate rows; their scores are computed again in double precision, row by row, and sorted by score
and then by row. Rows are in the order of the product ids, so equal products always come in the order of their ids,
whatever the block sizes, threads, batch or index were that proposed them. This is also the re-ranking that quantised
indexes need (UEPPR, section on serving: fetch 5K, then re-rank).
"""

import numpy as np

Found = tuple[np.ndarray, np.ndarray]
"""Rows int64 [m] and scores float32 [m] of one query, best first."""

_ROUNDING = 1e-5
"""Bound of the relative error of a float32 inner product of a few hundred terms, with a margin of ten."""


def rank(vectors: np.ndarray, query: np.ndarray, candidates: np.ndarray, k: int) -> Found:
    """The best k of the candidate rows, by exact inner product and row.

    vectors float32 [n, d], query float32 [d], candidates int64 [c] without repeats.
    """
    # A reduction along each row: unlike a matrix product its rounding does not depend on the row's neighbours.
    scores = (vectors[candidates].astype(np.float64) * query.astype(np.float64)).sum(axis=1).astype(np.float32)
    order = np.lexsort((candidates, -scores))[:k]
    return candidates[order], scores[order]


def candidates_of(scores: np.ndarray, k: int, scale: float) -> np.ndarray:
    """Positions int64 of all scores float32 [n] that may belong to the exact best k.

    `scale` is the product of the query's norm and the largest vector norm; scores closer than float32 rounding to the
    k-th best are kept too, so that `rank` decides between them and not the order in which they were summed.
    """
    if len(scores) <= k:
        return np.arange(len(scores))
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= threshold - _ROUNDING * scale)


def largest_norm(vectors: np.ndarray, block: int = 65_536) -> float:
    """The largest Euclidean norm of the rows [n, d], in bounded memory."""
    squares = [
        float(np.einsum("nd,nd->n", part, part).max())
        for part in (vectors[start : start + block] for start in range(0, len(vectors), block))
    ]
    return max(squares, default=0.0) ** 0.5
