"""Searches made from titles."""

import numpy as np
import torch

from components.common.settings import from_overrides
from components.towers.data import load_training_data
from components.towers.models.mgdspr import MGDSPR, MgdsprSettings
from components.towers.title_queries import title_queries, with_typo

from .conftest import SMALL

TITLES = ["acme red drill 12 in", "lamp", ""]


def test_each_title_gives_as_many_queries_of_its_own_words():
    made = title_queries(TITLES, 20, seed=1)
    assert len(made) == 60
    for number, query in enumerate(made):
        words = query.split()
        own = TITLES[number // 20].split()
        assert len(words) <= 4
        assert [word for word in own if word in words] == words
    assert made[40:] == [""] * 20


def test_the_seed_decides():
    assert title_queries(TITLES, 5, 1, 0.5) == title_queries(TITLES, 5, 1, 0.5)
    assert title_queries(TITLES, 5, 1, 0.5) != title_queries(TITLES, 5, 2, 0.5)


def test_a_typo_is_one_slip():
    generator = np.random.default_rng(0)
    slips = {with_typo("red hammer", generator) for _ in range(200)}
    assert all(abs(len(slip) - 10) <= 1 for slip in slips)
    assert {"redhammer", "red hamer", "red hammmer"} <= slips
    assert with_typo("saw", generator) == "saw"


def test_they_train_beside_the_real_searches_without_touching_them(shop):
    plain, more = (
        load_training_data(shop, MGDSPR, from_overrides(MgdsprSettings, {**SMALL, "title_queries": count}))
        for count in ("0", "2")
    )
    real, products = len(plain.train), len(plain.catalogue)
    assert len(more.train) == real + 2 * products
    assert torch.equal(more.train.real_time.offsets[: real + 1], plain.train.real_time.offsets)
    assert not more.train.real_time.lengths[real:].any()
    assert more.train.listed.take(torch.arange(real, len(more.train))).values.tolist() == [
        row for row in range(products) for _ in range(2)
    ]
    assert torch.equal(more.counts, plain.counts)
    assert more.schema.items == plain.schema.items
