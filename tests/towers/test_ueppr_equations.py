"""UEPPR's two encoders and MMSE's shopper: batched towers against one example at a time in NumPy, random weights."""

import numpy as np
import pytest
import torch

from components.common.settings import from_overrides
from components.towers.batches import CLICKED_TITLES, query_batch
from components.towers.data import load_training_data
from components.towers.fields import TOKEN_GROUPS
from components.towers.interfaces import BRAND, LEAF, SHOP, Location
from components.towers.models.mmse import MMSE
from components.towers.models.mmse_settings import MmseSettings
from components.towers.models.ueppr import UEPPR
from components.towers.models.ueppr_settings import UepprSettings

from . import naive
from .conftest import write_examples

TOLERANCE = 1e-6  # in double precision; quantiles and cells are kept in single
UNITS = ("stems", "character_3grams")
SMALL = {"dimension": 16, "heads": 4, "hash_buckets": 50, "title_queries": 0, "text_units": ",".join(UNITS)}
OF_UEPPR = {
    "hidden": 24,
    "location_width": 4,
    "text_encoder": "transformer",
    "history_layers": 2,
    "max_title_tokens": 5,
}
ROWS, PRODUCTS = torch.arange(40), torch.arange(50)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("equations"), products=60, train=80, validation=40)


def made(folder, kind, settings):
    """A model with random numbers in every weight, in double precision, and its data."""
    data = load_training_data(folder, kind, settings)
    model = kind(settings, data.schema)
    model.prepare(data.catalogue, data.train)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return model.double().eval(), data


@pytest.fixture(scope="module")
def ueppr(folder):
    return made(folder, UEPPR, from_overrides(UepprSettings, SMALL | OF_UEPPR))


def means(model, bags):
    """Mean of the tokens of each unit, [units, d]."""
    tokens = model.product.tokens
    return np.array([naive.mean(naive.array(tokens.table.weight), b, naive.array(tokens.weight.weight)) for b in bags])


def place_and_scalars(part, location, scalars):
    """The vectors of one place and of one row of scalars; both have tests of their own."""
    here = Location(*(getattr(location, name)[None] for name in ("latitude", "longitude", "country")))
    with torch.no_grad():
        return [naive.array(part.location(here))[0], naive.array(part.scalars(scalars[None]))[0]]


def test_the_query_and_its_shopper_are_their_equation(ueppr):
    model, data = ueppr
    part, searches, titles = model.query_user, data.validation, data.catalogue.text
    batch = query_batch(searches, data.catalogue, ROWS, data.needs)
    with torch.no_grad():
        found = model.query(batch).numpy()

    def of_titles(products):
        return means(model, [[t for p in products for t in titles[unit].row(p).tolist()] for unit in UNITS]).sum(0)

    def of_query(query):
        return means(model, [searches.query_text[unit].row(query).tolist() for unit in UNITS])

    kinds, shops = naive.array(part.kinds.weight), naive.array(part.shops.weight)
    for row in ROWS.tolist():
        own, clicks = of_query(int(searches.query[row])), searches.real_time.row(row).tolist()
        x = [own.sum(0) + kinds[0]]
        x += [of_query(query).sum(0) + kinds[1] for query in searches.past.row(row).tolist()]
        x += [shops[int(data.catalogue.codes[product, SHOP])] + kinds[2] for product in clicks]
        x = np.array(x)
        for block in part.blocks:
            x = naive.transformer_block(x, block)
        place = Location(*(getattr(batch.location, name)[row] for name in ("latitude", "longitude", "country")))
        groups = [*own, x[0], of_titles(clicks[-CLICKED_TITLES:]), of_titles(searches.bought.row(row).tolist())]
        groups += place_and_scalars(part, place, batch.scalars[row])
        vector = naive.feed_forward(part.head, groups)
        assert np.abs(found[row] - vector / np.linalg.norm(vector)).max() < TOLERANCE
    histories = {(len(searches.past.row(row)), len(searches.real_time.row(row))) for row in ROWS.tolist()}
    assert len(histories) > 5, "the searches must differ in history, or the masks are not tested"


def test_the_product_is_its_equation(ueppr):
    model, data = ueppr
    part, catalogue, neighbours = model.product, data.catalogue, 3
    batch = catalogue.batch(PRODUCTS, neighbours)
    with torch.no_grad():
        found = model.item(batch).numpy()
    table, places = naive.array(part.tokens.table.weight), naive.array(part.transformer.positions.weight)
    for row in PRODUCTS.tolist():
        groups = list(means(model, [catalogue.text[unit].row(row).tolist() for unit in UNITS]))
        groups += list(means(model, [catalogue.fields[name].row(row).tolist() for name in TOKEN_GROUPS]))
        groups += [naive.array(part.codes[str(c)].weight)[int(catalogue.codes[row, c])] for c in (LEAF, BRAND, SHOP)]
        place = Location(*(getattr(batch.location, name)[row] for name in ("latitude", "longitude", "country")))
        groups += place_and_scalars(part, place, batch.scalars[row])
        words = catalogue.text["stems"].row(row).tolist()
        x = table[words] + places[: len(words)]
        for block in part.transformer.blocks:
            x = naive.transformer_block(x, block)
        queries = catalogue.graph.row(row).tolist()[:neighbours]
        led = [means(model, [catalogue.graph_text[unit].row(q).tolist() for unit in UNITS]).sum(0) for q in queries]
        groups += [x.mean(0), np.mean(led, axis=0) if led else np.zeros(16)]
        vector = naive.feed_forward(part.head, groups)
        assert np.abs(found[row] - vector / np.linalg.norm(vector)).max() < TOLERANCE
    counts = catalogue.graph.lengths[PRODUCTS]
    assert int(counts.min()) == 0 < neighbours < int(counts.max()), "some products without a graph, some cut short"


def test_mmses_shopper_is_its_equation(folder):
    settings = from_overrides(MmseSettings, {name: value for name, value in SMALL.items() if name != "text_units"})
    model, data = made(folder, MMSE, settings)
    searches, fields = data.validation, model.shopper.fields
    batch = query_batch(searches, data.catalogue, ROWS, data.needs)
    with torch.no_grad():
        found = model.shopper(batch.behaviour).numpy()
    for row in ROWS.tolist():
        windows = [
            [
                naive.product_vector(fields, data.catalogue.behaviour_fields(torch.tensor([p]))[0].tolist())
                for p in clicks
            ]
            for clicks in (searches.real_time.row(row).tolist(), searches.short_term.row(row).tolist())
        ]
        assert np.abs(found[row] - naive.shopper(model.shopper, windows)).max() < TOLERANCE
    assert len({len(searches.real_time.row(row)) for row in ROWS.tolist()}) > 3
