"""Word pieces of BERT's lower-case English vocabulary, so that a server needs no tokeniser library."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from components.common.errors import BadInput

_BEGIN, _END, _UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
_LONGEST_WORD = 100
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class WordPieces:
    """Texts as numbers of a WordPiece vocabulary, greedily the longest piece first; "##" marks one inside a word.

    Args:
        path: the vocabulary, a piece a line.
        limit: pieces kept of a text, with the two that mark its ends.

    References: Schuster and Nakajima 2012; Devlin et al. 2019 (lower case, accents off, punctuation apart).

    Raises:
        BadInput: the file lacks the pieces that mark ends and unknown words.
    """

    def __init__(self, path: Path, limit: int = 128) -> None:
        self._number = {piece: row for row, piece in enumerate(path.read_text(encoding="utf-8").splitlines())}
        for piece in (_BEGIN, _END, _UNKNOWN):
            if piece not in self._number:
                raise BadInput(f"{path} is no vocabulary of word pieces: it lacks {piece}.")
        self.limit = limit

    def __call__(self, text: str) -> list[int]:
        """Numbers of the pieces of a text, its ends marked."""
        pieces = [piece for word in _words(text) for piece in self._pieces(word)][: self.limit - 2]
        return [self._number[_BEGIN], *pieces, self._number[_END]]

    def _pieces(self, word: str) -> list[int]:
        found: list[int] = []
        start = 0
        while start < len(word) <= _LONGEST_WORD:
            for end in range(len(word), start, -1):
                number = self._number.get(("##" if start else "") + word[start:end])
                if number is not None:
                    found.append(number)
                    start = end
                    break
            else:
                return [self._number[_UNKNOWN]]
        return found or [self._number[_UNKNOWN]]


def _words(text: str) -> Iterator[str]:
    """Lower-case words without accents; punctuation and ideographs stand alone."""
    word: list[str] = []
    for character in unicodedata.normalize("NFD", "".join(map(_cleaned, text))):
        if unicodedata.category(character) == "Mn":
            continue
        apart = _is_punctuation(character) or _is_ideograph(character)
        if word and (apart or character.isspace()):
            yield "".join(word).lower()
            word = []
        if apart:
            yield character
        elif not character.isspace():
            word.append(character)
    if word:
        yield "".join(word).lower()


def _cleaned(character: str) -> str:
    if character in "\t\n\r" or unicodedata.category(character) == "Zs":
        return " "
    return "" if unicodedata.category(character)[0] == "C" or character == "\ufffd" else character


def _is_punctuation(character: str) -> bool:
    return character in "$+<=>^`|~" or unicodedata.category(character)[0] == "P"


def _is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)


def encode_in_batches(
    encode: Callable[[np.ndarray, np.ndarray], np.ndarray],
    pieces: WordPieces,
    texts: Sequence[str],
    width: int,
    batch_size: int = 64,
) -> np.ndarray:
    """Vectors float32 [n, width] of texts of any length, zero for a blank one.

    Texts are sorted by length, so that a batch carries little padding.

    Args:
        encode: numbers int64 [b, T] and mask bool [b, T] -> vectors [b, width].
    """
    vectors = np.zeros((len(texts), width), np.float32)
    numbers = {place: pieces(text) for place, text in enumerate(texts) if text.strip()}
    order = sorted(numbers, key=lambda place: len(numbers[place]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        lengths = np.array([len(numbers[place]) for place in chosen])
        mask = np.arange(lengths.max()) < lengths[:, None]
        padded = np.zeros(mask.shape, np.int64)
        padded[mask] = [number for place in chosen for number in numbers[place]]
        vectors[chosen] = encode(padded, mask)
    return vectors
