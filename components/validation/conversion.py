"""A column of another type, read as the contract's type where that loses nothing; otherwise the rows that can't be."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.logs.contract import TIMESTAMP

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_TIME = re.compile(r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?(Z|[+-]\d\d:?\d\d)?$")


@dataclass(frozen=True)
class Converted:
    """A column in the contract's type [rows], the rows whose value can't be one (null there), and a remark, if any."""

    array: pa.Array
    bad: np.ndarray
    naive: bool = False


def plain_name(kind: pa.DataType) -> str:
    """A contract type in words that fit a sentence."""
    if pa.types.is_timestamp(kind):
        return "a UTC timestamp in microseconds"
    if pa.types.is_floating(kind):
        return "a number"
    if pa.types.is_integer(kind):
        return "a whole number"
    if pa.types.is_boolean(kind):
        return "true or false"
    return "a map of text to text" if pa.types.is_map(kind) else "text"


def convert(array: pa.Array, kind: pa.DataType) -> Converted:
    """Reads `array` as `kind`; dictionaries, wider or narrower encodings and numbers in text are accepted."""
    if array.type == kind:
        return Converted(array, np.zeros(len(array), dtype=bool))
    if pa.types.is_null(array.type):
        return Converted(pa.nulls(len(array), kind), np.zeros(len(array), dtype=bool))
    if pa.types.is_dictionary(array.type):
        return convert(array.dictionary_decode(), kind)
    if _is_text(array.type) and not pa.types.is_string(kind):
        return _from_text(array, kind)
    if pa.types.is_string(kind):
        return _to_text(array)
    if pa.types.is_timestamp(kind):
        return _to_time(array)
    if pa.types.is_boolean(kind) and pa.types.is_integer(array.type):
        fits = pc.is_in(array, value_set=pa.array([0, 1], array.type))
        return _keep(array, fits, lambda kept: pc.equal(kept, 1))
    if pa.types.is_floating(kind) and _is_number(array.type):
        return Converted(array.cast(kind, safe=False), np.zeros(len(array), dtype=bool))
    if pa.types.is_integer(kind) and _is_number(array.type):
        return _whole(array.cast(pa.float64(), safe=False), kind)
    try:
        return Converted(array.cast(kind), np.zeros(len(array), dtype=bool))
    except pa.ArrowException:
        return _none_fits(array, kind)


def _is_text(kind: pa.DataType) -> bool:
    return any(
        check(kind)
        for check in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
        )
    )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _none_fits(array: pa.Array, kind: pa.DataType) -> Converted:
    return Converted(pa.nulls(len(array), kind), _flags(array.is_valid()))


def _flags(mask: pa.Array) -> np.ndarray:
    return np.asarray(mask.fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)


def _keep(array: pa.Array, fits: pa.Array, then: Callable[[pa.Array], pa.Array]) -> Converted:
    keep = _flags(fits)
    kept = pc.if_else(pa.array(keep), array, pa.scalar(None, array.type))
    return Converted(then(kept), _flags(array.is_valid()) & ~keep)


def _to_text(array: pa.Array) -> Converted:
    if pa.types.is_integer(array.type):
        return Converted(array.cast(pa.string()), np.zeros(len(array), dtype=bool))
    if not _is_text(array.type):
        return _none_fits(array, pa.string())
    # By way of binary, so that bytes that are not UTF-8 pass here and are found, row by row, by the text check.
    binary = array.cast(pa.binary())
    text = pa.StringArray.from_buffers(
        len(binary), binary.buffers()[1], binary.buffers()[2], binary.buffers()[0], binary.null_count, binary.offset
    )
    return Converted(text, np.zeros(len(array), dtype=bool))


def _to_time(array: pa.Array) -> Converted:
    none = np.zeros(len(array), dtype=bool)
    if pa.types.is_timestamp(array.type):
        naive = array.type.tz is None
        array = array.cast(pa.timestamp("us", tz=array.type.tz), safe=False)
        return Converted(pc.assume_timezone(array, "UTC") if naive else array.cast(TIMESTAMP), none, naive)
    if pa.types.is_date(array.type):
        return Converted(pc.assume_timezone(array.cast(pa.timestamp("us")), "UTC"), none, naive=True)
    if pa.types.is_integer(array.type):
        return Converted(array.cast(pa.int64()).cast(TIMESTAMP), none)
    return _none_fits(array, TIMESTAMP)


def _whole(array: pa.Array, kind: pa.DataType) -> Converted:
    bound = float(2 ** (kind.bit_width - 1))
    fits = pc.and_(pc.equal(array, pc.floor(array)), pc.less(pc.abs(array), bound))
    return _keep(array, fits, lambda kept: kept.cast(kind))


def _from_text(array: pa.Array, kind: pa.DataType) -> Converted:
    undecodable = np.array([not _decodes(value) for value in array.cast(pa.binary())], dtype=bool)
    text = pc.if_else(pa.array(~undecodable), _to_text(array).array, pa.scalar(None, pa.string()))
    trimmed = pc.utf8_trim_whitespace(text)
    if pa.types.is_timestamp(kind):
        result = _times_from_text(trimmed)
    elif pa.types.is_boolean(kind):
        lower = pc.utf8_lower(trimmed)
        known = pc.is_in(lower, value_set=pa.array(["true", "false"]))
        result = _keep(lower, known, lambda kept: pc.equal(kept, "true"))
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
        numbers = _keep(trimmed, pc.match_substring_regex(trimmed, _NUMBER), lambda kept: kept.cast(pa.float64()))
        result = numbers
        if pa.types.is_integer(kind):
            whole = _whole(numbers.array, kind)
            result = Converted(whole.array, numbers.bad | whole.bad)
        elif kind != pa.float64():
            result = Converted(numbers.array.cast(kind, safe=False), numbers.bad)
    else:
        result = _none_fits(trimmed, kind)
    return Converted(result.array, result.bad | undecodable, result.naive)


def _decodes(value: pa.Scalar) -> bool:
    if not value.is_valid:
        return True
    try:
        value.as_buffer().to_pybytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _times_from_text(array: pa.Array) -> Converted:
    values, bad, naive = [], np.zeros(len(array), dtype=bool), False
    for row, text in enumerate(array.to_pylist()):
        moment = _moment(text) if text is not None else None
        bad[row] = text is not None and moment is None
        if moment is not None and moment.tzinfo is None:
            naive, moment = True, moment.replace(tzinfo=UTC)
        values.append(moment)
    return Converted(pa.array(values, TIMESTAMP), bad, naive)


def _moment(text: str) -> datetime | None:
    if not _TIME.match(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
