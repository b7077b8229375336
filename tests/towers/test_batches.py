"""Batches: complete, seeded, pure, and cut by the one rule of behaviour windows."""

import datetime

import pyarrow.parquet as pq
import pytest
import torch

from components.common.errors import BadInput
from components.common.settings import from_overrides
from components.features.history import History
from components.features.windows import behaviour_windows
from components.towers.batches import Batches, query_batch
from components.towers.data import load_training_data
from components.towers.models.mgdspr import MGDSPR, MgdsprSettings

from .conftest import SMALL

EVERYTHING = frozenset({"past", "behaviour", "behaviour_titles", "clicked_titles", "bought_titles", "location"})


@pytest.fixture(scope="module")
def data(shop):
    return load_training_data(shop, MGDSPR, from_overrides(MgdsprSettings, SMALL))


def batches(data, unit="positive", rank=0, world=1, **overrides):
    settings = from_overrides(MgdsprSettings, {**SMALL, **overrides})
    return Batches(data.train, data.catalogue, data.needs, unit, settings, data.query_index, rank, world)


@pytest.mark.parametrize("unit", ["positive", "grouped"])
def test_an_epoch_holds_every_engaged_product_once(data, unit):
    source = batches(data, unit, batch_size="8")
    seen = [
        (int(example), int(row))
        for step in range(source.steps)
        for batch in [source.batch(0, step)]
        for example, row in zip(batch.example, batch.positive_rows, strict=True)
    ]
    assert len(seen) == len(set(seen)) == source.count // 8 * 8
    pairs = zip(source.pair_example.tolist(), source.pair_row.tolist(), strict=True)
    assert set(seen) <= set(pairs)
    assert min(source.pair_stage.tolist()) >= 1


def test_grouped_batches_encode_a_search_once(data):
    batch = batches(data, "grouped").batch(0, 0)
    assert len(batch.query.text["stems"]) < len(batch.positive_rows)
    wanted = data.train.query_text["stems"].take(data.train.query[batch.example])
    given = batch.query.text["stems"].take(batch.request)
    assert torch.equal(wanted.values, given.values)
    assert torch.equal(wanted.offsets, given.offsets)


def test_a_request_is_trained_on_one_of_its_most_engaged_products(data):
    batch = batches(data, "request", batch_size="100").batch(0, 0)
    assert len(set(batch.example.tolist())) == 100
    for number in range(100):
        stages = batch.listed_stages[int(batch.listed.offsets[number]) : int(batch.listed.offsets[number + 1])]
        assert batch.stages[number] == stages.max()


def test_a_batch_is_a_pure_function_of_epoch_and_step(data):
    first, again = batches(data), batches(data)
    again.batch(1, 2)
    assert torch.equal(first.batch(0, 1).example, again.batch(0, 1).example)
    assert not torch.equal(first.batch(0, 1).example, first.batch(1, 1).example)
    assert not torch.equal(first.batch(0, 1).example, batches(data, seed="3").batch(0, 1).example)


@pytest.mark.parametrize("unit", ["positive", "grouped", "request"])
def test_processes_share_a_global_batch_between_them(data, unit):
    whole = batches(data, unit, order_weight="3").batch(0, 1)
    parts = [batches(data, unit, rank, 2, order_weight="3").batch(0, 1) for rank in range(2)]
    assert torch.cat([part.positive_rows for part in parts]).tolist() == whole.positive_rows.tolist()
    assert all(torch.equal(part.global_positive_rows, whole.positive_rows) for part in parts)
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert whole.share == 1
    assert parts[1].weights.sum() / whole.weights.sum() == pytest.approx(parts[1].share)


def test_extra_positives_are_all_engaged_products_of_the_search(data):
    batch = batches(data).batch(0, 0)
    for number, example in enumerate(batch.example.tolist()):
        start, end = (int(data.train.listed.offsets[example + side]) for side in (0, 1))
        engaged = data.train.listed.values[start:end][data.train.stages[start:end] > 0].tolist()
        assert sorted(row for row in batch.extra_positives[number].tolist() if row >= 0) == sorted(engaged)


def test_weights_grow_with_the_stage(data):
    batch = batches(data, order_weight="4").batch(0, 0)
    assert torch.allclose(batch.weights, batch.stages.float())


def test_windows_are_those_of_the_one_rule(data, shop):
    rows = pq.read_table(shop / "train.parquet").to_pylist()
    names = data.catalogue.product_ids
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    for number in range(0, 60):
        now = (rows[number]["timestamp"] - epoch) // datetime.timedelta(microseconds=1)
        windows = behaviour_windows(History.from_row(rows[number]), now, data.windows)
        assert [names[row] for row in data.train.real_time.row(number)] == windows.real_time
        assert [names[row] for row in data.train.short_term.row(number)] == windows.short_term
        for action, bags in data.train.long_term.items():
            assert [names[row] for row in bags.row(number)] == windows.long_term[action]


def test_behaviours_carry_the_fields_of_their_products(data):
    rows = torch.arange(20)
    behaviour = query_batch(data.train, data.catalogue, rows, EVERYTHING).behaviour
    window = behaviour.real_time
    assert torch.equal(behaviour.products[window.values[..., 6]], window.values[..., :6])
    assert not behaviour.products[0].any()
    for number in rows.tolist():
        products = data.train.real_time.row(number)
        assert torch.equal(window.values[number, : len(products), :6], data.catalogue.behaviour_fields(products))
        assert int(window.mask[number].sum()) == len(products)
        if len(products):
            title = behaviour.titles["stems"].row(int(window.values[number, 0, 6]))
            assert torch.equal(title, data.catalogue.text["stems"].row(int(products[0])).long())


def test_past_queries_point_at_their_tokens_and_padding_at_nothing(data):
    rows = torch.arange(30)
    batch = query_batch(data.train, data.catalogue, rows, EVERYTHING)
    assert len(batch.past_text["stems"].row(0)) == 0
    for number in rows.tolist():
        asked = data.train.past.row(number).tolist()
        for place, query in enumerate(asked):
            found = batch.past_text["stems"].row(int(batch.past.values[number, place]))
            assert torch.equal(found, data.train.query_text["stems"].row(query).long())
        assert not batch.past.values[number, len(asked) :].any()


def test_words_of_clicked_and_bought_titles_are_gathered(data):
    rows = torch.arange(30)
    batch = query_batch(data.train, data.catalogue, rows, EVERYTHING)
    titles = data.catalogue.text["stems"]
    for number in rows.tolist():
        clicked = data.train.real_time.row(number)[-10:].tolist()
        expected = [token for product in clicked for token in titles.row(product).tolist()]
        assert batch.clicked_titles["stems"].row(number).tolist() == expected
        bought = data.train.bought.row(number).tolist()
        assert batch.bought_titles["stems"].row(number).tolist() == [t for p in bought for t in titles.row(p).tolist()]


def test_a_log_without_any_engagement_is_refused(data):
    import dataclasses

    shown_only = dataclasses.replace(data.train, stages=torch.zeros_like(data.train.stages))
    with pytest.raises(BadInput, match="no click"):
        Batches(shown_only, data.catalogue, data.needs, "positive", MgdsprSettings(), data.query_index)
