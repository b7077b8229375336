"""The kinds of searches that are looked at apart: a good mean can hide a broken tail."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluation.targets import Targets

ALL = "all"
NEW_PRODUCTS = "new products"
_BANDS = ("head", "torso", "tail")


@dataclass(frozen=True)
class Slice:
    """A named part of the test searches, `mask` bool [searches]; measured on `targets`, None for the searches' own."""

    name: str
    mask: np.ndarray
    targets: Targets | None = None


def normalised(query: str) -> str:
    """The form in which queries are counted: case and spaces do not make another query."""
    return " ".join(query.casefold().split())


def frequency_bands(
    queries: Sequence[str], training: Counter[str], head_share: float, torso_share: float
) -> dict[str, np.ndarray]:
    """Masks bool [searches] of head, torso, tail and unseen queries by their frequency in the training window.

    Queries are taken from the most frequent down: those that begin before `head_share` of all training searches is
    reached are head, those before `head_share + torso_share` torso, all others, unseen ones included, tail. Queries of
    one frequency share a band, so the alphabet decides nothing.
    """
    total = sum(training.values())
    band_of_count: dict[int, int] = {}
    passed = 0
    for count, queries_with_it in sorted(Counter(training.values()).items(), reverse=True):
        share = passed / total
        band_of_count[count] = 0 if share < head_share else 1 if share < head_share + torso_share else 2
        passed += count * queries_with_it
    counts = [training.get(normalised(query), 0) for query in queries]
    bands = np.array([band_of_count.get(count, 2) for count in counts], dtype=np.int8)
    unseen = np.array([count == 0 for count in counts], dtype=bool)
    return {**{f"{name} queries": bands == band for band, name in enumerate(_BANDS)}, "unseen queries": unseen}


def shopper_kinds(known: np.ndarray, with_history: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of searches by what is known of the shopper; `known` and `with_history` are bool [searches]."""
    return {
        "anonymous": ~known,
        "new shoppers": known & ~with_history,
        "shoppers with history": known & with_history,
    }


def make_slices(
    masks: dict[str, np.ndarray], targets: Targets, met_in_training: np.ndarray
) -> tuple[list[Slice], list[str]]:
    """The slices worth a row, "all" first, and sentences about those that are left out.

    An empty slice is left out, and one that holds every search: it would repeat the row of all searches. "New products"
    are measured on those targets alone that the training window never met (`met_in_training` bool [products]).
    """
    fresh = targets.where(~met_in_training[targets.products])
    slices = [Slice(ALL, np.ones(len(targets), dtype=bool))]
    slices += [Slice(name, mask) for name, mask in masks.items() if mask.any() and not mask.all()]
    if len(fresh.products):
        slices.append(Slice(NEW_PRODUCTS, fresh.counts > 0, fresh))
    empty = [name for name, mask in masks.items() if not mask.any()] + [NEW_PRODUCTS] * (not len(fresh.products))
    full = [name for name, mask in masks.items() if mask.all()]
    notes = [f"No test search belongs to these slices: {', '.join(empty)}."] if empty else []
    if full:
        notes.append(f"Every test search belongs to these slices, which have no rows of their own: {', '.join(full)}.")
    return slices, notes
