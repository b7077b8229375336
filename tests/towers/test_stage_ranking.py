"""The stage ranking against a naive sum over pairs, request by request."""

import math

import numpy as np
import pytest
import torch

from components.common.errors import BadSetting
from components.towers.interfaces import Negatives
from components.towers.losses.stage_ranking import StageRanking

D = 6


@pytest.mark.parametrize("kind", ["hinge", "bpr"])
def test_stage_ranking_is_its_equation(kind):
    generator = torch.Generator().manual_seed(5)
    q = torch.randn(4, D, generator=generator, dtype=torch.float64)
    items = torch.randn(4, 5, D, generator=generator, dtype=torch.float64)
    stages = torch.tensor([[4, 1, 0, 0, -1], [4, 0, 3, -1, -1], [2, 1, 0, -1, -1], [1, -1, -1, -1, -1]])
    rows = torch.tensor([[5, 6, 7, 8, -1], [5, 9, 6, -1, -1], [1, 2, 3, -1, -1], [4, -1, -1, -1, -1]])
    shared = Negatives(torch.randn(3, D, generator=generator, dtype=torch.float64), torch.tensor([7, 40, 9]))
    margins = {"ordered>clicked": 0.2, "ordered>shown": 0.4, "clicked>shown": 0.1, "shown>random": 0.3}
    level = {"ordered": (4,), "clicked": (1, 2, 3), "shown": (0,)}
    expected = np.zeros(4)
    for pair, margin in margins.items():
        above, below = pair.split(">")
        per_request = []
        for r in range(4):
            s = items[r].numpy() @ q[r].numpy()
            high = [s[g] for g in range(5) if int(stages[r, g]) in level[above]]
            if below == "random":
                others = [m for m in range(3) if int(shared.item_index[m]) not in rows[r].tolist()]
                low = [float(shared.vectors[m] @ q[r]) for m in others]
            else:
                low = [s[g] for g in range(5) if int(stages[r, g]) in level[below]]
            cost = (
                (lambda x, m=margin: max(0.0, m - x)) if kind == "hinge" else (lambda x: math.log1p(math.exp(-x / 0.5)))
            )
            per_request.append(np.mean([cost(a - b) for a in high for b in low] or [0.0]))
        expected += np.array(per_request)
    loss = StageRanking(kind=kind, margins=margins, temperature=0.5)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    assert float(loss(q, items, stages, shared, rows)) == pytest.approx(expected.mean(), rel=1e-6)
    assert float(loss(q, items, stages, shared, rows, weights)) == pytest.approx(
        expected @ [0.1, 0.2, 0.3, 0.4], rel=1e-6
    )


def test_stage_ranking_of_one_stage_is_zero_and_differentiable():
    query = torch.randn(2, D, requires_grad=True)
    loss = StageRanking()(query, torch.randn(2, 3, D), torch.full((2, 3), 1))
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_unknown_stage_pair_is_named():
    with pytest.raises(BadSetting, match="ordered>random"):
        StageRanking(pairs=("ordered>random",))
