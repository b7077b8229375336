"""Text units: what a query or a title is cut into. One function per unit, used in training, embedding and serving.

Scripts written with spaces are cut into words; Chinese, Japanese and Thai have none, so their runs are cut into
characters (`words`) or by a segmenter (`segments`). Units of MGDSPR for Chinese: characters, `character_ngrams(2)` and
segments; for spaced scripts single characters say little: character trigrams, word bigrams and words take their places.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from components.common.errors import BadSetting

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3005"
_HIRAGANA = "\u3041-\u309f"
_KATAKANA = "\u30a0-\u30ff\u31f0-\u31ff"
_THAI = "\u0e00-\u0e7f"
_UNSPACED = re.compile(f"[{_HAN}{_HIRAGANA}{_KATAKANA}]+|[{_THAI}]+")
_SCRIPT_RUN = re.compile(f"[{_HAN}]+|[{_HIRAGANA}]+|[{_KATAKANA}]+|[{_THAI}]+")
_KANA = re.compile(f"[{_HIRAGANA}{_KATAKANA}]")
# Combining marks (vowel signs of Indic scripts, Arabic and Hebrew points) are no word characters for `re`.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff\u0e80-\u109f"
)
_LETTER = f"(?:[^\\W_]|[{_MARKS}])"
# "1/2", "1.5" and "2,000" are one word: in hardware and grocery titles the number is the product.
_WORD = re.compile(rf"\d+(?:[.,/]\d+)+|{_LETTER}+(?:'{_LETTER}+)*")
_NUMBER_UNIT = re.compile(r"(\d+(?:[.,/]\d+)*)([a-z]{1,3})")


def normalise(text: str) -> str:
    """NFKC, case-folded, typographic apostrophes made plain, white space single: "ＢＩＧ  Tee’s" -> "big tee's"."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.replace("\u2019", "'").split())


def words(text: str) -> list[str]:
    """Words in order; a character of an unspaced script is a word of its own.

    A possessive loses its 's ("women's" -> "women"), a number with a unit is two words ("12ft" -> "12", "ft").
    """
    return _cut(text, list)


def segments(text: str) -> list[str]:
    """Words as `words`, but runs of an unspaced script are cut by a segmenter.

    Chinese and Thai: budoux. Japanese (a run with kana): where the script changes, because budoux' Japanese phrases are
    longer than product words.
    """
    return _cut(text, _segment)


def stems(text: str) -> list[str]:
    """Words without the English plural (Harman's "S" stemmer): "batteries" -> "battery", "shoes" -> "shoe"."""
    return [_singular(word) for word in words(text)]


def word_bigrams(text: str) -> list[str]:
    """Pairs of adjacent words: "red tee shirt" -> "red tee", "tee shirt"."""
    found = words(text)
    return [f"{left} {right}" for left, right in itertools.pairwise(found)]


def stem_bigrams(text: str) -> list[str]:
    """Pairs of adjacent stems."""
    found = stems(text)
    return [f"{left} {right}" for left, right in itertools.pairwise(found)]


def characters(text: str) -> list[str]:
    """Letters and digits in order (MGDSPR's 1-gram)."""
    return [character for word in words(text) for character in word if character.isalnum()]


def character_ngrams(text: str, n: int = 3) -> list[str]:
    """Character n-grams inside each word.

    A spaced word is marked at its ends ("^tee$" -> "^te", "tee", "ee$"; one shorter than n is one n-gram with its
    marks); a run of an unspaced script is not ("连衣裙" with n = 2 -> "连衣", "衣裙"; a shorter one stands for itself).
    """
    grams: list[str] = []
    for word in _cut(text, lambda run: [run]):
        marked = word if _UNSPACED.fullmatch(word) else f"^{word}$"
        grams.extend(marked[start : start + n] for start in range(max(1, len(marked) - n + 1)))
    return grams


UNITS: dict[str, Callable[[str], list[str]]] = {
    "words": words,
    "segments": segments,
    "stems": stems,
    "word_bigrams": word_bigrams,
    "stem_bigrams": stem_bigrams,
    "characters": characters,
    "character_2grams": partial(character_ngrams, n=2),
    "character_3grams": partial(character_ngrams, n=3),
    "character_4grams": partial(character_ngrams, n=4),
}
"""Every unit a setting may name."""
ONE_OR_MORE_UNITS = f"one or more of {', '.join(UNITS)}"
"""What an error asks for where a setting takes several."""


def cut(text: str, unit: str) -> list[str]:
    """The tokens of `text` in one of `UNITS`, in order. Raises BadSetting for an unknown unit."""
    try:
        return UNITS[unit](text)
    except KeyError:
        raise BadSetting(f"there is no text unit {unit!r}; known units: {', '.join(UNITS)}.") from None


def _cut(text: str, unspaced: Callable[[str], list[str]]) -> list[str]:
    text = normalise(text)
    if text.isascii():
        return _spaced(text)
    found, end = [], 0
    for run in _UNSPACED.finditer(text):
        found.extend(_spaced(text[end : run.start()]))
        found.extend(unspaced(run.group()))
        end = run.end()
    found.extend(_spaced(text[end:]))
    return found


def _spaced(text: str) -> list[str]:
    found: list[str] = []
    for word in _WORD.findall(text):
        parts = _NUMBER_UNIT.fullmatch(word)
        if parts:
            found.extend(parts.groups())
        else:
            found.append(word.removesuffix("'s").replace("'", "") if "'" in word else word)
    return found


def _segment(run: str) -> list[str]:
    if _KANA.search(run):
        return _SCRIPT_RUN.findall(run)
    return _parser("thai" if re.match(f"[{_THAI}]", run) else "chinese").parse(run)


@cache
def _parser(script: str) -> Any:
    import budoux

    if script == "thai":
        return budoux.load_default_thai_parser()
    return budoux.load_default_simplified_chinese_parser()


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies") and word[-4] not in "ae":
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("es") and word[-3] not in "aeo":
        return word[:-1]
    if len(word) > 2 and word.endswith("s") and word[-2] not in "us":
        return word[:-1]
    return word
