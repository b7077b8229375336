"""The three models, found by name; a model's code is imported when it is asked for."""

import importlib
from typing import Any

from components.common.errors import BadSetting

_CLASSES = {
    "mgdspr": ("components.towers.models.mgdspr", "MGDSPR"),
    "ueppr": ("components.towers.models.ueppr", "UEPPR"),
    "mmse": ("components.towers.models.mmse", "MMSE"),
}

NAMES: tuple[str, ...] = tuple(_CLASSES)
"""Names `--model` accepts."""


def model_class(name: str) -> Any:
    """The class of a model (a `TwoTowerModel`). Raises BadSetting for an unknown name."""
    if name not in _CLASSES:
        raise BadSetting(f"there is no model {name!r}; known models: {', '.join(NAMES)}.")
    module, attribute = _CLASSES[name]
    return getattr(importlib.import_module(module), attribute)
