"""The one rule that turns a set of events into a sequence, for one shopper or for many at once.

A sequence is a function of the *set* of events: ordered by time, ties by the remaining columns in turn, an event that
is equal in every column counted once, then the latest N kept. Two consequences carry the whole room: the order in which
events arrive doesn't matter, and the latest N of a union can be made from the latest N of its parts. So a history built
offline from all events equals one grown online event by event, late arrivals included.
"""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def sequence_order(owner: NDArray, timestamps: NDArray, *ties: NDArray) -> Indices:
    """Indices of the distinct rows, ordered by owner, then time, then each of `ties` in turn.

    Args: arrays of one length n. Strings must be given as codes whose order is that of the strings (`sorted_codes`).
    """
    order = _by_owner_and_time(owner, timestamps)
    if len(order) < 2:
        return order
    equal = np.ones(len(order) - 1, dtype=bool)
    for column in (owner, timestamps):
        ordered = column[order]
        equal &= ordered[1:] == ordered[:-1]
    # Few rows share owner and time: only those are sorted by, and compared in, the remaining columns.
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    rows, run = order[tied], np.cumsum(~np.append(False, equal))[tied]
    order[tied] = rows = rows[np.lexsort((*(column[rows] for column in reversed(ties)), run))]
    repeats = np.append(False, run[1:] == run[:-1])[: len(run)]
    for column in ties:
        ordered = column[rows]
        repeats[1:] &= ordered[1:] == ordered[:-1]
    return np.delete(order, tied[repeats])


def _by_owner_and_time(owner: NDArray, timestamps: NDArray) -> Indices:
    """Indices by owner, then time; rows equal in both come in any order."""
    if len(owner):
        first, last = int(timestamps.min()), int(timestamps.max())
        bits = (last - first).bit_length()
        if owner.min() >= 0 and int(owner.max()).bit_length() + bits < 64:
            # Both fit one integer of 63 bits: one sort of integers instead of two of rows, and none of what is sorted.
            keys = (owner.astype(np.int64) << bits) | (timestamps - first)
            return np.arange(len(keys)) if (keys[1:] >= keys[:-1]).all() else np.argsort(keys)
    return np.lexsort((timestamps, owner)).astype(np.int64)


def sorted_codes(strings: list[str]) -> NDArray[np.int64]:
    """For each string its rank among the distinct strings, so that comparing codes compares strings."""
    ranks = {text: rank for rank, text in enumerate(sorted(set(strings)))}
    return np.fromiter((ranks[text] for text in strings), dtype=np.int64, count=len(strings))


def latest_per_key(owner: NDArray, keys: NDArray, timestamps: NDArray) -> Indices:
    """For each distinct (owner, key) the index of its latest row, ordered by owner, then time, then key."""
    order = np.lexsort((timestamps, keys, owner))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (owner[order][1:] != owner[order][:-1]) | (keys[order][1:] != keys[order][:-1])
    kept = order[last]
    return kept[np.lexsort((keys[kept], timestamps[kept], owner[kept]))].astype(np.int64)


def ragged_indices(starts: NDArray, lengths: NDArray) -> tuple[Indices, Indices]:
    """The runs start, start+1, ... of given lengths, one after another.

    Returns: (flat indices [sum of lengths], the run each belongs to [sum of lengths]).
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    run = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    within = np.arange(len(run), dtype=np.int64) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.asarray(starts, dtype=np.int64)[run] + within, run


def offsets_of(lengths: NDArray) -> NDArray[np.int64]:
    """Row boundaries [n+1] of a ragged array whose rows have these lengths [n]."""
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)))
