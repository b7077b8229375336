"""What a search carries from stage to stage, what a search for a vector ends with, and where histories come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from components.common.errors import TowerlineError
from components.serving.loaded_release import Found
from components.serving.replies import Reply
from components.serving.requests import SearchRequest


class Features(Protocol):
    """The online feature store: `histories` of shoppers (empty for somebody unknown), `given` by a caller, `empty`."""

    def histories(self, user_ids: Sequence[str]) -> list[Any]: ...

    def given(self, behaviours: Any) -> Any: ...

    def empty(self) -> Any: ...


@dataclass
class Search:
    """One search on its way; the stages fill it in."""

    request: SearchRequest
    history: Any
    now_us: int
    epoch: int
    degraded: list[str] = field(default_factory=list)
    vector: np.ndarray | None = None
    found: Found | None = None
    reply: Reply | None = None
    error: TowerlineError | None = None


@dataclass(frozen=True)
class Embedding:
    """A query vector float32 [d], the release whose tower made it, and why it is degraded, if it is."""

    vector: np.ndarray
    release: str
    degraded: tuple[str, ...] = ()
