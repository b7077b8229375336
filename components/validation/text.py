"""Text that can't be used: undecodable, empty, too long, with control characters or HTML in it; and its words."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.validation.conform import Conformed
from components.validation.hashing import string_buffers

_TAGS = "a|b|br|i|p|u|em|ul|li|ol|hr|h[1-6]|sup|sub|div|span|font|img|table|tr|td|th|strong|script|style|html|iframe"
_HTML = rf"(?i)<(/?({_TAGS})(\s[^<>]*)?/?>|!--)"
_ALLOWED_CONTROL = (0x09, 0x0A, 0x0D)


def check_text(
    conformed: Conformed, name: str, characters: int | None = None, empty: bool = False, markup: bool = True
) -> None:
    """Marks the rows of a text column that is undecodable, longer than `characters`, or holds control characters.

    `empty`: mark text without any visible character. `markup`: mark HTML tags and the replacement character U+FFFD.
    Undecodable values are replaced by null in `conformed`, so that later kernels see valid UTF-8 only.
    """
    if name not in conformed.columns:
        return
    array = conformed.columns[name]
    undecodable = undecodable_rows(array)
    if undecodable.any():
        conformed.marks.add(undecodable, "undecodable_text", f"{name} is not valid UTF-8: {{value}}", array)
        array = pc.if_else(pa.array(~undecodable), array, pa.scalar(None, pa.string()))
        conformed.columns[name] = array
    marks = conformed.marks
    if characters is not None:
        sizes = np.asarray(pc.utf8_length(array).fill_null(0).to_numpy(zero_copy_only=False))
        sentence = f"{name} is longer than {characters:,} characters: {{value}}"
        marks.add(sizes > characters, "text_too_long", sentence, array)
    if empty:
        blank = np.asarray(pc.equal(pc.binary_length(pc.utf8_trim_whitespace(array)), 0).fill_null(False))
        marks.add(blank, f"empty_{name}", f"{name} is empty")
    control, replaced = _bad_bytes(array) & conformed.valid(name)
    marks.add(control, "control_characters", f"{name} holds control characters: {{value}}", array)
    if markup:
        sentence = f"{name} holds the replacement character U+FFFD, so it was decoded wrongly: {{value}}"
        marks.add(replaced, "undecodable_text", sentence, array)
        marks.add(_html(array), "html", f"{name} holds HTML: {{value}}", array)


def check_id(conformed: Conformed, name: str, limit: int) -> None:
    """Marks the rows whose id is undecodable, empty, longer than `limit` bytes, or holds control characters."""
    if name not in conformed.columns:
        return
    check_text(conformed, name, markup=False)
    array = conformed.columns[name]
    sizes = np.asarray(pc.binary_length(array).fill_null(1).to_numpy(zero_copy_only=False))
    conformed.marks.add(sizes == 0, "missing_id", f"{name} is empty")
    conformed.marks.add(sizes > limit, "text_too_long", f"{name} is longer than {limit} bytes: {{value}}", array)


def undecodable_rows(array: pa.Array) -> np.ndarray:
    """bool [rows]: the value is not valid UTF-8."""
    bad = np.zeros(len(array), dtype=bool)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        for row, value in enumerate(array):
            if value.is_valid:
                try:
                    value.as_buffer().to_pybytes().decode("utf-8")
                except UnicodeDecodeError:
                    bad[row] = True
    return bad


def words(array: pa.Array) -> pa.Array:
    """The lower-case words (runs of letters and digits) of a text column [rows] as one flat string array."""
    plain = pc.replace_substring_regex(pc.utf8_lower(array.drop_null()), r"[^\p{L}\p{N}]+", " ")
    flat = pc.list_flatten(pc.split_pattern(plain, " "))
    return flat.filter(pc.greater(pc.binary_length(flat), 0))


def word_counts(array: pa.Array) -> np.ndarray:
    """int64 [rows without null]: words a text."""
    plain = pc.utf8_trim(pc.replace_substring_regex(array.drop_null(), r"[^\p{L}\p{N}]+", " "), " ")
    spaces = np.asarray(pc.count_substring(plain, " ").to_numpy(zero_copy_only=False), dtype=np.int64)
    return spaces + (np.asarray(pc.binary_length(plain)) > 0)


def _bad_bytes(array: pa.Array) -> np.ndarray:
    """bool [2, rows]: rows with control characters (C0 and DEL), rows with U+FFFD; works on bytes, not row by row.

    The C1 range is let through: it comes from text decoded as Latin-1 instead of Windows-1252, which is readable but
    for a quote or dash and common in real catalogues. The suites warn of it.
    """
    offsets, data = string_buffers(array)
    rows = np.zeros((2, len(array)), dtype=bool)
    if len(data) == 0:
        return rows
    odd = (data < 0x20) | (data == 0x7F)
    for allowed in _ALLOWED_CONTROL:
        odd &= data != allowed
    places = [np.flatnonzero(odd), np.flatnonzero(data == 0xEF)]
    places[1] = places[1][places[1] + 2 < len(data)]
    places[1] = places[1][(data[places[1] + 1] == 0xBF) & (data[places[1] + 2] == 0xBD)]
    for kind, found in enumerate(places):
        if len(found):
            rows[kind, np.searchsorted(offsets, found, side="right") - 1] = True
    return rows


def _html(array: pa.Array) -> np.ndarray:
    offsets, data = string_buffers(array)
    found = np.zeros(len(array), dtype=bool)
    candidates = np.unique(np.searchsorted(offsets, np.flatnonzero(data == ord("<")), side="right") - 1)
    if len(candidates):
        hit = pc.match_substring_regex(array.take(pa.array(candidates)), _HTML)
        found[candidates] = np.asarray(hit.fill_null(False))
    return found
