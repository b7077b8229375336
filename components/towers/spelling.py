"""Misspelt words of a query, put right by the words of the catalogue's titles.

A quarter of real queries may hold a word that no title has. Character n-grams soften that; a word put right is found by
everything else as well: its stem, its pairs, a pretrained encoder.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.towers.text import character_ngrams, normalise, words

_SHORTEST, _TWO_SLIPS_FROM = 4, 7
"""Letters from which a word is put right at all, and from which two slips are allowed."""
_CANDIDATES = 30
_SHORTEST_PART, _PART_TITLES = 3, 20
"""Letters and titles that each of two words written as one must have."""


class Spelling:
    """Corrects the words of a query that no title has.

    A word becomes the nearest title word: fewest slips (a letter dropped, added, changed or swapped with the next),
    then the most titles; or two title words that were written as one; or the numbers and units of a size. A word that
    nothing fits stays as it is, and so does a known one.

    Args:
        counts: title word -> number of titles. min_count: titles a word needs to be known.

    References: Damerau 1964 (four kinds of slip); Norvig, *How to Write a Spelling Corrector* (fewest slips, then
        frequency). Candidates come from shared character trigrams.
    """

    def __init__(self, counts: dict[str, int], min_count: int = 2) -> None:
        self.counts = {word: count for word, count in counts.items() if count >= min_count}
        self._words = sorted(self.counts)
        postings: dict[str, list[int]] = {}
        for row, word in enumerate(self._words):
            if len(word) >= _SHORTEST - 1 and word.isalpha():
                for gram in set(character_ngrams(word)):
                    postings.setdefault(gram, []).append(row)
        self._postings = {gram: np.array(rows, np.int32) for gram, rows in postings.items()}
        self._lengths = np.array([len(word) for word in self._words], np.int32)
        self._word = lru_cache(maxsize=100_000)(self._corrected)

    @staticmethod
    def learn(titles: Iterable[str], min_count: int = 2) -> Spelling:
        """The words of these titles."""
        return Spelling(Counter(word for title in titles for word in set(words(title))), min_count)

    def __call__(self, query: str) -> str:
        """The query, normalised, with its unknown words put right."""
        text = normalise(query)
        for word in dict.fromkeys(words(query)):
            right = self._word(word)
            if right != word:
                text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", right, text)
        return text

    def all(self, queries: Sequence[str]) -> list[str]:
        """Each of the queries put right."""
        return [self(query) for query in queries]

    def save(self, path: Path) -> None:
        """Writes words and counts as Parquet."""
        table = pa.table({"word": list(self.counts), "titles": pa.array(list(self.counts.values()), pa.int64())})
        pq.write_table(table, path, compression="zstd")

    @staticmethod
    def load(path: Path) -> Spelling:
        """Reads what `save` wrote."""
        table = pq.read_table(path)
        return Spelling(dict(zip(table["word"].to_pylist(), table["titles"].to_pylist(), strict=True)), min_count=1)

    def _corrected(self, word: str) -> str:
        if word in self.counts or word + "s" in self.counts or word.removesuffix("s") in self.counts:
            return word
        if not word.isalpha():
            return self._size(word)
        if len(word) < _SHORTEST:
            return word
        slips, near = self._nearest(word)
        if slips <= 1:
            return near
        return self._two_words(word) or (near if slips == 2 else word)

    def _size(self, word: str) -> str:
        """ "40inch" -> "40 inch", "59x21" -> "59 x 21"; a word of other parts stays."""
        parts = re.findall(r"\d+(?:[.,/]\d+)*|[a-z]+", word)
        between = set(parts[1::2])
        whole = "".join(parts) == word
        if whole and len(parts) in (2, 3) and parts[0][0].isdigit() and between <= self.counts.keys():
            return " ".join(parts)
        return word

    def _nearest(self, word: str) -> tuple[int, str]:
        """Slips to the best title word and that word; more slips than are allowed where none is near."""
        allowed = 2 if len(word) >= _TWO_SLIPS_FROM else 1
        lists = [self._postings[gram] for gram in set(character_ngrams(word)) if gram in self._postings]
        if not lists:
            return allowed + 1, word
        rows, shared = np.unique(np.concatenate(lists), return_counts=True)
        close = np.abs(self._lengths[rows] - len(word)) <= allowed
        rows, shared = rows[close], shared[close]
        best = (allowed + 1, 0, word)
        for row in rows[np.argsort(-shared, kind="stable")[:_CANDIDATES]]:
            candidate = self._words[row]
            slips = distance(word, candidate)
            if slips == 2 and candidate[0] != word[0]:
                continue  # people rarely miss the first letter and another one
            best = min(best, (slips, -self.counts[candidate], candidate))
        return best[0], best[2]

    def _two_words(self, word: str) -> str | None:
        """The two title words that stand in this one without a space, the rarer of them as frequent as possible."""
        found = [
            (min(self.counts[word[:place]], self.counts[word[place:]]), f"{word[:place]} {word[place:]}")
            for place in range(_SHORTEST_PART, len(word) - _SHORTEST_PART + 1)
            if word[:place] in self.counts and word[place:] in self.counts
        ]
        titles, parted = max(found, default=(0, ""))
        return parted if titles >= _PART_TITLES else None


def distance(left: str, right: str) -> int:
    """Letters dropped, added, changed or swapped with the next that turn one word into the other."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        above, before_above, row = row, before, [i]
        before = above
        for j, b in enumerate(right, start=1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, before_above[j - 2] + 1)
            row.append(cost)
    return row[-1]
