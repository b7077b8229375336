"""UEPPR: its step per example in NumPy, what enters a step and what does not, and behaviour of the whole."""

import numpy as np
import pytest
import torch

from components.common.errors import BadInput, BadSetting
from components.common.settings import from_overrides
from components.towers.batches import Batches, query_batch
from components.towers.data import load_training_data
from components.towers.interfaces import DYNAMIC_HARD, IN_BATCH, UNIFORM, Location, StepContext
from components.towers.models.ueppr import UEPPR
from components.towers.models.ueppr_settings import UepprSettings
from components.towers.moving import padded_bags
from components.towers.parts.query_generation import pretrain
from components.towers.parts.text_transformer import TitleTransformer
from components.towers.parts.tokens import TokenTable
from components.towers.trainer import Trainer
from tests.towers.tiny_shop import write_tiny_shop

SMALL = {"dimension": 16, "hidden": 24, "heads": 4, "batch_size": 12, "negatives": 10, "hash_buckets": 50,
         "dynamic_pool": 40, "location_width": 4}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_shop(tmp_path_factory.mktemp("ueppr") / "examples", searches=80)


def build(folder, **overrides):
    settings = from_overrides(UepprSettings, SMALL | overrides)
    data = load_training_data(folder, UEPPR, settings)
    torch.manual_seed(3)
    model = UEPPR(settings, data.schema)
    model.prepare(data.catalogue, data.train)
    return model, data, settings


def first_batch(model, data, settings):
    batches = Batches(data.train, data.catalogue, data.needs, model.unit, settings, data.query_index)
    return batches.batch(0, 0)


class Recorder:
    """Hands out product batches and keeps what was asked for."""

    def __init__(self, data):
        self.data, self.generator, self.asked = data, torch.Generator().manual_seed(5), []

    def __call__(self, rows, exclude=None):
        self.asked.append((rows, exclude))
        return self.data.catalogue.batch(rows, 8, exclude, self.generator)


def context(data, step):
    return StepContext(
        items=Recorder(data),
        catalogue_size=len(data.catalogue),
        counts=data.counts,
        generator=torch.Generator().manual_seed(5),
        device_generator=torch.Generator().manual_seed(6),
        step=step,
        total_steps=10,
    )


def step_of(model, data, settings, step):
    """One loss with the vectors that it was made of: (loss, batch, context, queries, rows, vectors)."""
    batch, own, kept = first_batch(model, data, settings), context(data, step), {}
    query, item = model._query, model._item
    model._query = lambda requests: kept.setdefault("queries", query(requests))

    def keep(products, salt=None):
        kept["rows"], kept["vectors"] = products.rows, item(products, salt)  # the training pass is the last one
        return kept["vectors"]

    model._item = keep
    loss = model.loss(batch, own).total
    model._query, model._item = query, item
    return loss, batch, own, kept["queries"][batch.request], kept["rows"], kept["vectors"]


@pytest.mark.parametrize("step", [0, 5, 10])
def test_the_loss_is_its_equation_with_the_weights_of_the_moment(folder, step):
    model, data, settings = build(folder, order_weight=2.0)
    loss, batch, _, queries, rows, vectors = step_of(model, data, settings, step)
    q, v = queries.detach().double().numpy(), vectors.detach().double().numpy()
    size = len(batch.positive_rows)
    share = min(1.0, step / 10 / settings.schedule_end)
    weight = {UNIFORM: 1 - 0.8 * share, IN_BATCH: 0.4 * share, DYNAMIC_HARD: 0.4 * share}
    uniform = range(size, size + settings.negatives)
    columns = {IN_BATCH: range(size), UNIFORM: uniform, DYNAMIC_HARD: range(size + settings.negatives, len(rows))}
    hardest = {IN_BATCH: settings.hardest_in_batch, UNIFORM: 10**6, DYNAMIC_HARD: settings.dynamic_per_query}
    each = np.zeros(size)
    for b in range(size):
        threshold = (0.6, 0.7, 0.8, 0.9)[int(batch.stages[b]) - 1]
        each[b] = max(0.0, threshold - q[b] @ v[b])
        for source, places in columns.items():
            allowed = [m for m in places if int(rows[m]) not in batch.extra_positives[b].tolist()]
            chosen = sorted(allowed, key=lambda m: -(q[b] @ v[m]))[: hardest[source]]
            costs = [q[b] @ v[m] - 0.2 for m in chosen if q[b] @ v[m] > 0.2]
            each[b] += weight[source] * float(np.mean(costs or [0.0]))
    weights = batch.weights.double().numpy()
    assert float(loss.detach()) == pytest.approx((each * weights).sum() / weights.sum(), rel=1e-4)


def test_the_loss_in_mixed_precision_stays_close(folder):
    model, data, settings = build(folder, text_encoder="transformer")
    exact, *_ = step_of(model, data, settings, step=10)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, *_ = step_of(model, data, settings, step=10)
    assert float(mixed.detach()) == pytest.approx(float(exact.detach()), rel=0.03)


def test_the_target_query_is_left_out_of_a_positives_neighbours_and_of_no_others(folder):
    model, data, settings = build(folder)
    _, batch, own, *_ = step_of(model, data, settings, step=5)
    rows, exclude = own.items.asked[-1]
    size = len(batch.positive_rows)
    assert rows[:size].tolist() == batch.positive_rows.tolist()
    assert exclude[:size].tolist() == batch.query_index.tolist()
    assert set(exclude[size:].tolist()) == {-1}
    assert int((batch.query_index >= 0).sum()) > 0


def test_dynamic_hard_negatives_are_looked_for_only_once_they_weigh_something(folder):
    model, data, settings = build(folder)
    *_, early, _, first_rows, _ = step_of(model, data, settings, step=0)
    *_, late, _, last_rows, _ = step_of(model, data, settings, step=10)
    assert (len(early.items.asked), len(late.items.asked)) == (1, 2)
    assert len(first_rows) == 12 + settings.negatives < len(last_rows)


def test_the_pass_without_gradient_moves_no_batch_statistics(folder):
    model, data, settings = build(folder)
    step_of(model, data, settings, step=10)
    assert int(model.product.head.norm.num_batches_tracked) == 1
    assert model.product.training


def test_every_parameter_is_trained_and_no_gradient_enters_the_graph(folder):
    """With a gradient through the graph, words that stand in queries alone would move too."""

    def moved(gradient):
        model, data, settings = build(folder, graph_gradient=gradient, title_queries=0)
        loss, *_ = step_of(model, data, settings, step=10)
        loss.backward()
        still = [name for name, value in model.named_parameters() if value.grad is None]
        return still, float(model.product.tokens.table.weight.grad.coalesce().values().norm())

    (still, stopped), (_, through) = moved(False), moved(True)
    assert still == []
    assert stopped != pytest.approx(through, rel=1e-3)


def test_before_training_a_query_lies_near_titles_with_its_words(folder):
    model, data, _ = build(folder, graph=False, dimension=64)
    model.eval()
    products = model.item(data.catalogue.batch(torch.arange(60)))
    requests = query_batch(data.train, data.catalogue, torch.arange(30), data.needs)
    scores = model.query(requests) @ products.T  # [30, 60]
    words = [data.train.queries[int(row)].split() for row in data.train.query[:30]]
    kinds = np.array([number % 6 for number in range(60)])
    names = ("lamp", "chair", "mug", "poster", "blanket", "candle")
    inside = np.array([[names[kind] in query for kind in kinds] for query in words])
    assert float(scores.detach().numpy()[inside].mean()) > float(scores.detach().numpy()[~inside].mean()) + 0.1


def test_training_raises_recall_and_turns_the_ranking_towards_the_shoppers_shop(folder):
    model, data, settings = build(folder, epochs=5, batch_size=24)
    state = Trainer(model, data, settings, torch.device("cpu")).run()
    assert state.best > 0.7
    model.eval()
    with torch.no_grad():
        products = model.item(data.catalogue.batch(torch.arange(60), 8))
        regulars = (data.validation.real_time.lengths > 0).nonzero().squeeze(1)
        requests = query_batch(data.validation, data.catalogue, regulars, data.needs)
        scores = model.query(requests) @ products.T  # [n, 60]
    own = torch.tensor([int(data.validation.real_time.row(int(row))[-1]) % 8 for row in regulars])
    mine = torch.arange(60)[None, :] % 8 == own[:, None]  # [n, 60]
    assert float(scores[mine].mean()) > float(scores[~mine].mean())


def test_an_unknown_product_and_place_get_a_usable_vector(folder):
    model, data, _ = build(folder)
    model.eval()
    products = data.catalogue.batch(torch.arange(3))
    nowhere = Location(
        torch.full((3,), float("nan")), torch.full((3,), float("nan")), torch.zeros(3, dtype=torch.int64)
    )
    stripped = type(products)(
        ids=torch.zeros(3, dtype=torch.int64),
        codes=torch.zeros(3, 4, dtype=torch.int64),
        text=products.text,
        fields={name: type(bags).empty(3) for name, bags in products.fields.items()},
        location=nowhere,
        scalars=torch.full_like(products.scalars, float("nan")),
    )
    vectors = model.item(stripped)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


def test_padded_batches_of_an_exported_tower_give_the_same_vectors(folder):
    model, data, _ = build(folder, text_encoder="transformer")
    model.eval()
    requests = query_batch(data.train, data.catalogue, torch.arange(9), data.needs)
    products = data.catalogue.batch(torch.arange(12), 8)
    torch.testing.assert_close(model.query(padded_bags(requests)), model.query(requests), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.item(padded_bags(products)), model.item(products), atol=1e-5, rtol=1e-5)


def test_a_log_without_shoppers_places_and_graph_still_trains(tmp_path):
    folder = write_tiny_shop(tmp_path / "examples", searches=60, locations=False)
    (folder / "graph.parquet").unlink()
    features = folder / "features.json"
    features.write_text(features.read_text().replace('"users": true', '"users": false'))
    model, data, settings = build(folder)
    loss, *_ = step_of(model, data, settings, step=10)
    loss.backward()
    parts = (model.product.location, model.product.graph, model.query_user.shops)
    assert parts[:2] == (None, None)
    assert not model.query_user.with_user
    assert bool(torch.isfinite(loss))


def test_code_tables_and_the_numbers_of_cells_are_settings(folder):
    model, data, settings = build(folder, codes="false", location_cells="3,7")
    assert not model.product.codes
    assert [len(table.weight) for table in model.product.location.tables] == [4, 8]
    loss, *_ = step_of(model, data, settings, step=10)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(table.weight.grad is not None for table in model.product.location.tables)


def test_attention_falls_on_the_shops_of_real_time_clicks(folder):
    model, data, _ = build(folder)
    requests = query_batch(data.train, data.catalogue, torch.arange(20), data.needs)
    real, short = model.attention(requests)
    window = requests.behaviour.real_time
    assert real.shape == window.mask.shape
    assert not short.any()
    assert not real[~window.mask].any()
    assert float(real.detach().sum(1).max()) < 1.0, "the query itself and past searches take their part"
    assert float(real.detach()[window.mask].min()) > 0.0


def titles(folder):
    _, data, _ = build(folder)
    torch.manual_seed(0)
    tokens = TokenTable(data.schema.tokens, 16)
    return data, TitleTransformer(tokens, layers=1, heads=4, limit=20)


def test_generating_queries_is_learned_and_teaches_the_encoder(folder):
    data, encoder = titles(folder)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    losses = pretrain(encoder, data.catalogue, "stems", steps=60, seed=1, batch_size=16, learning_rate=1e-2)
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:3])
    changed = [name for name, value in encoder.state_dict().items() if not torch.equal(before[name], value)]
    assert "tokens.table.weight" in changed
    assert any(name.startswith("blocks.0.attention") for name in changed)


def test_generating_queries_follows_from_its_seed(folder):
    (data, first), (_, second) = titles(folder), titles(folder)
    runs = [pretrain(encoder, data.catalogue, "stems", steps=3, seed=4) for encoder in (first, second)]
    assert runs[0] == runs[1]


def test_generating_queries_needs_the_graph(folder):
    model, data, _ = build(folder, graph=False)
    with pytest.raises(BadInput, match="graph"):
        pretrain(TitleTransformer(model.product.tokens, 1, 4, 20), data.catalogue, "stems", steps=1, seed=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score", "inner_product"),
        ("thresholds", "0.5,0.6"),
        ("end_weights", "1,2"),
        ("text_encoder", "t5"),
        ("location_cells", "50,0"),
    ],
)
def test_settings_without_sense_are_named(name, value):
    with pytest.raises(BadSetting, match=name):
        from_overrides(UepprSettings, SMALL | {name: value})
