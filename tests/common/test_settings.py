from dataclasses import dataclass

import pytest

from components.common.errors import BadSetting
from components.common.settings import as_overrides, describe, from_overrides, setting


@dataclass(frozen=True)
class Sample:
    epochs: int = setting(3, "how often")
    rate: float = setting(0.1, "how fast")
    cosine: bool = setting(False, "which score")
    name: str = setting("x", "what")
    widths: tuple[int, ...] = setting((1, 2), "how wide")
    limit: int | None = setting(None, "how many at most")


@dataclass(frozen=True)
class Texts:
    units: tuple[str, ...] = setting((), "which")


def test_every_type_converts_from_text():
    read = from_overrides(
        Sample, {"epochs": "5", "rate": "1e-3", "cosine": "true", "name": "y", "widths": "3,4", "limit": "7"}
    )
    assert read == Sample(5, 1e-3, True, "y", (3, 4), 7)


def test_lists_of_a_json_object_are_read_as_lists():
    assert from_overrides(Sample, '{"widths": [3, 4]}') == Sample(widths=(3, 4))
    assert from_overrides(Sample, {"widths": []}) == Sample(widths=())
    assert from_overrides(Texts, '{"units": ["stems", "words"]}') == Texts(("stems", "words"))


def test_json_object_and_none_are_accepted():
    assert from_overrides(Sample, '{"epochs": 4, "limit": "none"}') == Sample(epochs=4)
    assert from_overrides(Sample, None) == Sample()


def test_overrides_round_trip():
    sample = Sample(5, 0.25, True, "a,b", (9,), None)
    assert from_overrides(Sample, as_overrides(sample)) == sample


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"epoch": "1"}, "Did you mean 'epochs'"),
        ({"epochs": "many"}, "Sample.epochs must be of type int, not 'many'"),
        ({"epochs": "1.5"}, "of type int"),
        ({"cosine": "maybe"}, "true or false"),
        ({"rate": "nan"}, "of type float"),
        ({"rate": "inf"}, "of type float"),
        ({"epochs": "9" * 5000}, f"not '{'9' * 60}...'"),
        ({"e" * 5000: "1"}, f"unknown setting '{'e' * 60}...' of Sample. `python pipeline.py settings Sample` lists"),
        ("[1]", "must be a JSON object"),
        ("{", "not a JSON object"),
    ],
)
def test_wrong_overrides_say_what_is_wrong(overrides, sentence):
    with pytest.raises(BadSetting, match=sentence.replace("(", r"\(")):
        from_overrides(Sample, overrides)


def test_description_has_a_reason_for_every_field():
    assert all(reason for _, _, _, reason in describe(Sample))
