"""MMSE: its losses per request in NumPy, its fusion as one inner product, and what each switch changes."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from components.common.errors import BadSetting
from components.common.settings import from_overrides
from components.towers.batches import Batches, query_batch
from components.towers.data import load_training_data
from components.towers.interfaces import BRAND, StepContext
from components.towers.models.mmse import MMSE
from components.towers.models.mmse_settings import MmseSettings
from components.towers.moving import padded_bags
from components.towers.trainer import Trainer
from tests.towers.tiny_shop import write_tiny_shop

SMALL = {"dimension": 16, "shopper_dimension": 4, "heads": 4, "batch_size": 12, "negatives": 10, "hash_buckets": 50}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_shop(tmp_path_factory.mktemp("mmse") / "examples", searches=80)


def build(folder, **overrides):
    settings = from_overrides(MmseSettings, SMALL | {"id_dropout": 0.0} | overrides)
    data = load_training_data(folder, MMSE, settings)
    torch.manual_seed(3)
    model = MMSE(settings, data.schema)
    model.prepare(data.catalogue, data.train)
    with torch.no_grad():  # ids and the shopper's row start at zero; a test of equations needs them to say something
        model.ids.weight.normal_(std=0.3)
        if model.shopper is not None:
            model.shopper.asking.normal_(std=0.3)
    return model, data, settings


def first_batch(model, data, settings):
    batches = Batches(data.train, data.catalogue, data.needs, model.unit, settings, data.query_index)
    return batches.batch(0, 0)


def context(data, step=0):
    return StepContext(
        items=lambda rows, exclude=None: data.catalogue.batch(rows),
        catalogue_size=len(data.catalogue),
        counts=data.counts,
        generator=torch.Generator().manual_seed(5),
        device_generator=torch.Generator().manual_seed(6),
        step=step,
        total_steps=10,
    )


def everything(model, data):
    return model.item(data.catalogue.batch(torch.arange(len(data.catalogue))))


def scores_of(queries, items, model):
    """Naive score of one request with every product; queries [d] or [H, d]."""
    if queries.ndim == 1:
        return items @ queries
    per_head = queries @ items.T
    weights = np.exp(per_head / model.settings.soft_maximum)
    return (weights / weights.sum(0) * per_head).sum(0)


@pytest.mark.parametrize("fusion", ["concatenate", "multi_vector", "none"])
@pytest.mark.parametrize("shown", [False, True])
def test_both_losses_are_their_equations(folder, fusion, shown):
    few = {"mined_clicked": 1, "mined_shown": 2}  # of the listed items some are not mined, and are not random either
    model, data, settings = build(
        folder, post_fusion=fusion, shown_in_softmax=shown, order_weight=3.0, negatives=40, **few
    )
    batch, own = first_batch(model, data, settings), context(data)
    again = torch.Generator().manual_seed(5)
    salt = int(torch.randint(2**31, (1,), generator=again))
    mined = model.mining(batch.listed, batch.listed_stages, batch.example, salt)
    drawn = torch.randperm(len(data.catalogue), generator=again)[: settings.negatives].tolist()
    items = everything(model, data).detach().double().numpy()
    queries = model.rows(batch.query).detach().double().numpy()
    retrieval, ranking, weight_sum = 0.0, 0.0, 0.0
    for b in range(len(batch.query.text[settings.word_unit])):
        weight = float(batch.weights[b])
        weight_sum += weight
        s = scores_of(queries[b], items, model)
        listed = batch.listed.row(b).tolist()
        of = [(int(r), int(stage)) for r, stage in zip(mined.rows[b], mined.stages[b], strict=True) if r >= 0]
        positives = [(r, settings.ordered_weight if stage == 4 else 1.0) for r, stage in of if stage > 0]
        rest = [r for r in drawn if r not in listed] + ([r for r, stage in of if stage == 0] if shown else [])
        for row, part in positives:
            bottom = math.exp(s[row] / settings.temperature)
            bottom += sum(math.exp(s[r] / settings.temperature) for r in rest)
            log_share = s[row] / settings.temperature - math.log(bottom)
            retrieval += weight * part / sum(w for _, w in positives) * -log_share
        level = {name: [r for r, stage in of if stage in stages] for name, stages in
                 {"ordered": (4,), "clicked": (1, 2, 3), "shown": (0,)}.items()}  # fmt: skip
        level["random"] = [r for r in drawn if r not in listed]
        for pair in settings.pairs:
            above, below = (level[name] for name in pair.split(">"))
            costs = [max(0.0, settings.margin - s[a] + s[c]) for a in above for c in below]
            ranking += weight * float(np.mean(costs or [0.0]))
    expected = (retrieval + settings.ranking_weight * ranking) / weight_sum
    loss = model.loss(batch, own)
    assert float(loss.parts["retrieval"]) == pytest.approx(retrieval / weight_sum, rel=1e-4)
    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-4)


def test_the_loss_in_mixed_precision_stays_close(folder):
    model, data, settings = build(folder)
    batch = first_batch(model, data, settings)
    exact = float(model.loss(batch, context(data)).total.detach())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = float(model.loss(batch, context(data)).total.detach())
    assert mixed == pytest.approx(exact, rel=0.03)


def test_concatenated_fusion_is_the_sum_of_two_similarities(folder):
    model, data, _ = build(folder)
    with torch.no_grad():
        requests = query_batch(data.train, data.catalogue, torch.arange(20), data.needs)
        products = data.catalogue.batch(torch.arange(30))
        unit = nn.functional.normalize
        of_query = (
            unit(model.to_text(model.text(requests)[:, -1]), dim=1)
            @ unit(model.to_text(model.items(products) + model.item_side(products)), dim=1).T
        )
        of_shopper = (
            unit(model.to_shopper(model.shopper(requests.behaviour)), dim=1, eps=1e-6)
            @ unit(model.to_shopper(model.shopper.candidates(products)), dim=1).T
        )
        fused = model.query(requests) @ model.item(products).T
    assert model.query(requests).shape == (20, 16 + 4)
    assert float(of_shopper.abs().max()) > 0.1
    torch.testing.assert_close(fused, of_query + model.shopper_weight * of_shopper)
    assert model.score == "inner_product"


@pytest.mark.parametrize("side", [True, False])
def test_a_query_reaches_brand_and_category_of_a_product_where_it_should(folder, side):
    """Two products that differ in their brand alone are told apart by nobody's query if the side is on."""
    model, data, _ = build(folder, item_side=side)
    with torch.no_grad():
        batch = data.catalogue.batch(torch.tensor([0, 0]))
        codes = batch.codes.clone()
        codes[1, BRAND] = 1 + codes[1, BRAND] % 4
        first, second = model.item(dataclasses.replace(batch, codes=codes))[:, :16]
    assert torch.equal(first, second) != side


@pytest.mark.parametrize("fusion", ["concatenate", "none"])
def test_without_history_the_query_alone_is_scored(folder, fusion):
    model, data, _ = build(folder, post_fusion=fusion)
    newcomers = (data.train.real_time.lengths + data.train.short_term.lengths == 0).nonzero().squeeze(1)
    requests = query_batch(data.train, data.catalogue, newcomers, data.needs)
    model.eval()
    rows = model.rows(requests)
    text = nn.functional.normalize(model.to_text(model.text(requests)[:, -1]), dim=1)
    assert len(newcomers) > 0
    torch.testing.assert_close(rows[:, : text.shape[1]], text)
    assert not rows[:, text.shape[1] :].any()


def test_one_probe_of_the_multi_vector_form_is_the_mean_of_its_vectors(folder):
    model, data, _ = build(folder, post_fusion="multi_vector")
    requests = query_batch(data.train, data.catalogue, torch.arange(8), data.needs)
    rows = model.rows(requests)
    assert rows.shape == (8, 6, 16)
    torch.testing.assert_close(model.query(requests), nn.functional.normalize(rows.mean(1), dim=1))


def test_shown_items_get_no_gradient_from_the_retrieval_loss(folder):
    """With the ranking loss off and the switch off, a product that was only shown is not pushed away."""

    def touched(shown):
        model, data, settings = build(folder, ranking_weight=0.0, shown_in_softmax=shown, negatives=1)
        batch, kept = first_batch(model, data, settings), {}
        item = model._item

        def keep(products, salt=None):
            kept["rows"], kept["vectors"] = products.rows, item(products, salt)
            kept["vectors"].retain_grad()
            return kept["vectors"]

        model._item = keep
        model.loss(batch, context(data)).total.backward()
        moved = kept["rows"][kept["vectors"].grad.abs().sum(1) > 0].tolist()
        engaged = set(batch.listed.values[batch.listed_stages > 0].tolist())
        return set(moved) & (set(batch.listed.values.tolist()) - engaged)

    without = touched(shown=False)
    assert len(without) <= 1, "at most the one random product"
    assert len(touched(shown=True)) > 5


def right_pairs(model, data):
    """Share of (later stage, earlier stage) pairs of the training requests that the scores order rightly."""
    model.eval()
    with torch.no_grad():
        items = everything(model, data)
        queries = model.query(query_batch(data.train, data.catalogue, torch.arange(80), data.needs))
    right = total = 0
    for request in range(80):
        span = slice(int(data.train.listed.offsets[request]), int(data.train.listed.offsets[request + 1]))
        scores = items[data.train.listed.values[span].long()] @ queries[request]
        stages = data.train.stages[span].clamp_max(4)
        above = stages[:, None] > stages[None, :]
        right += int(((scores[:, None] > scores[None, :]) & above).sum())
        total += int(above.sum())
    return right / total


def test_the_ranking_loss_orders_the_stages_of_a_request(folder):
    shares = []
    for weight in (0.0, 2.0):
        own = {"ranking_weight": weight, "margin": 0.3, "epochs": 3, "batch_size": 24}
        model, data, settings = build(folder, title_queries=0, **own)
        Trainer(model, data, settings, torch.device("cpu")).run()
        shares.append(right_pairs(model, data))
    assert shares[1] > shares[0] + 0.02


def test_training_raises_recall_above_the_start(folder):
    model, data, settings = build(folder, epochs=5, batch_size=24)
    state = Trainer(model, data, settings, torch.device("cpu")).run()
    assert state.best > 0.7
    assert state.curve[-1]["loss"] < state.curve[0]["loss"]


def test_padded_batches_of_an_exported_tower_give_the_same_vectors(folder):
    model, data, _ = build(folder)
    model.eval()
    requests = query_batch(data.train, data.catalogue, torch.arange(9), data.needs)
    products = data.catalogue.batch(torch.arange(12))
    torch.testing.assert_close(model.query(padded_bags(requests)), model.query(requests), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.item(padded_bags(products)), model.item(products), atol=1e-5, rtol=1e-5)


def test_a_log_without_shoppers_leaves_the_shopper_out(tmp_path):
    folder = write_tiny_shop(tmp_path / "examples", searches=60)
    features = folder / "features.json"
    features.write_text(features.read_text().replace('"users": true', '"users": false'))
    model, data, settings = build(folder)
    loss = model.loss(first_batch(model, data, settings), context(data))
    loss.total.backward()
    assert model.shopper is None
    assert model.query(query_batch(data.train, data.catalogue, torch.arange(3), data.needs)).shape == (3, 16)
    assert model.score == "cosine"


@pytest.mark.parametrize(
    ("name", "value"),
    [("post_fusion", "early"), ("score", "inner_product"), ("pairs", "random>shown"), ("shopper_dimension", 0)],
)
def test_settings_without_sense_are_named(name, value):
    with pytest.raises(BadSetting, match=name):
        from_overrides(MmseSettings, SMALL | {name: value})


def test_attention_shows_the_shoppers_clicks_and_sums_to_at_most_one(folder):
    model, data, _ = build(folder)
    requests = query_batch(data.train, data.catalogue, torch.arange(20), data.needs)
    with torch.no_grad():
        real, short = model.attention(requests)
    assert real.shape == requests.behaviour.real_time.mask.shape
    assert short.shape == requests.behaviour.short_term.mask.shape
    assert float(torch.cat([real.sum(1), short.sum(1)]).max()) <= 1.0 + 1e-6
    assert not real[~requests.behaviour.real_time.mask].any()
