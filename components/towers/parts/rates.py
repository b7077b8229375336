"""Learning rates of a model's two kinds of parameters: rows of large tables, seen now and then, and all the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn


def table_and_dense_groups(model: nn.Module, tables: Iterable[nn.Module], dense_rate: float) -> list[dict[str, Any]]:
    """Two optimiser groups: the parameters of `tables` at the full rate, all others at `dense_rate` times it.

    A row of a table moves in few steps and has its own sum of squares in Adagrad; a dense weight moves in every step,
    so the rate that suits the one throws the other far off in the first steps. Not in the papers. Every parameter of
    the model is in exactly one group.
    """
    of_tables = {id(parameter): parameter for table in tables for parameter in table.parameters()}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in of_tables]
    return [
        {"params": list(of_tables.values()), "lr_scale": 1.0},
        {"params": rest, "lr_scale": dense_rate},
    ]


def with_own_rate(groups: list[dict[str, Any]], module: nn.Module | None, rate: float) -> list[dict[str, Any]]:
    """The groups with the parameters of `module` moved to one of their own at `rate`; unchanged without a module."""
    if module is None:
        return groups
    own = list(module.parameters())
    numbers = {id(parameter) for parameter in own}
    rest = [{**group, "params": [p for p in group["params"] if id(p) not in numbers]} for group in groups]
    return [*rest, {"params": own, "lr_scale": rate}]
