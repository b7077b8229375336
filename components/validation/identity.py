"""The ids that other tables refer to: the catalogue's products and each day's searches, as sorted 64-bit hashes."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from components.common.files import read_json, write_json
from components.validation.counts import HashedCounts

_SEARCHES = "searches.npy"

Mix = tuple[np.ndarray, np.ndarray]
"""Counts by category, float64 [categories of a catalogue], and by brand, float64 [brands]; they add up over days."""


def among(hashes: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """bool [n]: each of `hashes` uint64 [n] occurs in the ascending `ordered` uint64 [m]."""
    if len(ordered) == 0:
        return np.zeros(len(hashes), dtype=bool)
    place = np.minimum(np.searchsorted(ordered, hashes), len(ordered) - 1)
    return ordered[place] == hashes


def place_of(hashes: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """int64 [n]: index of each hash in the ascending `ordered`, -1 where it is missing."""
    if len(ordered) == 0:
        return np.full(len(hashes), -1, dtype=np.int64)
    place = np.minimum(np.searchsorted(ordered, hashes), len(ordered) - 1)
    return np.where(ordered[place] == hashes, place, -1)


@dataclass(frozen=True)
class Catalogue:
    """The good products: `ids` uint64 [n] ascending with the code of each one's `category` and `brand`, int32 [n].

    Code -1 is no category or brand. `words` uint64 [w] ascending: every word of title, brand and category.
    """

    ids: np.ndarray
    category: np.ndarray
    brand: np.ndarray
    categories: list[str]
    brands: list[str]
    words: np.ndarray

    def mix(self, counts: HashedCounts) -> Mix:
        """Counts by category and by brand, of counts by product id; products it does not have are left out."""
        if len(self.ids) == 0:
            return np.zeros(len(self.categories)), np.zeros(len(self.brands))
        place = np.minimum(np.searchsorted(self.ids, counts.hashes), len(self.ids) - 1)
        values = counts.counts * (self.ids[place] == counts.hashes)
        return _sums(self.category[place], values, self.categories), _sums(self.brand[place], values, self.brands)

    def named(self, mix: Mix) -> tuple[dict[str, float], dict[str, float]]:
        """A mix by the top two levels of the category's path, and by the brand's name."""
        categories: dict[str, float] = {}
        for code in np.flatnonzero(mix[0]):
            top = top_levels(self.categories[code])
            categories[top] = categories.get(top, 0.0) + float(mix[0][code])
        return categories, {self.brands[code]: float(mix[1][code]) for code in np.flatnonzero(mix[1])}

    def unknown_share(self, counts: HashedCounts) -> tuple[float, float]:
        """(count of words the catalogue does not have, count of all words) of word counts."""
        return float(counts.counts[~among(counts.hashes, self.words)].sum()), float(counts.counts.sum())

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("ids", "category", "brand", "words"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        write_json(folder / "names.json", {"categories": self.categories, "brands": self.brands})

    @staticmethod
    def load(folder: Path) -> "Catalogue":
        arrays = {name: np.load(folder / f"{name}.npy") for name in ("ids", "category", "brand", "words")}
        names = read_json(folder / "names.json")
        return Catalogue(**arrays, categories=names["categories"], brands=names["brands"])


def _sums(codes: np.ndarray, values: np.ndarray, names: list[str]) -> np.ndarray:
    """float64 [names]: the sum of `values` [n] by code int32 [n]; -1 is left out."""
    return np.bincount(codes + 1, weights=values, minlength=len(names) + 1)[1:]


def top_levels(category: str, levels: int = 2) -> str:
    """The first levels of a path "A > B > C"."""
    return " > ".join(part.strip() for part in category.split(">")[:levels])


@dataclass(frozen=True)
class DaySearches:
    """One day's good searches: `ids` uint64 [n] ascending, `times` int64 [n] us, `users` uint64 [n] (0 unknown)."""

    ids: np.ndarray
    times: np.ndarray
    users: np.ndarray

    @staticmethod
    def of(ids: np.ndarray, times: np.ndarray, users: np.ndarray) -> "DaySearches":
        order = np.argsort(ids, kind="stable")
        return DaySearches(ids[order], times[order], users[order])

    @staticmethod
    def empty() -> "DaySearches":
        return DaySearches(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint64))

    def save(self, folder: Path) -> None:
        """Writes `searches.npy`, uint64 [3, n]: ids, times, users."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _SEARCHES, np.stack([self.ids, self.times.view(np.uint64), self.users]))

    @staticmethod
    def load(folder: Path) -> "DaySearches":
        """The day's searches, none if the day has no file of them."""
        if not (folder / _SEARCHES).is_file():
            return DaySearches.empty()
        ids, times, users = np.load(folder / _SEARCHES)
        return DaySearches(ids, times.view(np.int64), users)


def search_ids(folder: Path) -> np.ndarray:
    """The ids uint64 [n] ascending of a day's searches, mapped from its file and read as far as they are used."""
    mapped: np.ndarray = np.load(folder / _SEARCHES, mmap_mode="r")[0]
    return mapped


def repeated_across(folders: dict[str, Path], fresh: set[str], bucket_rows: int = 500_000) -> dict[str, np.ndarray]:
    """Search ids that an earlier day already has: by day, uint64 ascending, days without any left out.

    `folders` maps each day to the folder of its `DaySearches`; days that are not `fresh` are known to share none among
    themselves. Works through ranges of the hash, so memory is bounded by `bucket_rows` plus one bucket a day, not by
    the window.
    """
    arrays = {day: search_ids(folder) for day, folder in sorted(folders.items()) if (folder / _SEARCHES).is_file()}
    total = sum(len(ids) for day, ids in arrays.items() if day in fresh)
    buckets = -(-total // bucket_rows)
    edges: list[int | None] = [(2**64 * i) // buckets for i in range(buckets)] + [None]
    found: dict[str, list[np.ndarray]] = {}
    for low, high in pairwise(edges):
        parts = {day: _between(ids, low, high) for day, ids in arrays.items()}
        seen = np.zeros(0, dtype=np.uint64)
        twice = _twice(parts, fresh)
        for day, ids in parts.items() if len(twice) else ():
            here = twice[among(twice, ids)]
            again = here[among(here, seen)]
            if len(again):
                found.setdefault(day, []).append(again)
            seen = np.union1d(seen, here)
    return {day: np.concatenate(parts) for day, parts in found.items()}


def _twice(parts: dict[str, np.ndarray], fresh: set[str]) -> np.ndarray:
    """The ids of fresh days that another day has too, uint64 ascending; `parts` maps days to ids, ascending."""
    new = np.sort(np.concatenate([ids for day, ids in parts.items() if day in fresh]))
    known = [new[among(new, ids)] for day, ids in parts.items() if day not in fresh]
    return np.unique(np.concatenate([new[1:][new[1:] == new[:-1]], *known]))


def _between(ids: np.ndarray, low: int | None, high: int | None) -> np.ndarray:
    start = np.searchsorted(ids, np.uint64(low or 0))
    stop = len(ids) if high is None else np.searchsorted(ids, np.uint64(high))
    return np.asarray(ids[start:stop])
