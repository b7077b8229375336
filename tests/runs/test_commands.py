import json
import shlex

import pytest

from components.common.errors import BadSetting
from components.runs.commands import build_parser, main, run_command
from components.runs.settings import ROOMS, describe_all, parse_assignments, pipeline_arguments
from components.runs.show import print_releases, print_search

ANSWER = {
    "products": [{"product_id": "p1", "title": "Oak [bold] shelf", "brand": "Norvik", "score": 0.5}],
    "release": "20260102-030405-abc123",
    "degraded": False,
}


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
        ("logs.products=10", "between 1,000"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(text, sentence):
    with pytest.raises(BadSetting, match=sentence):
        parse_assignments([text])


def test_every_setting_of_every_room_has_a_reason():
    for room, rows in describe_all().items():
        for name, _, _, reason in rows:
            assert reason, f"{room}.{name}"


def test_every_command_has_help_with_an_example(capsys):
    parser = build_parser()
    actions = next(action for action in parser._actions if action.dest == "command")
    for name in actions.choices:
        with pytest.raises(SystemExit) as ended:
            parser.parse_args([name, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert name == "completion" or f"example: python pipeline.py {name}" in text


def test_an_expected_error_is_one_sentence_and_its_exit_code(tmp_path, capsys):
    code = main(lambda **_: None, ["rollback", "--workdir", str(tmp_path)])
    assert code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_command_that_runs_the_same_again_names_what_is_not_usual():
    words = ["run", "--source", "parquet", "--data", "my log/", "--set", "towers.epochs=3", "--set", "towers.seed=5"]
    again = run_command(build_parser().parse_args([*words, "--json"]))
    assert again == f"python pipeline.py {shlex.join(words)}"
    nightly = build_parser().parse_args(["schedule", "--local", "--accept", "prices", "--workdir", "w"])
    assert run_command(nightly) == "python pipeline.py run --workdir w --accept prices"


def test_a_schedule_needs_exactly_one_place(capsys):
    assert main(lambda **_: None, ["schedule"]) == 2
    assert main(lambda **_: None, ["schedule", "--local", "--host", "http://127.0.0.1:9"]) == 2
    assert "either --host URL" in capsys.readouterr().err


def test_completion_names_the_commands(capsys):
    assert main(lambda **_: None, ["completion", "bash"]) == 0
    assert "rollback" in capsys.readouterr().out


def test_a_search_is_shown_with_its_release_and_markup_in_titles_is_text(capsys):
    print_search(ANSWER, "oak [shelf]", None, as_json=False)
    shown = capsys.readouterr().out
    assert "Oak [bold] shelf" in shown
    assert "release 20260102-030405-abc123" in shown
    assert "anonymous" in shown


def test_json_is_printed_as_it_is(capsys):
    print_search(ANSWER, "oak", "u1", as_json=True)
    assert json.loads(capsys.readouterr().out) == ANSWER
    print_releases([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []
