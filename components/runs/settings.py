"""All settings of all rooms by their command-line names, checked before any work is done."""

import importlib
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from components.common.errors import BadInput, BadSetting
from components.common.files import read_json
from components.common.settings import describe, from_overrides

ROOMS = {
    "logs": ("components.logs.settings", "LogSettings", "log_settings"),
    "validation": ("components.validation.settings", "ValidationSettings", "validation_settings"),
    "features": ("components.features.settings", "FeatureSettings", "feature_settings"),
    "towers": ("components.towers.settings", "TowerSettings", "tower_settings"),
    "evaluation": ("components.evaluation.settings", "EvaluationSettings", "evaluation_settings"),
    "index": ("components.index.settings", "IndexSettings", "index_settings"),
    "serving": ("components.serving.settings", "ServingSettings", "serving_settings"),
}


def settings_class(room: str, model: str = "mgdspr") -> type:
    """A room's settings dataclass; for the towers, the model's own. Raises BadSetting for an unknown room."""
    if room not in ROOMS:
        raise BadSetting(f"unknown room {room!r} in a setting; known: {', '.join(ROOMS)}.")
    if room == "towers":
        from components.towers.models import model_class

        return model_class(model).Settings
    module, name, _ = ROOMS[room]
    return getattr(importlib.import_module(module), name)


def parse_assignments(assignments: list[str], model: str = "mgdspr") -> dict[str, str]:
    """`["towers.epochs=3"]` as `{"towers.epochs": "3"}`; every name, type and range is checked. Raises BadSetting."""
    values: dict[str, str] = {}
    by_room: dict[str, dict[str, str]] = defaultdict(dict)
    for text in assignments:
        name, equals, value = text.partition("=")
        room, _, key = (part.strip() for part in name.partition("."))
        if not equals or not room or not key:
            raise BadSetting(
                f"the setting {text[:60]!r} must look like room.setting=value, for example towers.epochs=3."
            )
        values[f"{room}.{key}"] = by_room[room][key] = value.strip()
    for room, overrides in by_room.items():
        from_overrides(settings_class(room, model), overrides)
    return values


def read_assignments(path: Path) -> list[str]:
    """The assignments in a settings file, a JSON object such as `{"towers.epochs": 3}`; for `parse_assignments`.

    Raises NotFound or BadInput for the file, BadSetting when it holds something else.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a directory; --settings names a JSON file.")
    values = read_json(path)
    if not isinstance(values, dict):
        raise BadSetting(f'{path} must hold a JSON object such as {{"towers.epochs": 3}}.')
    nested = next((name for name, value in values.items() if isinstance(value, dict)), None)
    if nested is not None:
        raise BadSetting(f'{path}: {nested!r} holds an object; name each setting whole, such as "towers.epochs": 3.')
    return [f"{name}={_text(value)}" for name, value in values.items()]


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value)


def pipeline_arguments(values: Mapping[str, str]) -> dict[str, str]:
    """The pipeline parameters (one JSON object a room) of checked settings."""
    by_room: dict[str, dict[str, str]] = {room: {} for room in ROOMS}
    for name, value in values.items():
        room, _, key = name.partition(".")
        by_room[room][key] = value
    return {ROOMS[room][2]: json.dumps(by_room[room], sort_keys=True) for room in ROOMS}


def describe_all(model: str = "mgdspr") -> dict[str, list[tuple[str, str, str, str]]]:
    """Rows (name, type, default, reason) of every room's settings; for the towers, those of `model`."""
    return {room: describe(settings_class(room, model)) for room in ROOMS}
