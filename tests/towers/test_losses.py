"""Every loss equals its equation written per example in NumPy, masks included."""

import doctest
import importlib
import math
import pkgutil
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch

import components.towers.losses
import components.towers.negatives
from components.common.errors import BadInput, BadSetting
from components.towers.interfaces import IN_BATCH, UNIFORM, Negatives
from components.towers.losses.fused_softmax import fused_softmax
from components.towers.losses.masks import allowed
from components.towers.losses.mixed_hard_negatives import MixedHardNegatives
from components.towers.losses.multi_part_hinge import MultiPartHinge
from components.towers.losses.pairwise_hinge import PairwiseHinge
from components.towers.losses.sampled_softmax import SampledSoftmax, softmax_loss
from components.towers.losses.scores import SoftMaximum
from components.towers.losses.stage_ranking import StageRanking

B, M, D = 5, 12, 6


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def data():
    """A batch whose masks matter: positives among the shared negatives, extra positives, repeated rows."""
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return {
        "q": draw(B, D),
        "p": draw(B, D),
        "n": Negatives(
            draw(M, D),
            item_index=torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 20]),
            log_q=torch.randn(M, generator=generator, dtype=torch.float64),
            source=torch.tensor([UNIFORM] * 7 + [IN_BATCH] * 5, dtype=torch.int8),
        ),
        "index": torch.tensor([1, 30, 31, 4, 1]),
        "extra": torch.tensor([[1, 2], [30, -1], [31, 9], [4, -1], [1, -1]]),
        "positive_log_q": torch.randn(B, generator=generator, dtype=torch.float64),
        "weights": torch.tensor([1.0, 2.0, 1.0, 0.5, 4.0], dtype=torch.float64),
        "stages": torch.tensor([1, 4, 3, 2, 4], dtype=torch.int8),
    }


def kept(data, b):
    """Shared negatives that may serve example b."""
    banned = {int(data["index"][b]), *(int(row) for row in data["extra"][b])}
    return [m for m in range(M) if int(data["n"].item_index[m]) not in banned]


def arrays(data):
    return data["q"].numpy(), data["p"].numpy(), data["n"].vectors.numpy()


@pytest.mark.parametrize("log_q", [False, True])
def test_sampled_softmax_is_its_equation(data, log_q):
    q, p, n = arrays(data)
    tau, total = 0.7, 0.0
    for b in range(B):
        correction = data["n"].log_q.numpy() if log_q else np.zeros(M)
        own = float(data["positive_log_q"][b]) if log_q else 0.0
        top = math.exp(q[b] @ p[b] / tau - own)
        rest = sum(math.exp(q[b] @ n[m] / tau - correction[m]) for m in kept(data, b))
        total += float(data["weights"][b]) * -math.log(top / (top + rest))
    loss = SampledSoftmax(tau, log_q_correction=log_q)(
        data["q"], data["p"], data["n"], data["index"], data["extra"], data["positive_log_q"], data["weights"]
    )
    assert float(loss) == pytest.approx(total / float(data["weights"].sum()), rel=1e-5)


def test_without_masks_every_shared_negative_counts(data):
    q, p, n = arrays(data)
    expected = np.mean([np.log(np.exp(q[b] @ p[b]) + np.exp(n @ q[b]).sum()) - q[b] @ p[b] for b in range(B)])
    loss = SampledSoftmax(1.0, mask_same_item=False)(data["q"], data["p"], data["n"])
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_correction_without_log_q_is_refused(data):
    with pytest.raises(BadInput, match="log_q"):
        SampledSoftmax(log_q_correction=True)(
            data["q"], data["p"], Negatives(data["n"].vectors, data["n"].item_index), data["index"]
        )


def test_correction_makes_an_overdrawn_negative_cost_less():
    """Drawing one item ten times with its log-q is the same loss as drawing it once."""
    query, positive, item = torch.randn(3, 1, 4, dtype=torch.float64)
    loss = SampledSoftmax(1.0, log_q_correction=True)
    once = loss(query, positive, Negatives(item, torch.tensor([3]), torch.zeros(1)), torch.tensor([0]))
    often = Negatives(item.repeat(10, 1), torch.full((10,), 3), torch.full((10,), math.log(10.0)))
    assert float(loss(query, positive, often, torch.tensor([0]))) == pytest.approx(float(once), rel=1e-5)


def naive_mixed(data, tau, count, alphas, cosine):
    """Eqs. 20 and 21 with the mixed vectors really built; alphas [B, N] in the order of falling score."""
    q, p, n = arrays(data)
    total = 0.0
    for b in range(B):
        allowed = kept(data, b)
        order = sorted(allowed, key=lambda m: -(q[b] @ n[m]))[:count]
        top = math.exp(q[b] @ p[b] / tau)
        bottom = top + sum(math.exp(q[b] @ n[m] / tau) for m in allowed)
        for place, m in enumerate(order):
            mixed = alphas[b, place] * p[b] + (1 - alphas[b, place]) * n[m]
            if cosine:
                mixed = mixed / np.linalg.norm(mixed)
            bottom += math.exp(q[b] @ mixed / tau)
        total += -math.log(top / bottom)
    return total / B


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("count", [0, 3, 11])
def test_mixed_hard_negatives_equal_the_built_mixtures(data, cosine, count):
    """count 11 exceeds what the masks leave some examples, so part of their row is empty."""
    if cosine:
        unit = torch.nn.functional.normalize
        data["q"], data["p"] = unit(data["q"]), unit(data["p"])
        data["n"] = Negatives(unit(data["n"].vectors), data["n"].item_index)
    loss = MixedHardNegatives(SampledSoftmax(0.7), count, 0.4, 0.6, cosine=cosine)
    alphas = torch.empty(B, max(count, 1), dtype=torch.float64)
    alphas.uniform_(0.4, 0.6, generator=torch.Generator().manual_seed(9))
    actual = loss(
        data["q"], data["p"], data["n"], data["index"], data["extra"], generator=torch.Generator().manual_seed(9)
    )
    assert float(actual) == pytest.approx(naive_mixed(data, 0.7, count, alphas.numpy(), cosine), rel=1e-5)


def test_gradient_of_mixed_negatives_equals_that_of_built_vectors(data):
    """The linear shortcut changes nothing for any of the three inputs."""
    inputs = [data["q"].requires_grad_(), data["p"].requires_grad_(), data["n"].vectors.requires_grad_()]
    shared = Negatives(inputs[2], data["n"].item_index)
    loss = MixedHardNegatives(SampledSoftmax(0.7), count=3)
    actual = torch.autograd.grad(
        loss(inputs[0], inputs[1], shared, torch.full((B,), -5), generator=torch.Generator().manual_seed(1)), inputs
    )
    alphas = torch.empty(B, 3, dtype=torch.float64).uniform_(0.4, 0.6, generator=torch.Generator().manual_seed(1))
    scores = inputs[0] @ inputs[2].T
    hard = inputs[2][scores.topk(3, dim=1).indices]  # [B, 3, D]
    mixed = alphas.unsqueeze(2) * inputs[1].unsqueeze(1) + (1 - alphas.unsqueeze(2)) * hard  # [B, 3, D]
    of_mixed = (mixed * inputs[0].unsqueeze(1)).sum(2)  # [B, 3]
    logits = torch.cat([(inputs[0] * inputs[1]).sum(1, keepdim=True), scores, of_mixed], 1)
    expected = torch.autograd.grad(
        torch.nn.functional.cross_entropy(logits / 0.7, torch.zeros(B, dtype=torch.long)), inputs
    )
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("detach", [False, True])
def test_gradient_into_the_positive_stops_at_the_mixture_when_detached(data, detach):
    """Of one example the loss is -log p: detached, the positive is pulled by (1 - p) q / tau and by nothing else."""
    query, positive = data["q"][:1], data["p"][:1].clone().requires_grad_()
    loss = MixedHardNegatives(SampledSoftmax(0.7), count=4, detach_positive=detach)
    value = loss(query, positive, data["n"], data["index"][:1], generator=torch.Generator().manual_seed(1))
    value.backward()
    stopped = -(1 - torch.exp(-value.detach())) * query / 0.7  # [1, D]
    assert torch.allclose(positive.grad, stopped) == detach


@pytest.mark.parametrize(
    "arguments", [{"count": -1}, {"alpha_low": 0.6, "alpha_high": 0.4}, {"alpha_low": -0.1}, {"alpha_high": 1.1}]
)
def test_mixing_refuses_settings_outside_the_papers_range(arguments):
    with pytest.raises(BadSetting):
        MixedHardNegatives(SampledSoftmax(), **arguments)


def test_pairwise_hinge_is_its_equation(data):
    q, p, n = arrays(data)
    weights = data["weights"].numpy()
    each = [np.mean([max(0.0, 0.3 - q[b] @ p[b] + q[b] @ n[m]) for m in kept(data, b)]) for b in range(B)]
    loss = PairwiseHinge(0.3)(data["q"], data["p"], data["n"], data["index"], data["extra"], data["weights"])
    assert float(loss) == pytest.approx((np.array(each) * weights).sum() / weights.sum(), rel=1e-6)


@pytest.mark.parametrize("hardest", [{}, {IN_BATCH: 2}])
def test_multi_part_hinge_is_its_equation(data, hardest):
    unit = torch.nn.functional.normalize
    data["q"], data["p"] = unit(data["q"]), unit(data["p"])
    data["n"] = Negatives(unit(data["n"].vectors), data["n"].item_index, source=data["n"].source)
    q, p, n = arrays(data)
    thresholds, weights = (0.0, 0.5, 0.6, 0.7, 0.9), {UNIFORM: 0.25, IN_BATCH: 1.5}
    each = np.zeros(B)
    for b in range(B):
        each[b] += max(0.0, thresholds[int(data["stages"][b])] - q[b] @ p[b])
        for source, weight in weights.items():
            own = [m for m in kept(data, b) if int(data["n"].source[m]) == source]
            own = sorted(own, key=lambda m: -(q[b] @ n[m]))[: hardest.get(source, M)]
            costs = [q[b] @ n[m] - 0.1 for m in own if q[b] @ n[m] > 0.1]
            each[b] += weight * float(np.mean(costs or [0.0]))
    loss = MultiPartHinge(thresholds, negative_threshold=0.1, hardest_of=hardest)
    inputs = (data["q"], data["p"], data["n"], data["index"], data["stages"], data["extra"], weights)
    own_weights = data["weights"].numpy()
    assert float(loss(*inputs)) == pytest.approx(each.mean(), rel=1e-5)
    assert float(loss(*inputs, data["weights"])) == pytest.approx(each @ own_weights / own_weights.sum(), rel=1e-5)


def test_a_positive_above_its_threshold_gets_no_gradient(data):
    query = torch.nn.functional.normalize(torch.ones(1, D)).requires_grad_()
    empty = Negatives(torch.zeros(0, D), torch.zeros(0, dtype=torch.int64))
    order = MultiPartHinge()(query, query.detach().clone(), empty, torch.tensor([0]), torch.tensor([4]))
    order.backward()
    assert float(order.detach()) == 0.0
    assert float(query.grad.abs().sum()) == 0.0


def test_multi_part_hinge_refuses_a_negative_threshold_above_a_positive_one():
    with pytest.raises(BadSetting, match="below"):
        MultiPartHinge(negative_threshold=0.8)


def test_soft_maximum_lies_between_the_mean_and_the_maximum_of_its_heads():
    heads, items = torch.randn(3, 4, D), torch.randn(7, D)
    per_head = heads @ items.T  # [3, 4, 7]
    scores = SoftMaximum(0.5).all(heads, items)
    assert bool((scores <= per_head.amax(1) + 1e-6).all())
    assert bool((scores >= per_head.mean(1) - 1e-6).all())
    torch.testing.assert_close(SoftMaximum(0.5).rows(heads, items[:3]), scores[:, :3].diagonal())
    torch.testing.assert_close(SoftMaximum(0.5).grid(heads, items[:4].expand(3, 4, D)), scores[:, :4])


@pytest.mark.parametrize("package", [components.towers.losses, components.towers.negatives])
def test_the_example_of_every_docstring_runs(package):
    for module in pkgutil.iter_modules(package.__path__):
        loaded = importlib.import_module(f"{package.__name__}.{module.name}")
        failed, _ = doctest.testmod(loaded, extraglobs={"torch": torch}, optionflags=doctest.NORMALIZE_WHITESPACE)
        assert failed == 0, module.name


@pytest.mark.parametrize(
    "loss", [SampledSoftmax, PairwiseHinge, MultiPartHinge, StageRanking, MixedHardNegatives], ids=lambda c: c.__name__
)
def test_every_loss_documents_the_same_sections(loss):
    for section in ("Args:", "Inputs:", "References:", "Relations:", "Example:"):
        assert section in loss.__doc__


@pytest.mark.parametrize("seed", range(5))
def test_the_mask_is_that_of_comparing_everything_with_everything(seed):
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(20, (30,), generator=generator)  # repetitions among the negatives
    own = torch.randint(-1, 20, (7, 4), generator=generator)
    expected = (items[None, None, :] != own[:, :, None]).all(1)
    assert torch.equal(allowed(Negatives(torch.zeros(30, 2), items), own[:, 0], own[:, 1:]), expected)


def test_an_example_without_any_negative_left_costs_nothing_and_has_no_gradient():
    positive, scores = torch.tensor([3.0, -2.0], requires_grad=True), torch.zeros(2, 4, requires_grad=True)
    negative = scores.masked_fill(torch.ones(2, 4, dtype=torch.bool), float("-inf"))
    loss = softmax_loss(positive, negative)
    loss.backward()
    assert loss.item() == 0.0
    assert not positive.grad.any()
    assert not scores.grad.any()


@pytest.mark.parametrize("log_q", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_fused_softmax_has_value_and_gradients_of_the_composed_one(data, log_q, weighted):
    loss = SampledSoftmax(0.7, log_q_correction=log_q)
    weights, own = data["weights"] if weighted else None, data["positive_log_q"] if log_q else None
    found = []
    for fused in (True, False):
        leaves = [data[name].clone().requires_grad_() for name in ("q", "p")]
        leaves.append(data["n"].vectors.clone().requires_grad_())
        given = (leaves[0], leaves[1], replace(data["n"], vectors=leaves[2]), data["index"], data["extra"], own)
        value = loss(*given, weights) if fused else softmax_loss(*loss.logits(*given), weights)
        found.append([value.detach(), *torch.autograd.grad(value * 3.0, leaves)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


SIDE_BY_SIDE = torch.tensor([0, 0, 1, 1, 1])
"""The query vector of each example."""


@pytest.mark.parametrize("search", [None, torch.tensor([7, 7, 3, 3, 3])])
@pytest.mark.parametrize("same_item", [True, False])
def test_the_negatives_of_a_search_are_scored_once_for_all_its_examples(data, same_item, search):
    own, extra = torch.tensor([1, 4, 4, 9, 1]), torch.tensor([[1, 4, -1]] * 2 + [[4, 9, 1]] * 3)
    loss, found, scored = SampledSoftmax(0.7, mask_same_item=same_item), [], []
    for fused in (True, False):
        leaves = [data["q"].clone().requires_grad_(), data["n"].vectors.clone().requires_grad_()]
        given = (leaves[0][SIDE_BY_SIDE], data["p"], replace(data["n"], vectors=leaves[1]), own, extra)
        with patch("components.towers.losses.sampled_softmax.fused_softmax", side_effect=fused_softmax) as step:
            if fused:
                value = loss(*given, None, data["weights"], search)
            else:
                value = softmax_loss(*loss.logits(*given), data["weights"])
        scored += [len(call.args[0]) for call in step.call_args_list]
        found.append([value.detach(), *torch.autograd.grad(value, leaves)])
    assert scored == [5 if search is None else 2]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_fused_example_without_any_negative_left_costs_nothing():
    vectors = [torch.ones(2, 3, requires_grad=True) for _ in range(3)]
    shared = Negatives(vectors[2], item_index=torch.tensor([4, 5]))
    loss = SampledSoftmax()(vectors[0], vectors[1], shared, torch.tensor([4, 5]), torch.tensor([[5], [4]]))
    loss.backward()
    assert loss.item() == 0.0
    assert not any(vector.grad.any() for vector in vectors)
