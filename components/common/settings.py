"""Settings are frozen dataclasses; this file builds them from the strings of a command line or a pipeline parameter."""

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from components.common.errors import BadSetting

T = TypeVar("T")
_LONGEST_SHOWN = 60


def setting(default: Any, help: str) -> Any:
    """A dataclass field with its default and the one-line reason for it."""
    return dataclasses.field(default=default, metadata={"help": help})


def parse_overrides(overrides: Mapping[str, Any] | str | None) -> dict[str, str]:
    """Overrides as a dict of strings; accepts a mapping, a JSON object or nothing. Raises BadSetting."""
    if not overrides:
        return {}
    if isinstance(overrides, str):
        try:
            overrides = json.loads(overrides)
        except json.JSONDecodeError as error:
            raise BadSetting(f"settings are not a JSON object: {error}.") from error
    if not isinstance(overrides, Mapping):
        raise BadSetting(f"settings must be a JSON object of name and value, not {type(overrides).__name__}.")
    return {str(key): _as_text(value) for key, value in overrides.items()}


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_as_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def from_overrides(cls: type[T], overrides: Mapping[str, Any] | str | None = None) -> T:
    """An instance of the settings dataclass `cls` with string overrides converted to each field's type.

    Raises BadSetting for an unknown name (naming the nearest known one), a value of the wrong type, or a value out of
    range (which the dataclass checks in its own `__post_init__`).
    """
    values: dict[str, Any] = {}
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    room = _room(cls)
    for key, text in parse_overrides(overrides).items():
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"`python pipeline.py settings {room}` lists them."
            raise BadSetting(f"unknown setting {_shown(key)} of {room}. {hint}")
        values[key] = _convert(f"{room}.{key}", text, hints[key])
    return cls(**values)


def _room(cls: type) -> str:
    """The room whose settings these are, as a person names it on the command line."""
    package, _, rest = cls.__module__.partition(".")
    return rest.partition(".")[0] if package == "components" else cls.__name__


def _shown(text: str) -> str:
    """A person's text as an error quotes it: not all of a very long one."""
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


def as_overrides(instance: Any) -> dict[str, str]:
    """The inverse of `from_overrides`: every field as a string that converts back to the same value."""
    return {field.name: _written(getattr(instance, field.name)) for field in dataclasses.fields(instance)}


def describe(cls: type) -> list[tuple[str, str, str, str]]:
    """Rows (name, type, default as `--set` takes it, reason) of a settings dataclass, for the terminal."""
    hints = typing.get_type_hints(cls)
    return [
        (field.name, _type_name(hints[field.name]), _written(field.default), str(field.metadata.get("help", "")))
        for field in dataclasses.fields(cls)
    ]


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return "none" if value is None else str(value)


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind).replace("typing.", "")


def _convert(name: str, text: str, kind: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if text.lower() in ("none", "null", ""):
            return None
        return _convert(name, text, next(item for item in arguments if item is not type(None)))
    if origin is tuple:
        parts = [part.strip() for part in text.strip("[]()").split(",") if part.strip()]
        return tuple(_convert(name, part, arguments[0]) for part in parts)
    if kind is bool:
        if text.lower() in ("true", "1", "yes", "on"):
            return True
        if text.lower() in ("false", "0", "no", "off"):
            return False
        raise BadSetting(f"{name} must be true or false, not {_shown(text)}.")
    if kind is str:
        return text
    try:
        if kind is int:
            number = float(text)
            if number != int(number):
                raise ValueError(text)
            return int(text) if text.lstrip("+-").isdigit() else int(number)
        value = kind(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(text)
        return value
    except (ValueError, OverflowError) as error:
        raise BadSetting(f"{name} must be of type {_type_name(kind)}, not {_shown(text)}.") from error
