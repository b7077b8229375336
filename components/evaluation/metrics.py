"""The figures of retrieval: one value per search, NaN where a search cannot be measured.

References:
    Recall@K: MGDSPR (arXiv 2106.09297, section 4.1: engaged products of the search),
    UEPPR (arXiv 2306.04833, section 5: purchased products). Good rate: MGDSPR, P_good. nDCG: Järvelin and Kekäläinen,
    *Cumulated gain-based evaluation of IR techniques*, TOIS 2002; gain 2^grade - 1: Burges et al., ICML 2005.
"""

from collections.abc import Sequence

import numpy as np

from components.evaluation.targets import Targets

NOT_FOUND = 0


def target_ranks(found: np.ndarray, targets: Targets, products: int) -> np.ndarray:
    """The rank of every target in its search's result, int32 [entries]: 1 for the first, 0 for not found.

    `found` int32 [searches, k] holds catalogue rows, best first, -1 for none; `products` is the catalogue's size.
    """
    place = np.zeros(products + 1, dtype=np.int32)  # the last cell takes the -1s; no target reads it
    ranks = np.zeros(len(targets.products), dtype=np.int32)
    numbers = np.arange(1, found.shape[1] + 1, dtype=np.int32)
    for search in range(len(targets)):
        entries = slice(targets.offsets[search], targets.offsets[search + 1])
        place[found[search]] = numbers
        ranks[entries] = place[targets.products[entries]]
        place[found[search]] = NOT_FOUND
    return ranks


def recall_at(ranks: np.ndarray, targets: Targets, k: int) -> np.ndarray:
    """Recall@K = |top K and T| / |T|, float64 [searches]; T are the search's targets, NaN where it has none."""
    hits = targets.sum((ranks != NOT_FOUND) & (ranks <= k))
    return _divide(hits, targets.counts)


def ndcg_at(ranks: np.ndarray, targets: Targets, k: int = 10) -> np.ndarray:
    """nDCG@K of the retrieved list, float64 [searches]; NaN where no target has a gain.

    DCG = sum over ranks r <= K of gain / log2(1 + r), divided by the DCG of the targets in their best order. Products
    that are not targets have gain 0. `targets.gains` are the gains themselves (2^grade - 1, say).
    """
    within = (ranks != NOT_FOUND) & (ranks <= k)
    discounts = np.where(within, 1 / np.log2(1.0 + np.maximum(ranks, 1)), 0.0)
    return _divide(targets.sum(targets.gains * discounts), _ideal(targets, k))


def judged_ndcg_at(scores: np.ndarray, judged: Targets, place: np.ndarray, k: int = 10) -> np.ndarray:
    """nDCG@K over the judged list: only graded products are ranked, float64 [searches].

    NaN for searches whose judged products all have one gain: any order of them is perfect and says nothing.

    Args:
        scores: float32 [entries], the method's score of each judged product.
        judged: the graded products with their gains 2^grade - 1.
        place: uint32 [products], the order among equal scores (`recall.tie_order`).
    """
    order = np.lexsort((place[judged.products], -scores, judged.rows))
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order)) - judged.offsets[judged.rows[order]] + 1
    value = ndcg_at(ranks, judged, k)
    return np.where(_varied(judged), value, np.nan)


def good_rate_at(found: np.ndarray, good: Sequence[np.ndarray], products: int, k: int) -> np.ndarray:
    """P_good@K = |top K and good| / K, float64 [searches]; `good` holds the relevant catalogue rows of each search.

    The divisor is K also where fewer were returned or fewer exist (`good_rate_ceiling` says what could be reached).
    """
    mark = np.zeros(products + 1, dtype=bool)
    values = np.zeros(len(good))
    for search, rows in enumerate(good):
        mark[rows] = True
        values[search] = np.count_nonzero(mark[found[search, :k]]) / k
        mark[rows] = False
    return values


def good_rate_ceiling(good: Sequence[np.ndarray], k: int) -> float:
    """The mean of the best good rate@K any method could reach: a search with fewer than K relevant products caps it."""
    return float(np.mean([min(len(rows), k) / k for rows in good])) if good else float("nan")


def _ideal(targets: Targets, k: int) -> np.ndarray:
    order = np.lexsort((-targets.gains, targets.rows))
    ranks = np.arange(len(order)) - targets.offsets[targets.rows[order]] + 1
    gains = np.where(ranks <= k, targets.gains[order] / np.log2(1.0 + ranks), 0.0)
    return np.bincount(targets.rows[order], weights=gains, minlength=len(targets))


def _varied(targets: Targets) -> np.ndarray:
    filled = targets.counts > 0
    starts = targets.offsets[:-1][filled]
    varied = np.zeros(len(targets), dtype=bool)
    if len(starts):
        highest, lowest = np.maximum.reduceat(targets.gains, starts), np.minimum.reduceat(targets.gains, starts)
        varied[filled] = highest > lowest
    return varied


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    result = np.full(len(numerator), np.nan)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)
