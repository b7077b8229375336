"""Batches as trees of tensors: moved to a device, or flattened to the named inputs of an exported tower."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from components.towers.ragged import Padded, Ragged

T = TypeVar("T")


def map_tensors(tree: T, change: Callable[[Tensor], Tensor]) -> T:
    """The same batch with every tensor changed; slices, numbers and None stay."""
    if isinstance(tree, Tensor):
        return change(tree)  # type: ignore[return-value]
    if isinstance(tree, dict):
        return {key: map_tensors(value, change) for key, value in tree.items()}  # type: ignore[return-value]
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        values = {f.name: map_tensors(getattr(tree, f.name), change) for f in dataclasses.fields(tree)}
        return dataclasses.replace(tree, **values)
    return tree


def to_device(batch: T, device: torch.device) -> T:
    """The batch on a device; itself where it already is there."""
    if device.type == "cpu":
        return batch
    return map_tensors(batch, lambda tensor: tensor.pin_memory().to(device, non_blocking=True))


def padded_bags(tree: T) -> T:
    """The batch with every ragged bag padded: the form exported towers take."""
    if isinstance(tree, Ragged):
        return tree.pad()  # type: ignore[return-value]
    if isinstance(tree, dict):
        return {key: padded_bags(value) for key, value in tree.items()}  # type: ignore[return-value]
    if dataclasses.is_dataclass(tree) and not isinstance(tree, (type, Padded)):
        values = {f.name: padded_bags(getattr(tree, f.name)) for f in dataclasses.fields(tree)}
        return dataclasses.replace(tree, **values)
    return tree


def flatten(tree: Any, prefix: str = "") -> dict[str, Tensor]:
    """Named tensors of a batch in field order: "text.words.values", "behaviour.real_time.mask", ..."""
    if isinstance(tree, Tensor):
        return {prefix: tree}
    if isinstance(tree, dict):
        items = list(tree.items())
    elif dataclasses.is_dataclass(tree):
        items = [(f.name, getattr(tree, f.name)) for f in dataclasses.fields(tree)]
    else:
        return {}
    found: dict[str, Tensor] = {}
    for name, value in items:
        found.update(flatten(value, f"{prefix}.{name}" if prefix else name))
    return found


def unflatten(template: T, tensors: dict[str, Tensor], prefix: str = "") -> T:
    """A batch of the template's structure with these tensors; the inverse of `flatten`."""
    if isinstance(template, Tensor):
        return tensors[prefix]  # type: ignore[return-value]
    if isinstance(template, dict):
        return {
            name: unflatten(value, tensors, f"{prefix}.{name}" if prefix else name) for name, value in template.items()
        }  # type: ignore[return-value]
    if dataclasses.is_dataclass(template) and not isinstance(template, type):
        values = {
            f.name: unflatten(getattr(template, f.name), tensors, f"{prefix}.{f.name}" if prefix else f.name)
            for f in dataclasses.fields(template)
        }
        return dataclasses.replace(template, **values)
    return template
