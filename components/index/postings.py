"""The inverted index of the catalogue: which products carry a word. Relevance control matches key terms on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.common.errors import BadInput, NotFound


@dataclass
class Postings:
    """Word id by word, and for word i the ascending product rows `rows[offsets[i]:offsets[i + 1]]` (int32)."""

    words: dict[str, int]
    offsets: np.ndarray
    rows: np.ndarray

    @classmethod
    def build(cls, products: Iterable[Iterable[str]]) -> "Postings":
        """From the words of each product, in row order; a repeated word of a product counts once."""
        vocabulary: dict[str, int] = {}
        codes: list[np.ndarray] = []
        counts: list[int] = []
        for tokens in products:
            found = {vocabulary.setdefault(token, len(vocabulary)) for token in tokens}
            codes.append(np.fromiter(found, dtype=np.int32, count=len(found)))
            counts.append(len(found))
        flat = np.concatenate(codes) if codes else np.zeros(0, dtype=np.int32)
        product = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        order = np.lexsort((product, flat))
        offsets = np.zeros(len(vocabulary) + 1, dtype=np.int64)
        np.cumsum(np.bincount(flat, minlength=len(vocabulary)), out=offsets[1:])
        return cls(vocabulary, offsets, product[order])

    def frequency(self, word: str) -> int:
        """Number of products that carry a word."""
        number = self.words.get(word)
        return 0 if number is None else int(self.offsets[number + 1] - self.offsets[number])

    def of(self, word: str) -> np.ndarray:
        """Ascending rows int32 of the products that carry a word; empty for an unknown one."""
        number = self.words.get(word)
        if number is None:
            return self.rows[:0]
        return self.rows[self.offsets[number] : self.offsets[number + 1]]

    def all_of(self, words: Sequence[str]) -> np.ndarray:
        """Ascending rows int32 of the products that carry every one of the words (at least one word)."""
        lists = sorted((self.of(word) for word in words), key=len)
        found = lists[0]
        for other in lists[1:]:
            found = found[contained(found, other)]
        return found

    def write(self, directory: Path) -> None:
        """Writes words.parquet, postings.npy and posting_offsets.npy."""
        pq.write_table(pa.table({"word": pa.array(self.words, type=pa.string())}), directory / "words.parquet")
        np.save(directory / "postings.npy", self.rows)
        np.save(directory / "posting_offsets.npy", self.offsets)

    @classmethod
    def read(cls, directory: Path) -> "Postings":
        """Reads what `write` wrote, the lists as memory maps. Raises NotFound or BadInput."""
        try:
            words = pq.read_table(directory / "words.parquet").column("word").to_pylist()
            rows = np.load(directory / "postings.npy", mmap_mode="r", allow_pickle=False)
            offsets = np.load(directory / "posting_offsets.npy", allow_pickle=False)
        except FileNotFoundError as error:
            raise NotFound(f"{directory} lacks {Path(error.filename or '').name}; rebuild the release.") from error
        except (pa.ArrowException, ValueError) as error:
            raise BadInput(
                f"the inverted index in {directory} cannot be read ({error}); rebuild the release."
            ) from error
        if len(offsets) != len(words) + 1 or int(offsets[-1]) != len(rows):
            raise BadInput(f"the inverted index in {directory} does not fit together; rebuild the release.")
        return cls({word: number for number, word in enumerate(words)}, offsets, rows)


def contained(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """bool [n]: which of the values occur in an ascending array; log time each, in any order of the values."""
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    places = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return ascending[places] == values
