"""MGDSPR's equations 2 to 16: the batched parts against one example at a time in NumPy, with random weights."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from components.common.settings import from_overrides
from components.towers.batches import query_batch
from components.towers.data import load_training_data
from components.towers.interfaces import LONG_TERM_ACTIONS
from components.towers.models.mgdspr import MGDSPR, MgdsprSettings
from components.towers.moving import padded_bags

from . import naive
from .conftest import SMALL, write_examples

TOLERANCE = 1e-9  # in double precision, so that only a mistake can exceed it


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_examples(tmp_path_factory.mktemp("equations"), products=60, train=80, validation=40)
    settings = make_settings()
    return load_training_data(Path(folder), MGDSPR, settings)


def make_settings(**overrides):
    chosen = {**SMALL, "segment_layers": "2", "fusion_layers": "2", "score": "inner_product", "temperature": "2"}
    return from_overrides(MgdsprSettings, {**chosen, **overrides})


def make_model(data, seed=0, **overrides):
    """A model with random numbers in every weight: what starts at zero or identity would hide a mistake."""
    model = MGDSPR(make_settings(**overrides), data.schema)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.double().eval()


def examples_of(data, row):
    """Tokens and behaviours of one validation search as plain lists."""
    examples, catalogue = data.validation, data.catalogue
    query = int(examples.query[row])
    text = {unit: bags.row(query).tolist() for unit, bags in examples.query_text.items()}
    past = [examples.query_text["stems"].row(q).tolist() for q in examples.past.row(row).tolist()]

    def product(item):
        return catalogue.behaviour_fields(torch.tensor([item]))[0].tolist(), catalogue.text["stems"].row(item).tolist()

    def products(bags):
        return [product(item) for item in bags.row(row).tolist()]

    long_term = [[fields for fields, _ in products(examples.long_term[action])] for action in LONG_TERM_ACTIONS]
    return text, past, products(examples.real_time), products(examples.short_term), long_term


def parts_of(model, data, row):
    """H_real, H_short, H_long and Q_mgs of one search, by the naive equations."""
    text, past, recent, earlier, long_term = examples_of(data, row)
    fields = model.behaviour.fields
    if model.settings.mgs:
        queries = naive.query_unit(model.unit_rows, model.tokens, text, past)
    else:
        table, weight = (naive.array(part.weight) for part in (model.tokens.table, model.tokens.weight))
        queries = naive.mean(table, text[model.settings.word_unit], weight)[None]

    def vectors(window):
        return np.array([naive.product_vector(fields, values, title) for values, title in window])

    return (
        queries,
        naive.real_time(model.behaviour, queries, vectors(recent)),
        naive.short_term(model.behaviour, queries, vectors(earlier)),
        naive.long_term(model.behaviour, queries, long_term),
    )


ROWS = torch.arange(40)


@pytest.mark.parametrize("token_weights", ["idf", "uniform"])
def test_query_unit_equations_2_to_8(data, token_weights):
    model = make_model(data, token_weights=token_weights)
    with torch.no_grad():
        rows = model.unit_rows(query_batch(data.validation, data.catalogue, ROWS, data.needs)).numpy()
    assert rows.shape == (40, 6, 16)
    for row in ROWS.tolist():
        text, past, *_ = examples_of(data, row)
        assert np.abs(rows[row] - naive.query_unit(model.unit_rows, model.tokens, text, past)).max() < TOLERANCE


def test_behaviour_equations_9_to_14(data):
    model = make_model(data)
    batch = query_batch(data.validation, data.catalogue, ROWS, data.needs)
    with torch.no_grad():
        found = model.behaviour(model.unit_rows(batch), batch.behaviour)
    lengths = set()
    for row in ROWS.tolist():
        _, *expected = parts_of(model, data, row)
        for ours, theirs in zip(found, expected, strict=True):
            assert np.abs(ours[row].numpy() - theirs).max() < TOLERANCE
        lengths.add(int(data.validation.real_time.lengths[row]))
    assert len(lengths) > 3, "the searches must differ in history, or the masks are not tested"


def test_fusion_equation_15(data):
    model = make_model(data)
    with torch.no_grad():
        vectors = model.query(query_batch(data.validation, data.catalogue, ROWS, data.needs)).numpy()
    for row in ROWS.tolist():
        rows = np.concatenate(parts_of(model, data, row))
        assert rows.shape == (24, 16)
        assert np.abs(vectors[row] - naive.fusion(model.fusion, rows)).max() < TOLERANCE


def test_the_base_of_the_ablation_is_the_mean_of_the_segments_and_of_what_they_see_in_each_window(data):
    model = make_model(data, mgs="false", trm="false")
    with torch.no_grad():
        vectors = model.query(query_batch(data.validation, data.catalogue, ROWS, data.needs)).numpy()
    for row in ROWS.tolist():
        rows = np.concatenate(parts_of(model, data, row))
        assert rows.shape == (4, 16)
        assert np.abs(vectors[row] - rows.mean(0)).max() < TOLERANCE


@pytest.mark.parametrize("title_length", ["1", "0.2", "0"])
@pytest.mark.parametrize("token_weights", ["idf", "uniform"])
def test_item_tower_equation_16_and_sums_in_place_of_its_mean(data, title_length, token_weights):
    units = "stems,character_3grams"
    model = make_model(data, title_units=units, title_length=title_length, token_weights=token_weights)
    model.item_tower.set_usual(data.catalogue.text, data.catalogue.fields)
    products = torch.arange(len(data.catalogue))
    with torch.no_grad():
        vectors = model.item(data.catalogue.batch(products)).numpy()
    for row in products.tolist():
        bags = [data.catalogue.text[unit].row(row).tolist() for unit in ("stems", "character_3grams")]
        expected = naive.item(model.item_tower, int(data.catalogue.ids[row]), bags)
        expected = expected + naive.item_side(model.item_side, data.catalogue.codes[row].tolist())
        assert np.abs(vectors[row] - expected).max() < TOLERANCE


def test_a_title_of_usual_weight_is_its_mean_whatever_the_length_setting(data):
    mean, towards_sum = (make_model(data, title_length=length).item_tower for length in ("1", "0.2"))
    bag = data.catalogue.text["stems"]
    towards_sum.get_buffer("usual").copy_(mean.tokens.weights_of(bag)[:1])
    batch = data.catalogue.batch(torch.arange(1))
    with torch.no_grad():
        assert torch.allclose(mean(batch), towards_sum(batch), atol=TOLERANCE)


def test_words_that_no_title_carries_start_at_zero_when_asked(data):
    model = MGDSPR(make_settings(query_only_zero="true"), data.schema)
    model.prepare(data.catalogue, data.train)
    of_titles = set(data.catalogue.text["stems"].values.tolist())
    silent = [row for row, vector in enumerate(model.tokens.table.weight.tolist()) if not any(vector)]
    asked = {row for bags in data.train.query_text.values() for row in bags.values.tolist()}
    assert set(silent).isdisjoint(of_titles)
    assert asked - of_titles <= set(silent)
    assert asked - of_titles, "the training queries must have words of their own, or nothing is tested"


def test_every_parameter_learns_at_the_rate_of_its_kind(data):
    model = MGDSPR(make_settings(dense_rate="0.5", weight_rate="3"), data.schema)
    groups = model.parameter_groups()
    numbers = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(numbers) == sorted(id(parameter) for parameter in model.parameters())
    rate = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    assert rate[id(model.tokens.table.weight)] == rate[id(model.ids.weight)] == 1.0
    assert rate[id(model.tokens.weight.weight)] == 3.0
    assert rate[id(model.item_tower.title.weight)] == 0.5


def test_a_cosine_model_gives_the_same_directions_at_unit_length(data):
    batch = query_batch(data.validation, data.catalogue, ROWS, data.needs)
    with torch.no_grad():
        plain, unit = (make_model(data, score=score).query(batch) for score in ("inner_product", "cosine"))
    assert torch.allclose(unit, torch.nn.functional.normalize(plain, dim=1), atol=TOLERANCE)


def test_padding_and_the_company_of_other_examples_change_nothing(data):
    """A search alone, padded, or among others: one vector. This is what lets training, ONNX and serving share it."""
    model = make_model(data)
    batch = query_batch(data.validation, data.catalogue, ROWS, data.needs)
    with torch.no_grad():
        together, padded = model.query(batch), model.query(padded_bags(batch))
        alone = torch.cat(
            [model.query(query_batch(data.validation, data.catalogue, row.reshape(1), data.needs)) for row in ROWS]
        )
    assert torch.allclose(together, padded, atol=TOLERANCE)
    assert torch.allclose(together, alone, atol=TOLERANCE)


def test_without_history_the_behaviour_rows_are_zero_and_the_vector_is_that_of_the_query(data):
    model = make_model(data)
    newcomer = next(row for row in range(len(data.validation)) if int(data.validation.real_time.lengths[row]) == 0
                    and not any(int(bags.lengths[row]) for bags in data.validation.long_term.values()))  # fmt: skip
    batch = query_batch(data.validation, data.catalogue, torch.tensor([newcomer]), data.needs)
    with torch.no_grad():
        rows = model.behaviour(model.unit_rows(batch), batch.behaviour)
    assert all(not part.any() for part in rows)


@pytest.mark.parametrize(
    ("switch", "rows"), [({"mgs": "false"}, 4), ({"trm": "false"}, 24), ({"history": "false"}, 6), ({}, 24)]
)
def test_switches_leave_out_their_part(data, switch, rows):
    model = make_model(data, **switch)
    seen = []
    model.fusion.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    with torch.no_grad():
        model.query(query_batch(data.validation, data.catalogue, ROWS, data.needs))
    assert seen == [rows]


def test_tables_are_shared_by_both_towers(data):
    model = make_model(data)
    assert model.item_tower.tokens is model.unit_rows.tokens is model.behaviour.fields.tokens
    assert model.item_tower.ids is model.behaviour.fields.ids


def test_the_papers_form_is_the_same_in_the_docstring_and_the_docs_and_leaves_our_parts_out(data):
    page = (
        (Path(__file__).parents[2] / "docs/papers/mgdspr.md").read_text().split("All settings of the paper's form")[1]
    )
    documented = dict(re.findall(r"`towers\.(\w+)=([\w.]+)`", page))
    assert documented == dict(re.findall(r"`(\w+)=([\w.]+)`", MGDSPR.__doc__.split("Beyond the paper")[1]))
    model = MGDSPR(from_overrides(MgdsprSettings, documented), data.schema)
    assert (model.item_side, model.tokens.weight, model.behaviour.fields.tokens) == (None, None, None)
    assert model.behaviour.scale.tolist() == [1.0] * 3
    assert (float(model.behaviour.sharpness.detach()), model.behaviour.dropout, model.behaviour.history_dropout) == (
        1,
        0,
        0,
    )
    assert (model.softmax.count, model.softmax.softmax.temperature, model.softmax.cosine) == (684, 2.0, False)
    assert model.settings.negatives >= 684
    assert len(model.behaviour.lstm.layers) == 2


def fresh(data):
    torch.manual_seed(0)
    model = MGDSPR(make_settings(dimension="64", score="cosine"), data.schema)
    model.prepare(data.catalogue, data.train)
    return model.eval()


def with_history(data):
    return torch.nonzero(data.validation.real_time.lengths >= 2).squeeze(1)


def test_the_item_side_reads_the_tables_of_the_behaviours(data):
    model = make_model(data)
    assert list(model.item_side.tables) == list(model.behaviour.fields.codes)
    assert "item_side" not in "".join(make_model(data, item_side="false").state_dict())


def test_before_the_first_step_a_shopper_lies_nearer_to_a_product_of_their_brand_and_shop(data):
    """The same title with the codes of the last click against those of any product: the shopper's own win."""
    model, rows = fresh(data), with_history(data)
    last = torch.stack([data.validation.real_time.row(row)[-1] for row in rows.tolist()])
    products = data.catalogue.batch(last)
    others = replace(products, codes=data.catalogue.codes[torch.randperm(len(data.catalogue))[: len(last)]])
    with torch.no_grad():
        queries = model.query(query_batch(data.validation, data.catalogue, rows, data.needs))
        own, foreign = ((queries * model.item(batch)).sum(1) for batch in (products, others))
    assert (own > foreign).float().mean() > 0.8


def test_before_the_first_step_a_query_attends_to_the_behaviours_that_resemble_it(data):
    """A past product that has a word of the query gets more attention than one that has none."""
    model, rows = fresh(data), with_history(data)
    batch = query_batch(data.validation, data.catalogue, rows, data.needs)
    with torch.no_grad():
        weights = model.attention(batch)[0]  # [R, T]
    alike, others = [], []
    for place, row in enumerate(rows.tolist()):
        words = set(data.validation.query_text["stems"].row(int(data.validation.query[row])).tolist())
        for when, item in enumerate(data.validation.real_time.row(row).tolist()):
            resembles = words & set(data.catalogue.text["stems"].row(item).tolist())
            (alike if resembles else others).append(float(weights[place, when]))
    assert len(alike) >= 5, "some behaviours must resemble their query, or nothing is tested"
    assert np.mean(alike) > 1.2 * np.mean(others)
