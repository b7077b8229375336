"""What a query asks for, as codes: the generator's latent intent, which the log never shows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

ANY = -1
CHEAP, DEAR = 0, 1
"""Price bands a query may ask for: the lower and the upper third of a type's price levels."""


@dataclass(frozen=True)
class Wants:
    """One row a query, signed integers; `ANY` where the query leaves a property open.

    A query asks either for a type (with any of slots, brand and band), for a brand alone, for one product by its model
    number, or names an occasion.
    """

    type: NDArray[Any]
    slots: NDArray[Any]  # [queries, SLOTS]
    brand: NDArray[Any]
    product: NDArray[Any]
    band: NDArray[Any]
    occasion: NDArray[Any]

    def __len__(self) -> int:
        return len(self.type)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Wants:
        """The wants of some rows."""
        return Wants(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})
