"""Adagrad and Adam that touch only the embedding rows of the batch, and the norm over dense and sparse gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from components.towers.parallel import norm_over_processes


class Adagrad(Optimizer):
    """Adagrad whose cost for a sparse gradient depends on its rows, not on the table (MGDSPR trains with Adagrad).

    Args:
        lr: learning rate. initial: start of the sum of squares; 0.1 is TensorFlow's default, with which MGDSPR's rate
            of 0.1 was found: it keeps the first steps of a row from being as long as the rate allows.
    """

    def __init__(self, params: Iterable[Any], lr: float, initial: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "lr_scale": 1.0, "initial": initial})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update from the gradients in place."""
        for group in self.param_groups:
            rate = group["lr"] * group["lr_scale"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["sum"] = torch.full_like(parameter, group["initial"])
                if not gradient.is_sparse:
                    state["sum"].addcmul_(gradient, gradient)
                    parameter.addcdiv_(gradient, state["sum"].sqrt().add_(1e-10), value=-rate)
                    continue
                rows, values = _rows(gradient)
                total = state["sum"].index_select(0, rows).addcmul_(values, values)  # [U, d]
                _write(state["sum"], rows, total)
                # Rows are distinct: writing them is faster than adding to them.
                moved = parameter.index_select(0, rows).addcdiv_(values, total.sqrt_().add_(1e-10), value=-rate)
                _write(parameter, rows, moved)


class LazyAdam(Optimizer):
    """Adam; moments of an embedding row move only in steps that see the row, each with its own step count."""

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        super().__init__(params, {"lr": lr, "lr_scale": 1.0, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update from the gradients in place."""
        for group in self.param_groups:
            first_decay, second_decay = group["betas"]
            rate = group["lr"] * group["lr_scale"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["first"], state["second"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                    rows_counted = parameter.shape[:1] if parameter.dim() > 1 and gradient.is_sparse else (1,)
                    state["steps"] = torch.zeros(rows_counted, device=parameter.device)
                if gradient.is_sparse:
                    rows, values = _rows(gradient)
                else:
                    rows, values = None, gradient
                first, second, steps = (
                    table if rows is None else table.index_select(0, rows)
                    for table in (state["first"], state["second"], state["steps"])
                )
                steps = steps + 1
                first = first * first_decay + values * (1 - first_decay)
                second = second * second_decay + values * values * (1 - second_decay)
                shape = (-1, *([1] * (values.dim() - 1)))
                bias_1, bias_2 = ((1 - decay**steps).reshape(shape) for decay in (first_decay, second_decay))
                change = (first / bias_1) / ((second / bias_2).sqrt_() + 1e-8)
                for name, value in (("first", first), ("second", second), ("steps", steps)):
                    if rows is None:
                        state[name].copy_(value)
                    else:
                        _write(state[name], rows, value)
                if rows is None:
                    parameter.add_(change.reshape(parameter.shape), alpha=-rate)
                else:
                    _write(parameter, rows, parameter.index_select(0, rows).add_(change, alpha=-rate))


def coalesce(parameters: Iterable[Tensor]) -> None:
    """Makes every sparse gradient hold each row once, in place."""
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()


def clip_gradients(parameters: Iterable[Tensor], limit: float, shards: Iterable[Tensor] = ()) -> Tensor:
    """Scales all gradients so that their common norm is at most `limit` (3 in MGDSPR); returns the norm before, scalar.

    Sparse gradients must be coalesced: the norm of a row is that of the sum of its entries. `shards` are parameters of
    which every process holds a part; with them all processes must call it, and the norm is that of all parts.
    """
    values, parts = _gradients(parameters), _gradients(shards)
    norms = [torch.linalg.vector_norm(value) for value in values]
    if parts:
        norms.append(norm_over_processes([torch.linalg.vector_norm(value) for value in parts]))
    if not norms:
        return torch.zeros(())
    norm = torch.linalg.vector_norm(torch.stack(norms))
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)
    for value in [*values, *parts]:
        value.mul_(scale)
    return norm


def _gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return [gradient.values() if gradient.is_sparse else gradient for gradient in gradients]


def build_optimiser(name: str, groups: list[dict[str, Any]], rate: float, initial: float) -> Optimizer:
    """The optimiser of a setting: "adagrad" (with its `initial`) or "adam"."""
    return Adagrad(groups, rate, initial) if name == "adagrad" else LazyAdam(groups, rate)


def _rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Row numbers [U] and values [U, d] of a sparse gradient."""
    gradient = gradient.coalesce()
    return gradient.indices()[0], gradient.values()


def _write(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """Puts values [U, d] into distinct rows [U] of a table; in memory by NumPy, which copies whole rows."""
    if table.device.type == "cpu":
        table.detach().numpy()[rows.numpy()] = values.numpy()
    else:
        table.index_copy_(0, rows, values)
