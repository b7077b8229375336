"""The filter a request may carry: typed, checked, and free of anything but values."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.common.errors import BadInput

_MAX_TEXT = 512


@dataclass(frozen=True)
class Filter:
    """What the products of an answer must satisfy; None leaves a field free, given fields must all hold.

    brand, shop_id and country compare without regard to case and spacing. `category` is a path from the root
    ("Home > Lamps", which includes all below it) or the name of one or more categories anywhere in the tree.
    Prices are in the shop's currency, both ends included; a product without a price fails a price filter.
    A product whose stock is unknown counts as in stock.

    Raises BadInput for a value of the wrong type, an empty or overlong text, a price that is not finite or negative,
    and a lower price above the upper one.
    """

    brand: str | None = None
    category: str | None = None
    shop_id: str | None = None
    country: str | None = None
    price_min: float | None = None
    price_max: float | None = None
    in_stock: bool | None = None

    def __post_init__(self) -> None:
        for name in ("brand", "category", "shop_id", "country"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise BadInput(f"filter.{name} must be a text, not {type(value).__name__}.")
            if not value.strip() or len(value) > _MAX_TEXT:
                raise BadInput(f"filter.{name} must be a text of 1 to {_MAX_TEXT} characters.")
        for name in ("price_min", "price_max"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise BadInput(f"filter.{name} must be a number, not {type(value).__name__}.")
            if not _is_finite(value) or value < 0:
                raise BadInput(f"filter.{name} must be a finite number of at least 0.")
            object.__setattr__(self, name, float(value))
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise BadInput(f"filter.price_min ({self.price_min}) is above filter.price_max ({self.price_max}).")
        if self.in_stock is not None and not isinstance(self.in_stock, bool):
            raise BadInput(f"filter.in_stock must be true or false, not {type(self.in_stock).__name__}.")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Filter":
        """A filter from the `filter` object of a request. Raises BadInput, also for a field that does not exist."""
        if not isinstance(values, Mapping):
            raise BadInput(f"filter must be an object, not {type(values).__name__}.")
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                raise BadInput(f"filter has no field {str(name)[:80]!r}; it has {', '.join(names)}.")
        return cls(**values)

    @property
    def empty(self) -> bool:
        """True when nothing is filtered."""
        return all(getattr(self, field.name) is None for field in dataclasses.fields(self))


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False
