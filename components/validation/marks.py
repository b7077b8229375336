"""Which rows of a batch are bad, by which check, and the sentence that says why."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

_SHOWN = 80


@dataclass(frozen=True)
class Reason:
    """A check's name and its sentence; `{value}` in it is replaced by the row's value from `values` [rows]."""

    check: str
    sentence: str
    values: pa.Array | None = None

    def text(self, row: int) -> str:
        """The sentence for one row of the batch."""
        return self.sentence if self.values is None else self.sentence.replace("{value}", shown(self.values[row]))


class Marks:
    """The first failing check of every row of a batch.

    `codes` is uint8 [rows]: 0 is a good row, k > 0 means `reasons[k - 1]`.
    """

    def __init__(self, rows: int) -> None:
        self.codes = np.zeros(rows, dtype=np.uint8)
        self.reasons: list[Reason] = []

    @property
    def good(self) -> np.ndarray:
        """bool [rows], true where no check failed."""
        return self.codes == 0

    def add(self, bad: np.ndarray, check: str, sentence: str, values: pa.Array | None = None) -> None:
        """Marks the rows where `bad` is true, bool [rows], unless an earlier check marked them."""
        rows = bad & (self.codes == 0)
        if rows.any():
            self.reasons.append(Reason(check, sentence, values))
            self.codes[rows] = len(self.reasons)

    def counts(self) -> Counter[str]:
        """Bad rows by check."""
        found = np.bincount(self.codes, minlength=len(self.reasons) + 1)
        totals: Counter[str] = Counter()
        for reason, count in zip(self.reasons, found[1:], strict=True):
            totals[reason.check] += int(count)
        return totals

    def sentences(self) -> tuple[np.ndarray, list[str], list[str]]:
        """(rows, checks, sentences) of the bad rows in row order."""
        rows = np.flatnonzero(self.codes)
        picked = [self.reasons[self.codes[row] - 1] for row in rows]
        return rows, [reason.check for reason in picked], [r.text(int(n)) for r, n in zip(picked, rows, strict=True)]


def shown(scalar: pa.Scalar) -> str:
    """A value as it may stand in a sentence: quoted text, cut to 80 characters, control characters escaped."""
    if not scalar.is_valid:
        return "null"
    if pa.types.is_timestamp(scalar.type):
        return str(np.datetime64(scalar.value, scalar.type.unit))
    if pa.types.is_binary(scalar.type) or pa.types.is_string(scalar.type):
        value = scalar.as_buffer().to_pybytes()
        text = ascii_safe(value[: 4 * _SHOWN].decode("utf-8", "backslashreplace"))
        return f"'{text[:_SHOWN]}…' ({len(value):,} bytes)" if len(text) > _SHOWN else f"'{text}'"
    text = str(scalar.as_py())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def ascii_safe(text: str) -> str:
    """The text with control characters written as escapes, so that a log line or terminal shows them harmlessly."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
