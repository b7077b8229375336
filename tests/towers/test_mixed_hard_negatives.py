"""Mixed hard negatives where the softmax is corrected for how often the sampler draws an item."""

import pytest
import torch

from components.towers.interfaces import Negatives
from components.towers.losses.mixed_hard_negatives import MixedHardNegatives
from components.towers.losses.sampled_softmax import SampledSoftmax


def test_the_hard_negatives_are_those_of_the_highest_score_and_a_mixture_keeps_its_correction():
    softmax = SampledSoftmax(temperature=0.5, log_q_correction=True, mask_same_item=False)
    loss = MixedHardNegatives(softmax, count=1, alpha_low=0.4, alpha_high=0.6)
    query = positive = torch.tensor([[1.0, 0.0]])
    vectors = torch.tensor([[0.9, 0.0], [0.5, 0.0], [0.1, 0.0]])  # scores over the temperature: 1.8, 1.0 and 0.2
    shared = Negatives(vectors, item_index=torch.arange(3), log_q=torch.tensor([2.0, -1.0, -3.0]))
    _, corrected = softmax.logits(query, positive, shared, None)
    assert corrected.argmax() == 2, "the one drawn least, and by far not the hardest"
    mixed = loss.mixed_logits(query, positive, shared, corrected, torch.Generator().manual_seed(5))
    alpha = float(torch.empty(1, 1).uniform_(0.4, 0.6, generator=torch.Generator().manual_seed(5)))
    assert float(mixed) == pytest.approx(alpha * 2.0 + (1 - alpha) * 1.8 - 2.0, abs=1e-6)
