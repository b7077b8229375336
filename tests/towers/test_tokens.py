"""Sums of bags of tokens: one pass for value and gradient, equal to looking every token up."""

import pytest
import torch

from components.towers.parts.tokens import TokenRows, bag_sum
from components.towers.ragged import Ragged

BAGS = Ragged.from_lists([[3, 1, 3], [], [7], [1, 2, 2, 2, 9], []])


def tables(weighted, sparse):
    torch.manual_seed(0)
    table = TokenRows(10, 4, sparse)
    weight = TokenRows(10, 1, sparse) if weighted else None
    return table, weight


def gradients(bags, weighted, sparse):
    """Sums, and what a step would see: gradients of the table and of the weights, dense."""
    table, weight = tables(weighted, sparse)
    total, scale = bag_sum(table, bags, weight)
    ((total.sin() * torch.arange(1.0, 5.0)).sum() + (scale**2).sum()).backward()
    found = [parameter.weight.grad for parameter in (table, weight) if parameter is not None]
    if sparse:
        for gradient in found:
            assert gradient._indices()[0].tolist() == sorted(set(bags.values.tolist()))
    return total, scale, [gradient.to_dense() for gradient in found]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("bags", [BAGS, Ragged.empty(3)])
def test_sparse_sums_and_gradients_equal_dense_ones(weighted, bags):
    if not len(bags.values):
        table, weight = tables(weighted, True)
        total, scale = bag_sum(table, bags, weight)
        (total.sum() + scale.sum()).backward() if weighted else total.sum().backward()
        assert not total.any()
        assert not table.weight.grad.to_dense().any()
        return
    ours, theirs = gradients(bags, weighted, True), gradients(bags, weighted, False)
    assert torch.allclose(ours[0], theirs[0], atol=1e-6)
    assert torch.allclose(ours[1], theirs[1], atol=1e-6)
    for one, other in zip(ours[2], theirs[2], strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_gradients_of_several_lookups_and_passes_add_up():
    (ours, _), (theirs, _) = tables(False, True), tables(False, False)
    for table in (ours, theirs):
        for factor in (1.0, 2.0):
            sums = [bag_sum(table, BAGS)[0], bag_sum(table, Ragged.from_lists([[9, 4]]))[0]]
            (factor * (sums[0].sin().sum() + sums[1].sin().sum() + table(torch.tensor([4, 4])).sum())).backward()
    assert torch.allclose(ours.weight.grad.to_dense(), theirs.weight.grad, atol=1e-6)


def test_a_padded_bag_has_the_same_sum():
    table, weight = tables(True, True)
    with torch.no_grad():
        ragged, padded = bag_sum(table, BAGS, weight), bag_sum(table, BAGS.pad(), weight)
    assert torch.allclose(ragged[0], padded[0], atol=1e-6)
    assert torch.allclose(ragged[1], padded[1], atol=1e-6)
