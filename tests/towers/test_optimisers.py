"""Sparse updates give what dense updates give, and touch no other row."""

import pytest
import torch
from torch import nn

from components.towers.optimisers import Adagrad, LazyAdam, clip_gradients, coalesce

ROWS = [torch.tensor([1, 4, 4]), torch.tensor([4, 7]), torch.tensor([1])]


def train(optimiser, sparse, **arguments):
    torch.manual_seed(0)
    table, layer = nn.Embedding(10, 3, sparse=sparse), nn.Linear(3, 1)
    stepper = optimiser([*table.parameters(), *layer.parameters()], **arguments)
    for rows in ROWS:
        stepper.zero_grad()
        (layer(table(rows)) ** 2).sum().backward()
        stepper.step()
    return table.weight.detach(), layer.weight.detach()


def test_adagrad_sparse_equals_dense():
    for ours, theirs in zip(train(Adagrad, True, lr=0.1), train(Adagrad, False, lr=0.1), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-7)


def test_adagrad_is_that_of_torch():
    reference = train(torch.optim.Adagrad, False, lr=0.1, initial_accumulator_value=0.1)
    for ours, theirs in zip(train(Adagrad, True, lr=0.1, initial=0.1), reference, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-7)


def test_adam_on_dense_gradients_is_that_of_torch():
    reference = train(torch.optim.Adam, False, lr=0.1)
    for ours, theirs in zip(train(LazyAdam, False, lr=0.1), reference, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("optimiser", [Adagrad, LazyAdam])
def test_rows_outside_the_batches_stay(optimiser):
    torch.manual_seed(0)
    before = nn.Embedding(10, 3).weight.detach()
    after, _ = train(optimiser, True, lr=0.1)
    untouched = [0, 2, 3, 5, 6, 8, 9]
    assert torch.equal(before[untouched], after[untouched])
    assert (before[[1, 4, 7]] != after[[1, 4, 7]]).all()


def test_clipping_bounds_the_common_norm_of_dense_and_sparse_gradients():
    table, layer = nn.Embedding(10, 3, sparse=True), nn.Linear(3, 1)
    parameters = [*table.parameters(), *layer.parameters()]
    (layer(table(torch.tensor([1, 1, 2]))) * 100).sum().backward()
    coalesce(parameters)
    dense = torch.cat([(p.grad.to_dense() if p.grad.is_sparse else p.grad).reshape(-1) for p in parameters])
    norm = clip_gradients(parameters, 3.0)
    assert norm == pytest.approx(float(dense.norm()), rel=1e-5)
    after = torch.cat([(p.grad.to_dense() if p.grad.is_sparse else p.grad).reshape(-1) for p in parameters])
    assert after.norm() == pytest.approx(3.0, rel=1e-4)
    assert torch.allclose(after, dense * (3.0 / norm), atol=1e-5)


def test_small_gradients_are_left_alone():
    layer = nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    before = layer.weight.grad.clone()
    clip_gradients(layer.parameters(), 3.0)
    assert torch.equal(before, layer.weight.grad)
