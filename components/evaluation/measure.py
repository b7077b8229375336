"""Measures one method on the test searches: exact search, then every metric, one value per search."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from components.evaluation.metrics import good_rate_at, judged_ndcg_at, ndcg_at, recall_at, target_ranks
from components.evaluation.recall import Found, Scorer, exact_search, tie_order
from components.evaluation.settings import EvaluationSettings
from components.evaluation.slices import Slice
from components.evaluation.targets import Targets
from components.evaluation.testset import TestSet

GOOD_CUTOFFS = (10, 100)
_SHOWN = 10


@dataclass(frozen=True)
class Measured:
    """What one method did.

    values: slice name -> metric -> float64 [searches of the slice], NaN where it cannot be measured. ranks int32
    [target entries]: 1 is first, 0 not found. top int32 and top_scores float32 [searches, 10]: its first products.
    """

    values: dict[str, dict[str, np.ndarray]]
    ranks: np.ndarray
    top: np.ndarray
    top_scores: np.ndarray


def measure(
    scorer: Scorer,
    test: TestSet,
    slices: list[Slice],
    good: list[np.ndarray] | None,
    settings: EvaluationSettings,
    advance: Callable[[int], None] = lambda count: None,
) -> Measured:
    """Searches exactly with `scorer` and measures every slice. `good`: relevant catalogue rows per search, if known."""
    depth = max(*settings.cutoffs, _SHOWN, *(GOOD_CUTOFFS if good is not None else ()))
    found = exact_search(scorer, len(test), depth, settings.seed, settings.memory_mb, test.judged, advance)
    ranks = target_ranks(found.products, test.targets, scorer.products)
    everything = _values(found, ranks, test, good, settings)
    values = {}
    for part in slices:
        if part.targets is None:
            values[part.name] = {name: column[part.mask] for name, column in everything.items()}
        else:
            own_ranks = target_ranks(found.products, part.targets, scorer.products)
            restricted = _against(own_ranks, part.targets, settings)
            values[part.name] = {name: column[part.mask] for name, column in restricted.items()}
    return Measured(values, ranks, found.products[:, :_SHOWN], found.scores[:, :_SHOWN])


def _values(
    found: Found, ranks: np.ndarray, test: TestSet, good: list[np.ndarray] | None, settings: EvaluationSettings
) -> dict[str, np.ndarray]:
    products = test.catalogue.num_rows
    values = _against(ranks, test.targets, settings)
    if test.purchased is not None:
        bought = target_ranks(found.products, test.purchased, products)
        for cutoff in settings.cutoffs:
            values[f"purchase_recall@{cutoff}"] = recall_at(bought, test.purchased, cutoff)
    if test.judged is not None and found.pair_scores is not None:
        place = tie_order(products, settings.seed)
        values["judged_ndcg@10"] = judged_ndcg_at(found.pair_scores, test.judged, place, 10)
    if good is not None:
        for cutoff in GOOD_CUTOFFS:
            values[f"good_rate@{cutoff}"] = good_rate_at(found.products, good, products, cutoff)
    return values


def _against(ranks: np.ndarray, targets: Targets, settings: EvaluationSettings) -> dict[str, np.ndarray]:
    values = {f"recall@{cutoff}": recall_at(ranks, targets, cutoff) for cutoff in settings.cutoffs}
    values["ndcg@10"] = ndcg_at(ranks, targets, 10)
    return values
