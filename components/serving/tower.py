"""The query tower inside a request: one call for a batch, and no request that can fail the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.common.errors import BadInput, TowerlineError
from components.serving.errors import DependencyDown
from components.serving.flows import Call, Flow
from components.serving.guard import Guard
from components.serving.loaded_release import LoadedRelease
from components.serving.requests import SearchRequest

ANONYMOUS = "tower: failed on this shopper's history; searched as anonymous"


@dataclass(frozen=True)
class TowerInput:
    """One request with its history, at a moment (microseconds since the epoch)."""

    request: SearchRequest
    history: Any
    now_us: int


@dataclass(frozen=True)
class Embedded:
    """vector float32 [d] or the error instead of it; `degraded` when the history had to be left out."""

    vector: np.ndarray | None = None
    error: TowerlineError | None = None
    degraded: str | None = None


def embed(guard: Guard, release: LoadedRelease, inputs: Sequence[TowerInput], empty: Any) -> Flow[list[Embedded]]:
    """One result per input, in order.

    When the call fails by an error of the tower, each input is tried by itself, and then without its history (`empty`
    instead). A call that ran out of time is not repeated: that would only add to the load.
    """
    try:
        vectors = yield Call(guard, _encode, (release, inputs))
        return [Embedded(vector) for vector in vectors]
    except (DependencyDown, BadInput) as error:
        if isinstance(error, DependencyDown) and not error.raised:
            return [Embedded(error=error)] * len(inputs)
    alone = []
    for item in inputs:
        alone.append((yield from _alone(guard, release, item, empty)))
    return alone


def _alone(guard: Guard, release: LoadedRelease, item: TowerInput, empty: Any) -> Flow[Embedded]:
    failure: TowerlineError | None = None
    for history, degraded in ((item.history, None), (empty, ANONYMOUS)):
        try:
            vectors = yield Call(guard, _encode, (release, [TowerInput(item.request, history, item.now_us)]))
            return Embedded(vectors[0], degraded=degraded)
        except (DependencyDown, BadInput) as error:
            failure = error
    return Embedded(error=failure)


def _encode(release: LoadedRelease, inputs: Sequence[TowerInput]) -> np.ndarray:
    requests = [release.make_request(item.request, item.history, item.now_us) for item in inputs]
    vectors = np.asarray(release.encoder.encode(requests), dtype=np.float32)
    if vectors.shape != (len(requests), release.dimension) or not np.isfinite(vectors).all():
        raise ValueError(f"the query tower returned vectors of shape {vectors.shape} or values that are not finite")
    return vectors
