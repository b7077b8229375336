"""The settings of a run: words and files of the user, checked before anything runs."""

import json

import pytest

from components.common.errors import BadSetting
from components.runs.commands import main
from components.runs.settings import ROOMS, describe_all, parse_assignments, pipeline_arguments, read_assignments


def test_settings_are_checked_by_room_and_model():
    values = parse_assignments(["towers.epochs=3", "logs.products=2000"])
    assert values == {"towers.epochs": "3", "logs.products": "2000"}
    arguments = pipeline_arguments(values)
    assert json.loads(arguments["tower_settings"]) == {"epochs": "3"}
    assert json.loads(arguments["index_settings"]) == {}
    assert set(arguments) == {parameter for _, _, parameter in ROOMS.values()}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epochs=3", "room.setting=value"),
        ("towers.epochs", "room.setting=value"),
        ("tower.epochs=3", "unknown room 'tower'"),
        ("towers.epoch=3", "Did you mean 'epochs'"),
        ("towers.epochs=0", "1 or more"),
        (" towers . epochs = 0 ", "1 or more"),
        ("towers.epochs=many", "towers.epochs must be of type int"),
        ("=3", "room.setting=value"),
        (".epochs=3", "room.setting=value"),
        ("logs.products=10", "between 1,000"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(text, sentence):
    with pytest.raises(BadSetting, match=sentence):
        parse_assignments([text])


def test_a_settings_file_is_taken_and_set_wins_over_it(tmp_path):
    path = tmp_path / "shop.json"
    path.write_text('{"towers.epochs": 3, "towers.title_units": ["words", "stems"], "towers.item_side": false}')
    values = parse_assignments([*read_assignments(path), "towers.epochs=4"])
    assert values == {"towers.epochs": "4", "towers.title_units": "words,stems", "towers.item_side": "false"}


def test_a_run_checks_its_settings_file(tmp_path, capsys):
    path = tmp_path / "shop.json"
    for text, sentence in (
        ('{"towers.epoch": 3}', "Did you mean 'epochs'"),
        ("[1]", "must hold a JSON object"),
        ('{"towers": {"epochs": 3}}', "'towers' holds an object; name each setting whole"),
        ("{", "is not valid JSON"),
    ):
        path.write_text(text)
        assert main(None, ["run", "--workdir", str(tmp_path / "w"), "--settings", str(path)]) == 2
        assert sentence in capsys.readouterr().err
    for path, sentence in ((tmp_path / "none.json", "does not exist"), (tmp_path, "is a directory")):
        assert main(None, ["run", "--workdir", str(tmp_path / "w"), "--settings", str(path)]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_blanks_around_a_setting_are_none_of_it():
    values = parse_assignments([" towers . epochs = 3 "])
    assert values == {"towers.epochs": "3"}
    assert json.loads(pipeline_arguments(values)["tower_settings"]) == {"epochs": "3"}


def test_every_setting_of_every_room_has_a_reason():
    for room, rows in describe_all().items():
        for name, _, _, reason in rows:
            assert reason, f"{room}.{name}"


def test_settings_show_defaults_as_set_takes_them():
    defaults = {f"{room}.{name}": default for room, rows in describe_all().items() for name, _, default, _ in rows}
    parse_assignments([f"{name}={default}" for name, default in defaults.items()])
    assert defaults["evaluation.cutoffs"] == "1,10,100,1000"
    assert defaults["evaluation.positive_from"] == "none"
