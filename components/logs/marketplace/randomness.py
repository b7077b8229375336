"""Randomness that is the same on every machine, in any order of work.

Lasting facts (a product's brand, a shopper's taste) are hashes of their number, so any of them is known without making
the others. What happens on a day comes from a Philox generator keyed by day and shard. Probabilities are compared as
tables over a fixed grid: no result hangs on the last bit of a processor's `exp`.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GRID = 64  # steps of a utility per unit
_REACH = 16  # utilities beyond +-16 are certain


def mix(seed: int, stream: str, *keys: Any) -> NDArray[np.uint64]:
    """64 mixed bits for each element of the broadcast integer keys (splitmix64, Steele et al. 2014)."""
    state = np.full(1, (seed * 0x9E3779B97F4A7C15 + _stream(stream)) & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    for key in keys or (0,):
        state = _scramble(state + np.asarray(key).astype(np.uint64) * np.uint64(0xD1342543DE82EF95))
    return state


def uniform(seed: int, stream: str, *keys: Any) -> NDArray[np.float64]:
    """A number in [0, 1) for each element of the broadcast integer keys."""
    return (mix(seed, stream, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def bell(seed: int, stream: str, *keys: Any) -> NDArray[np.float64]:
    """Roughly normal numbers (mean 0, deviation 1, within +-3.5): a sum of four uniforms."""
    total = uniform(seed, stream + "/0", *keys)
    for part in range(1, 4):
        total = total + uniform(seed, f"{stream}/{part}", *keys)
    return (total - 2.0) * math.sqrt(3.0)


def choose(cumulative: NDArray[np.float64], draw: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index each draw in [0, 1) falls on, given a distribution's running sums (last one 1)."""
    return np.minimum(np.searchsorted(cumulative, draw, side="right"), len(cumulative) - 1)


def running(weights: Any) -> NDArray[np.float64]:
    """Running sums of weights, scaled so that the last is 1."""
    sums = np.cumsum(np.asarray(weights, dtype=np.float64))
    return sums / sums[-1]


def generator(seed: int, stream: str, *keys: int) -> np.random.Generator:
    """A Philox generator (Salmon et al. 2011) of its own for a stream and keys."""
    key = mix(seed, stream, *keys)[0]
    return np.random.Generator(np.random.Philox(key=int(key)))


def happens(utility: NDArray[np.float32], draw: NDArray[np.float32], scale: Any = 1.0) -> NDArray[np.bool_]:
    """Whether each event happens, its probability being `scale` times the logistic function of its utility."""
    return draw < logistic(utility) * np.asarray(scale, dtype=np.float32)


def logistic(utility: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logistic function, read from a table."""
    steps = np.rint(utility * np.float32(_GRID)).astype(np.int32) + _REACH * _GRID
    return _logistic_table()[np.clip(steps, 0, 2 * _REACH * _GRID)]


def gumbel(draw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gumbel noise for draws in [0, 1), read from a table: the largest of utility + noise is a softmax choice."""
    return _gumbel_table()[(draw * np.float32(4096)).astype(np.int32)]


@cache
def _stream(name: str) -> int:
    return int.from_bytes(hashlib.md5(name.encode(), usedforsecurity=False).digest()[:8], "little")


@cache
def _logistic_table() -> NDArray[np.float32]:
    steps = range(-_REACH * _GRID, _REACH * _GRID + 1)
    return np.array([round(1 / (1 + math.exp(-step / _GRID)), 6) for step in steps], dtype=np.float32)


@cache
def _gumbel_table() -> NDArray[np.float32]:
    return np.array([round(-math.log(-math.log((i + 0.5) / 4096)), 5) for i in range(4096)], dtype=np.float32)


def _scramble(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
