"""Text of foreign logs as the contract wants it: Unicode NFC, titles on one line."""

from __future__ import annotations

import unicodedata

import pyarrow as pa


def nfc(text: str) -> str:
    """Unicode NFC, everything else untouched: for queries."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def tidy(text: str) -> str:
    """NFC with white space made single: for titles, brands and the like."""
    return " ".join(nfc(text).split())


# Arrow's own utf8_normalize decomposes where NFC composes, so text goes through Python; most of it is ASCII.
def nfc_column(column: pa.ChunkedArray) -> pa.Array:
    """`nfc` for a column of text."""
    return pa.array([None if text is None else nfc(text) for text in column.to_pylist()], pa.string())


def tidy_column(column: pa.ChunkedArray) -> pa.Array:
    """`tidy` for a column of text; empty becomes null."""
    return pa.array([None if text is None else tidy(text) or None for text in column.to_pylist()], pa.string())
