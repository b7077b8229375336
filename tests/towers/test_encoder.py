"""Trained towers at work: engines agree, and vectors behave as a shop expects."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from components.common.errors import BadInput, BadSetting, NotFound
from components.features.history import Behaviour, History, Search
from components.towers.batches import query_batch
from components.towers.catalogue import build_catalogue
from components.towers.encoder import ItemEncoder, QueryEncoder, Request
from components.towers.examples import read_examples
from components.towers.export import TOLERANCE, ExportMismatch, check_export
from components.towers.modelfiles import ModelFiles

from .conftest import DAY, START, make_products

NOW = START + 60 * DAY
HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def queries(towers):
    return {engine: QueryEncoder(towers, engine) for engine in ("torch", "onnx")}


@pytest.fixture(scope="module")
def products(shop):
    return pq.read_table(shop / "products.parquet")


def history_of(products, wanted, clicks=8):
    """A shopper who lately clicked products of one brand."""
    rows = [row for row in products.to_pylist() if row["brand"] == wanted][:clicks]
    clicked = [Behaviour(NOW - (place + 1) * HOUR, row["product_id"], "click") for place, row in enumerate(rows)]
    return History.of([*clicked, Search(NOW - DAY, "red drill")])


def anonymous(query):
    return Request(query, History.empty(), NOW)


def requests_of(products):
    brands = ("acme", "borex", "corda")
    mixed = [
        Request(f"blue {kind}", history_of(products, brand, clicks), NOW, 40.0, -80.0, "US")
        for clicks, (kind, brand) in enumerate(zip(("saw", "lamp", "mallet"), brands, strict=True))
    ]
    return [*mixed, anonymous(""), anonymous("something never seen 99x"), anonymous("red " * 50), anonymous("drill")]


def test_both_engines_and_every_batch_size_give_one_vector(queries, products):
    requests = requests_of(products)
    together = queries["torch"].encode(requests)
    assert together.shape == (7, 32)
    assert together.dtype == np.float32
    for engine in queries.values():
        assert np.abs(engine.encode(requests) - together).max() <= TOLERANCE
        alone = np.concatenate([engine.encode([request]) for request in requests])
        assert np.abs(alone - together).max() <= TOLERANCE


def test_item_engines_agree_on_products_old_and_new(towers, products):
    new = make_products(30, seed=9)
    new = new.set_column(0, "product_id", pa.array([f"new {number}" for number in range(30)]))
    table = pa.concat_tables([products, new])
    vectors = [ItemEncoder(towers, engine).encode(table) for engine in ("torch", "onnx")]
    assert vectors[0].shape == (150, 32)
    assert np.abs(vectors[0] - vectors[1]).max() <= TOLERANCE


def test_a_search_is_encoded_as_training_saw_it(towers, shop, queries):
    """Golden vectors: the arrays of training and the requests of a server meet in one function."""
    files = ModelFiles(towers)
    examples = read_examples(
        shop / "test.parquet", files.catalogue.product_ids.tolist(), files.vocabulary, files.settings, files.windows,
        files.settings.units,
    )  # fmt: skip
    with torch.inference_mode():
        batch = query_batch(examples, files.catalogue, torch.arange(len(examples)), files.needs)
        trained = files.model().query(batch).numpy()
    rows = pq.read_table(shop / "test.parquet").to_pylist()
    requests = [
        Request(row["query"], History.from_row(row), now, row["latitude"], row["longitude"], row["country"])
        for row, now in zip(rows, examples.now.tolist(), strict=True)
    ]
    assert np.abs(queries["onnx"].encode(requests) - trained).max() <= TOLERANCE


def test_an_item_is_embedded_as_training_saw_it(towers, products):
    files = ModelFiles(towers)
    rows = dict(zip(files.catalogue.product_ids.tolist(), files.catalogue.ids.tolist(), strict=True))
    built = build_catalogue(products, files.vocabulary, files.settings, files.settings.units, rows, files.needs)
    with torch.inference_mode():
        expected = files.model().item(built.batch(torch.arange(len(built)))).numpy()
    assert np.abs(ItemEncoder(towers).encode(products) - expected).max() <= TOLERANCE


def test_vectors_of_a_cosine_model_have_unit_length(queries, towers, products):
    for vectors in (queries["onnx"].encode(requests_of(products)[:3]), ItemEncoder(towers).encode(products)):
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-4)


def test_the_future_is_not_looked_at(queries, products):
    known = history_of(products, "acme")
    later = known.append(Behaviour(NOW, products["product_id"][50].as_py(), "click"), Search(NOW + 5, "lamp"))
    before, after = queries["onnx"].encode([Request("saw", known, NOW), Request("saw", later, NOW)])
    assert np.array_equal(before, after)


def test_a_product_never_seen_is_found_by_its_text(towers, queries):
    """No id vector, only words: a new drill answers "drill", a new lamp does not."""
    titles = ["Acme red drill 9 in.", "Corda white lamp 9 in."]
    drill, lamp = ItemEncoder(towers).encode(pa.table({"product_id": ["new drill", "new lamp"], "title": titles}))
    query = queries["onnx"].encode([anonymous("drill")])[0]
    assert query @ drill > query @ lamp + 0.1


def test_a_typo_moves_the_vector_less_than_another_product_does(queries):
    slips = {"red hammer": "red hammr", "hammer": "hamer", "green paint": "green piant", "drill": "dril"}
    encode = queries["onnx"].encode
    right, typo = (encode([anonymous(text) for text in texts]) for texts in (slips.keys(), slips.values()))
    other = encode([anonymous("white ladder")])[0]
    near = (right * typo).sum(1)
    assert near.mean() > (right @ other).mean() + 0.2
    assert (near > right @ other).all()


def test_an_unknown_word_moves_the_vector_less_than_a_known_one(queries):
    plain, unknown, known = queries["onnx"].encode([anonymous(text) for text in ("drill", "drill xyqqw", "drill lamp")])
    assert plain @ unknown > plain @ known


def test_history_moves_the_ranking_towards_it(queries, towers, products):
    """Two shoppers, one query: each sees more of the brand clicked before."""
    vectors = ItemEncoder(towers).encode(products)
    brands = np.array(products["brand"].to_pylist())
    shoppers = [Request("drill", history_of(products, brand), NOW) for brand in ("acme", "delvo")]
    acme, delvo = queries["onnx"].encode(shoppers) @ vectors.T
    lean = {brand: (acme - delvo)[brands == brand].mean() for brand in ("acme", "delvo")}
    assert lean["acme"] > lean["delvo"]


def test_unknown_behaviours_and_countries_are_left_out(queries):
    strange = History.of([Behaviour(NOW - 5, "no such product", "click")])
    plain, odd = queries["onnx"].encode([anonymous("saw"), Request("saw", strange, NOW, country="XX")])
    assert np.allclose(plain, odd, atol=TOLERANCE)


def test_attention_names_the_clicks_that_mattered(queries, products):
    request = Request("drill", history_of(products, "acme"), NOW)
    found = queries["torch"].attention(request)
    assert {name for name, _ in found} <= set(request.history.product_ids)
    assert [weight for _, weight in found] == sorted((weight for _, weight in found), reverse=True)
    assert 0 < sum(weight for _, weight in found) <= 1
    assert queries["onnx"].attention(anonymous("drill")) == []


def test_no_request_and_no_product_give_no_vector(queries, towers, products):
    assert queries["onnx"].encode([]).shape == (0, 32)
    assert ItemEncoder(towers).encode(products.slice(0, 0)).shape == (0, 32)


def test_bad_input_is_refused_in_a_sentence(towers, tmp_path):
    with pytest.raises(NotFound, match="no trained towers"):
        QueryEncoder(tmp_path)
    with pytest.raises(BadSetting, match="jax"):
        QueryEncoder(towers, "jax")
    with pytest.raises(BadInput, match="title"):
        ItemEncoder(towers).encode(pa.table({"product_id": ["x"], "title": pa.array([None], pa.string())}))


def test_an_export_that_differs_is_not_released(towers):
    model = ModelFiles(towers).model()
    batch = QueryEncoder(towers, "torch")._batch([anonymous("drill")])[0]
    assert check_export(model, "query", batch, towers / "query_tower.onnx") <= TOLERANCE
    with torch.no_grad():
        model.tokens.table.weight.mul_(torch.rand_like(model.tokens.table.weight))
    with pytest.raises(ExportMismatch, match="query tower"):
        check_export(model, "query", batch, towers / "query_tower.onnx")
