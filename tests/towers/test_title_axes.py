"""Token vectors that start along the titles: the axes are those of an exact decomposition, and the noise is less."""

import numpy as np
import torch

from components.common.settings import from_overrides
from components.towers.data import load_training_data
from components.towers.models.mgdspr import MGDSPR, MgdsprSettings
from components.towers.parts.title_axes import start_vectors, title_axes

from .conftest import SMALL


def matrix(rows=60, tokens=40, rank=6, seed=0):
    """Titles of a few kinds, with a little of everything else."""
    rng = np.random.default_rng(seed)
    dense = rng.random((rows, rank)) @ rng.random((rank, tokens)) + 0.05 * rng.random((rows, tokens))
    return torch.tensor(dense, dtype=torch.float32)


def test_axes_span_the_leading_right_singular_vectors():
    dense = matrix()
    axes = title_axes(dense.to_sparse(), 6, torch.Generator().manual_seed(1), rounds=8)
    exact = torch.linalg.svd(dense)[2][:6].T
    assert torch.allclose(axes.T @ axes, torch.eye(6), atol=1e-5)
    assert torch.allclose(axes @ axes.T, exact @ exact.T, atol=1e-3)


def test_inner_products_of_titles_carry_less_noise_than_at_random():
    dense = matrix()
    generator = torch.Generator().manual_seed(2)
    random = torch.randn(40, 16, generator=generator) / 4
    started = start_vectors(title_axes(dense.to_sparse(), 6, generator), 16, generator)
    errors = [float(((dense @ table) @ (dense @ table).T - dense @ dense.T).norm()) for table in (random, started)]
    assert errors[1] < 0.2 * errors[0]


def test_all_axes_keep_every_inner_product():
    dense = matrix()
    generator = torch.Generator().manual_seed(3)
    table = start_vectors(title_axes(dense.to_sparse(), 40, generator), 40, generator)
    assert torch.allclose((dense @ table) @ (dense @ table).T, dense @ dense.T, rtol=1e-3, atol=1e-3)


def test_the_title_matrix_is_what_the_item_tower_pools(bare_shop):
    chosen = {**SMALL, "title_units": "stems,character_3grams", "title_length": "0.2", "score": "inner_product"}
    settings = from_overrides(MgdsprSettings, {**chosen, "title_axes": "8"})
    data = load_training_data(bare_shop, MGDSPR, settings)
    model = MGDSPR(settings, data.schema)
    model.prepare(data.catalogue, data.train)
    rows = torch.arange(20)
    pooled = model.item_tower.title_matrix(data.catalogue.text, rows).to_dense() @ model.tokens.table.weight
    with torch.no_grad():
        batch = data.catalogue.batch(rows)
        bags = [model.item_tower._pooled(batch.text[unit], place) for place, unit in enumerate(settings.title_units)]
        assert torch.allclose(pooled, bags[0] + bags[1], atol=1e-5)
    assert not model.tokens.table.weight[0].any()
