"""A pretrained encoder beside the towers: one inner product, its equation, its files, and nothing where it is off."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from components.common.errors import BadInput, BadSetting
from components.common.settings import from_overrides
from components.features.history import History
from components.towers import data as training_data
from components.towers import modelfiles
from components.towers.batches import query_batch
from components.towers.data import load_training_data
from components.towers.encoder import ItemEncoder, QueryEncoder, Request
from components.towers.export import TOLERANCE
from components.towers.models import model_class
from components.towers.models.mgdspr import MgdsprSettings
from components.towers.parts.minilm import WIDTH
from components.towers.parts.pretrained_block import PretrainedBlock
from components.towers.parts.title_vectors import TitleVectors
from components.towers.parts.word_pieces import WordPieces, encode_in_batches
from components.towers.step import run
from components.towers.trainer import Trainer

from .conftest import SMALL, SYNONYMS, make_products

NAMED = {"pretrained_text": "minilm", "pretrained_steps": "3", "title_queries": "1"}


def understood(texts):
    """A stand-in for MiniLM that knows the synonyms of the made-up shop: a direction a thing, none for a blank text."""
    vectors = np.zeros((len(texts), WIDTH), np.float32)
    things = list(SYNONYMS)
    for row, text in enumerate(texts):
        for place, (thing, synonym) in enumerate(zip(things, SYNONYMS.values(), strict=True)):
            if {thing, synonym} & set(text.lower().split()):
                vectors[row, place] = 1.0
        if text.strip():
            vectors[row, len(things) + len(text) % 7] = 0.5
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6)


class StandIn:
    """`understood` as the encoder of a model folder."""

    width = WIDTH

    def __init__(self, folder):
        assert (folder / "text_encoder.onnx").is_file()

    def __call__(self, texts):
        return understood(texts)


@pytest.fixture
def stand_in(monkeypatch):
    """No package is needed: the encoder is `understood`, in training and in the model folder."""
    asked = []

    def encode(texts):
        asked.extend(texts)
        return understood(texts)

    monkeypatch.setattr(
        training_data.TitleVectors,
        "minilm",
        lambda directory, device="auto": TitleVectors(directory, "minilm", WIDTH, encode),
    )
    monkeypatch.setattr(
        modelfiles, "write_text_encoder", lambda folder: (folder / "text_encoder.onnx").write_bytes(b"")
    )
    monkeypatch.setattr(modelfiles, "OnnxTextEncoder", StandIn)
    return asked


@pytest.mark.parametrize("cosine", [False, True])
def test_the_inner_product_is_the_sum_of_two_similarities(cosine):
    torch.manual_seed(1)
    block = PretrainedBlock(5, 0.7, cosine)
    block.query_map.normal_(std=0.3)
    block.item_map.normal_(std=0.3)
    queries, items = torch.randn(3, 4), torch.randn(6, 4)
    if cosine:
        queries, items = (torch.nn.functional.normalize(x, dim=1) for x in (queries, items))
    of_queries, of_items = torch.randn(3, 5), torch.randn(6, 5)
    of_queries[1] = 0.0
    scores = (block(queries, of_queries, "query") @ block(items, of_items, "item").T).numpy()
    for q in range(3):
        for i in range(6):
            f = of_queries[q].double().numpy() @ (np.eye(5) + block.query_map.double().numpy().T)
            k = of_items[i].double().numpy() @ (np.eye(5) + block.item_map.double().numpy().T)
            further = 0.7 * f @ k / (max(np.linalg.norm(f), 1e-6) * np.linalg.norm(k))
            length = np.sqrt((1.0 if q == 1 else 1.7) * 1.7) if cosine else 1.0
            assert scores[q, i] == pytest.approx((float(queries[q] @ items[i]) + further) / length, abs=1e-5)


def test_before_it_is_fitted_it_is_the_encoders_own_cosine():
    block = PretrainedBlock(5, 1.0, cosine=False)
    own, text = torch.zeros(2, 3), torch.randn(2, 5)
    joined = block(own, text, "query") @ block(own, text, "item").T
    torch.testing.assert_close(joined, torch.nn.functional.cosine_similarity(text[:, None], text[None], dim=2))


def fitted(data, steps):
    block = PretrainedBlock(WIDTH, 1.0, cosine=False)
    block.fit(data.catalogue, data.train, steps, seed=3)
    return block


def test_fitting_raises_what_was_engaged_above_the_rest_and_repeats_itself(stand_in, bare_shop):
    kind = model_class("mgdspr")
    data = load_training_data(bare_shop, kind, from_overrides(kind.Settings, {**SMALL, **NAMED}))
    assert torch.equal(fitted(data, 5).query_map, fitted(data, 5).query_map)
    own = torch.zeros(len(data.validation), 1), torch.zeros(len(data.catalogue), 1)
    texts = data.validation.text_vectors[data.validation.query], data.catalogue.text_vectors
    listed, shares = data.validation.listed, []
    for block in (fitted(data, 0), fitted(data, 30)):
        scores = block(own[0], texts[0], "query") @ block(own[1], texts[1], "item").T
        engaged = scores[listed.row_of_value, listed.values.long()][data.validation.stages > 0]
        shares.append(
            float((engaged[:, None] > scores[listed.row_of_value[data.validation.stages > 0]]).float().mean())
        )
    assert shares[1] > shares[0] + 0.02


def test_the_towers_train_as_if_it_were_not_there(stand_in, bare_shop):
    """The loss reads neither the texts' vectors nor the block's weight."""
    kind = model_class("mgdspr")
    losses = []
    for further in ({}, NAMED, {**NAMED, "pretrained_weight": "7"}):
        settings = from_overrides(kind.Settings, {**SMALL, "title_queries": "1", "epochs": "1", **further})
        data = load_training_data(bare_shop, kind, settings)
        torch.manual_seed(1)
        model = kind(settings, data.schema)
        model.prepare(data.catalogue, data.train)
        losses.append(Trainer(model, data, settings, torch.device("cpu")).run().curve[-1]["loss"])
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize("name", ["mgdspr", "ueppr", "mmse"])
def test_every_model_trains_exports_and_serves_with_it(name, stand_in, shop, tmp_path):
    extra = {"text_units": "stems", "pretrain_steps": "0"} if name == "ueppr" else {}
    extra |= {"shopper_dimension": "4"} if name == "mmse" else {}
    small = {**SMALL, **NAMED, **extra, "epochs": "1"}
    facts = run(shop, tmp_path / "out", name, json.dumps(small), str(tmp_path / "checkpoints"))
    assert facts["dimension"] == 16 + WIDTH + (4 if name == "mmse" else 0)
    products = pq.read_table(shop / "products.parquet")
    new = make_products(5, seed=4).set_column(0, "product_id", pa.array([f"new {row}" for row in range(5)]))
    table = pa.concat_tables([products, new])
    items = [ItemEncoder(tmp_path / "out", engine).encode(table) for engine in ("onnx", "torch")]
    requests = [Request(text, History.empty(), 0) for text in ("red borer", "lamp", "")]
    queries = [QueryEncoder(tmp_path / "out", engine).encode(requests) for engine in ("onnx", "torch")]
    assert np.abs(items[0] - items[1]).max() <= TOLERANCE
    assert np.abs(queries[0] - queries[1]).max() <= TOLERANCE


def test_a_word_no_title_has_finds_what_the_encoder_knows_it_for(stand_in, bare_shop, tmp_path):
    """Without training on it: the towers have never seen "light", the encoder takes it for a lamp."""
    run(
        bare_shop,
        tmp_path / "out",
        "mgdspr",
        json.dumps({**SMALL, **NAMED, "epochs": "1", "pretrained_steps": "0"}),
    )
    titles = ["Acme red drill 9 in.", "Corda white lamp 9 in."]
    drill, lamp = ItemEncoder(tmp_path / "out").encode(pa.table({"product_id": ["a", "b"], "title": titles}))
    query = QueryEncoder(tmp_path / "out").encode([Request("light", History.empty(), 0)])[0]
    assert query[16:] @ lamp[16:] > query[16:] @ drill[16:] + 0.1


def test_a_search_and_a_product_are_encoded_as_training_saw_them(stand_in, bare_shop, tmp_path):
    settings = {**SMALL, **NAMED}
    run(bare_shop, tmp_path / "out", "mgdspr", json.dumps(settings))
    model = modelfiles.ModelFiles(tmp_path / "out").model()
    kind = model_class("mgdspr")
    data = load_training_data(bare_shop, kind, from_overrides(kind.Settings, settings))
    with torch.inference_mode():
        rows = torch.arange(len(data.validation))
        trained = model.query(query_batch(data.validation, data.catalogue, rows, data.needs)).numpy()
        products = model.item(data.catalogue.batch(torch.arange(len(data.catalogue)))).numpy()
    requests = [Request(data.validation.queries[row], History.empty(), 0) for row in data.validation.query.tolist()]
    served = QueryEncoder(tmp_path / "out").encode(requests)
    assert np.abs(served - trained).max() <= 1e-3  # training reads vectors of half precision
    assert (
        np.abs(ItemEncoder(tmp_path / "out").encode(pq.read_table(bare_shop / "products.parquet")) - products).max()
        <= TOLERANCE
    )


def test_a_later_training_and_the_release_encode_no_known_title_again(stand_in, bare_shop, tmp_path, monkeypatch):
    run(bare_shop, tmp_path / "one", "mgdspr", json.dumps({**SMALL, **NAMED, "epochs": "1"}), str(tmp_path / "kept"))
    titles = set(pq.read_table(bare_shop / "products.parquet")["title"].to_pylist())
    assert titles <= set(stand_in)
    stand_in.clear()
    run(bare_shop, tmp_path / "two", "mgdspr", json.dumps({**SMALL, **NAMED, "epochs": "1"}), str(tmp_path / "kept"))
    assert not stand_in

    def refused(self, texts):
        raise AssertionError(f"{texts} were encoded again")

    monkeypatch.setattr(StandIn, "__call__", refused)
    ItemEncoder(tmp_path / "two").encode(pq.read_table(bare_shop / "products.parquet"))
    assert len(list((tmp_path / "two" / "title_vectors").iterdir())) == 1


def test_switched_off_nothing_of_it_is_there(bare_shop):
    kind = model_class("mgdspr")
    settings = from_overrides(kind.Settings, SMALL)
    data = load_training_data(bare_shop, kind, settings)
    model = kind(settings, data.schema)
    assert "text_vectors" not in data.needs
    assert data.catalogue.text_vectors is None
    assert data.train.text_vectors is None
    assert not [name for name in model.state_dict() if "pretrained" in name]


def test_made_up_queries_have_no_vector(stand_in, bare_shop):
    kind = model_class("mgdspr")
    data = load_training_data(bare_shop, kind, from_overrides(kind.Settings, {**SMALL, **NAMED}))
    made = [row for row, name in enumerate(data.train.search_ids) if name.startswith("title query")]
    asked = data.train.text_vectors[data.train.query]
    assert made
    assert not asked[made].any()
    assert (asked.norm(dim=1) > 0).sum() == len(data.train) - len(made)


def test_an_unknown_encoder_is_refused():
    with pytest.raises(BadSetting, match="pretrained_text"):
        from_overrides(MgdsprSettings, {"pretrained_text": "bert"})


@pytest.fixture
def pieces(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cord", "##less", "drill", "-", "uber", "##s", "a", "1", "/", "2"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    return WordPieces(tmp_path / "vocab.txt", limit=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cordless DRILLS", "cord ##less drill ##s"),
        ("cordless-drill", "cord ##less - drill"),
        ("Übers", "uber ##s"),
        ("1/2", "1 / 2"),
        ("drillx a", "[UNK] a"),
        ("a\u200bb 工 " + "x" * 101, "[UNK] [UNK] [UNK]"),
        ("drill " * 20, "drill drill drill drill drill drill"),
        (" \t", ""),
    ],
)
def test_words_are_cut_into_the_longest_known_pieces(pieces, tmp_path, text, expected):
    vocabulary = (tmp_path / "vocab.txt").read_text().splitlines()
    found = [vocabulary[number] for number in pieces(text)]
    assert found == ["[CLS]", *expected.split(), "[SEP]"]


def test_batches_by_length_give_each_text_its_own_vector(pieces):
    def count(numbers, mask):
        return np.stack([mask.sum(1), (numbers * mask).sum(1)], axis=1).astype(np.float32)

    texts = ["drill", "", "cordless drill - drill", "a", "  "]
    vectors = encode_in_batches(count, pieces, texts, 2, batch_size=2)
    for text, vector in zip(texts, vectors, strict=True):
        numbers = pieces(text)
        assert vector.tolist() == ([len(numbers), sum(numbers)] if text.strip() else [0, 0])


def test_a_file_that_is_no_vocabulary_is_named(tmp_path):
    (tmp_path / "words.txt").write_text("drill\nlamp\n")
    with pytest.raises(BadInput, match=r"words\.txt"):
        WordPieces(tmp_path / "words.txt")


def test_a_copy_for_a_release_holds_the_named_titles_alone(tmp_path):
    cache = TitleVectors(tmp_path / "all", "minilm", WIDTH, understood)
    cache(["red drill", "old lamp"])
    cache.save(tmp_path / "few", ["red drill", " "])
    shutil.rmtree(tmp_path / "all")
    asked = []

    def encode(texts):
        asked.extend(texts)
        return understood(texts)

    copy = TitleVectors(tmp_path / "few", "minilm", WIDTH, encode, grows=False)
    copy(["red drill", "old lamp", " "])
    assert asked == ["old lamp"]
    assert len(list((tmp_path / "few").iterdir())) == 1
