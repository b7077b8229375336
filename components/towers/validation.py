"""Recall on the validation searches by exact search over the whole catalogue: what early stopping watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from components.towers.batches import query_batch
from components.towers.catalogue import Catalogue
from components.towers.examples import Examples
from components.towers.moving import to_device

_QUERIES, _ITEMS = 512, 4_096


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model without dropout and gradients; its mode is restored afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def item_vectors(model: nn.Module, catalogue: Catalogue, device: torch.device, neighbours: int = 0) -> Tensor:
    """Vectors of the whole catalogue, float32 [P, d], on the device."""
    with evaluating(model):
        parts = [
            model.item(to_device(catalogue.batch(rows, neighbours), device)).float()  # type: ignore[operator]
            for rows in torch.arange(len(catalogue)).split(_ITEMS)
        ]
    return torch.cat(parts)


def query_vectors(
    model: nn.Module,
    examples: Examples,
    catalogue: Catalogue,
    needs: frozenset[str],
    rows: Tensor,
    device: torch.device,
) -> Tensor:
    """Vectors of the searches `rows` int64 [n], float32 [n, d], on the device."""
    with evaluating(model):
        parts = [
            model.query(to_device(query_batch(examples, catalogue, part, needs), device)).float()  # type: ignore[operator]
            for part in rows.split(_QUERIES)
        ]
    return torch.cat(parts)


def validation_rows(examples: Examples, count: int, seed: int) -> Tensor:
    """Rows of at most `count` searches with an engaged product, drawn once by the seed, in ascending order."""
    engaged = torch.zeros(len(examples), dtype=torch.bool)
    engaged[examples.listed.row_of_value[examples.stages > 0]] = True
    rows = torch.nonzero(engaged).squeeze(1)
    if rows.shape[0] > count:
        chosen = torch.randperm(rows.shape[0], generator=torch.Generator().manual_seed(seed))[:count]
        rows = rows[chosen.sort().values]
    return rows


def recall(
    model: nn.Module,
    examples: Examples,
    catalogue: Catalogue,
    needs: frozenset[str],
    rows: Tensor,
    cutoffs: tuple[int, ...],
    device: torch.device,
    neighbours: int = 0,
) -> dict[str, float]:
    """Mean over the searches `rows` of (engaged products in the top K) / (engaged products), as {"recall@K": value}."""
    items = item_vectors(model, catalogue, device, neighbours)  # [P, d]
    longest = min(max(cutoffs), len(catalogue))
    totals = dict.fromkeys(cutoffs, 0.0)
    for part in rows.split(_QUERIES):
        vectors = query_vectors(model, examples, catalogue, needs, part, device)  # [b, d]
        top = (vectors @ items.T).topk(longest, dim=1).indices.cpu()  # [b, K]
        relevant = torch.zeros(part.shape[0], len(catalogue), dtype=torch.bool)
        for row, example in enumerate(part.tolist()):
            span = slice(int(examples.listed.offsets[example]), int(examples.listed.offsets[example + 1]))
            relevant[row, examples.listed.values[span][examples.stages[span] > 0].long()] = True
        hits = relevant.gather(1, top).cumsum(1).float() / relevant.sum(1, keepdim=True).clamp_min(1)  # [b, K]
        for cutoff in cutoffs:
            totals[cutoff] += float(hits[:, min(cutoff, longest) - 1].sum())
    return {f"recall@{cutoff}": total / max(1, rows.shape[0]) for cutoff, total in totals.items()}
