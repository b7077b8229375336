import json
import os
import re
import shlex
import subprocess
import threading
from pathlib import Path

import pytest

from components.common.errors import BadSetting
from components.common.files import read_json, write_json
from components.releases.operations import list_releases
from components.runs.commands import build_parser, main
from components.runs.console import RunConsole
from components.runs.options import run_command
from components.runs.settings import ROOMS
from components.runs.show import announce_server, print_releases, print_search
from components.runs.state import RunRequest, finish_run, settle_killed_runs, start_run
from tests.runs.test_state import record, write_records

ANSWER = {
    "products": [{"product_id": "p1", "title": "Oak [bold] shelf", "brand": "Norvik", "score": 0.5}],
    "release": "20260102-030405-abc123",
    "degraded": False,
}


def test_every_command_has_help_with_an_example(capsys):
    parser = build_parser()
    actions = next(action for action in parser._actions if action.dest == "command")
    for name in actions.choices:
        with pytest.raises(SystemExit) as ended:
            parser.parse_args([name, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert re.search(rf"examples?:\s+(source <\()?python pipeline\.py {name}", text)
        assert "exit codes: 0 done" in text
        prints_data = name not in ("serve", "completion")
        assert ("--json" in text) == prints_data


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["seach", "x"],
            "unknown command 'seach'. Did you mean `search`? `python pipeline.py --help` lists the commands.",
        ),
        (["run", "--acept", "x"], "unknown option '--acept'. Did you mean `--accept`? `python pipeline.py run --help`"),
        (["search"], "arguments are required: query; `python pipeline.py search --help` has examples."),
        (["serve", "--port", "abc"], "invalid int value: 'abc'; `python pipeline.py serve --help` has examples."),
        (["completion", "fish"], "(choose from 'bash', 'zsh', 'tcsh')"),
    ],
)
def test_a_wrong_word_is_one_sentence_with_the_next_step(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(lambda **_: None, words)
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert said in text
    assert len(text.strip().splitlines()) == 1


def test_without_a_word_the_help_is_shown(capsys):
    with pytest.raises(SystemExit) as ended:
        main(lambda **_: None, [])
    assert ended.value.code == 2
    assert "list the releases" in capsys.readouterr().err


def test_an_unknown_alarm_is_refused_before_anything_runs(tmp_path, capsys):
    assert main(lambda **_: None, ["run", "--workdir", str(tmp_path / "w"), "--accept", "prcies"]) == 2
    assert "Did you mean 'prices'" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_a_store_that_a_later_task_would_miss_is_refused_before_anything_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TOWERLINE_MILVUS_URI", "nonsense")
    assert main(lambda **_: None, ["run", "--workdir", str(tmp_path / "w")]) == 2
    assert "TOWERLINE_MILVUS_URI must be a URI" in capsys.readouterr().err
    monkeypatch.delenv("TOWERLINE_MILVUS_URI")
    monkeypatch.setenv("TOWERLINE_REDIS", "")
    assert main(lambda **_: None, ["run", "--workdir", str(tmp_path / "w"), "--environment", "redis"]) == 2
    assert "needs the variable TOWERLINE_REDIS" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("words", [["canary", "--stop"], ["canary", "r1", "--share", "5"], ["demo"], ["rollback"]])
def test_a_work_directory_that_was_mistyped_is_not_made(tmp_path, capsys, words):
    assert main(lambda **_: None, [*words, "--workdir", str(tmp_path / "w")]) == 2
    assert f"python pipeline.py run --workdir {tmp_path / 'w'}" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_a_work_directory_that_is_a_file_and_a_word_that_is_no_text_are_refused(tmp_path, capsys):
    (tmp_path / "w").touch()
    assert main(lambda **_: None, ["runs", "--workdir", str(tmp_path / "w")]) == 2
    assert "is a file; name a directory" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(lambda **_: None, ["search", os.fsdecode(b"\xff")])
    assert ended.value.code == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_a_run_asked_for_colours_without_a_terminal_keeps_its_progress_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = RunConsole(tmp_path)
    assert console.console.is_terminal
    assert console.progress_target() == str(tmp_path / "progress.log")


def test_a_sentence_does_not_name_its_command_twice(tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise BadSetting('the search: "query" is empty.')

    monkeypatch.setattr("components.serving.client.search", fail)
    assert main(lambda **_: None, ["search", "", "--workdir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == 'search: "query" is empty.\n'


@pytest.fixture
def stopped(tmp_path):
    """A work directory with one run that stopped at the quality gate."""
    folder = tmp_path / "runs" / "run-20260102-030405-1"
    start_run(
        folder, RunRequest(folder.name, "parquet", "x", "mgdspr", {}, "python pipeline.py run --model ueppr"), "r1"
    )
    write_records(
        folder, [record("inspect_inputs"), record("quality_gate", "closed", reason="recall@10 fell [by .1].")]
    )
    finish_run(folder, "r1")
    return tmp_path


def test_runs_says_how_each_ended_and_latest_what_to_do(stopped, capsys):
    assert main(lambda **_: None, ["runs", "--workdir", str(stopped)]) == 0
    line = next(text for text in capsys.readouterr().out.splitlines() if "run-20260102-030405-1" in text)
    assert "stopped" in line
    assert "recall@10 fell [by .1]." in line
    assert main(lambda **_: None, ["runs", "latest", "--workdir", str(stopped)]) == 0
    shown = capsys.readouterr().out
    assert "python pipeline.py run --model ueppr --set towers.epochs=N" in shown
    assert "report.html" not in shown  # there is none
    (stopped / "runs" / "run-20260102-030405-1" / "report.html").touch()
    main(lambda **_: None, ["runs", "latest", "--workdir", str(stopped)])
    assert "run-20260102-030405-1/report.html" in capsys.readouterr().out
    assert main(lambda **_: None, ["runs", "run-2", "--workdir", str(stopped)]) == 2
    assert "there is no run 'run-2'" in capsys.readouterr().err


def test_the_latest_of_no_runs_names_the_command_that_makes_one(tmp_path, capsys):
    assert main(lambda **_: None, ["runs", "latest", "--workdir", str(tmp_path)]) == 2
    assert f"holds no run; `python pipeline.py run --workdir {tmp_path}` makes the first." in capsys.readouterr().err


def test_a_run_that_goes_on_is_shown_as_far_as_it_is_and_a_dead_one_as_killed(stopped, capsys):
    folder = stopped / "runs" / "run-20260103-000000-1"
    start_run(folder, RunRequest(folder.name, "parquet", "x", "mgdspr", {}), "r1")
    write_records(folder, [record("inspect_inputs"), record("load_log", "running")])
    main(lambda **_: None, ["runs", "latest", "--json", "--workdir", str(stopped)])
    shown = json.loads(capsys.readouterr().out)
    assert shown["state"] == "running"
    assert [task["state"] for task in shown["tasks"]][:3] == ["done", "running", "not reached"]
    body = read_json(folder / "run.json")
    with subprocess.Popen(["true"]) as ended:
        body["pid"] = ended.pid
    write_json(folder / "run.json", body)
    main(lambda **_: None, ["runs", "--json", "--workdir", str(stopped)])
    assert [run["state"] for run in json.loads(capsys.readouterr().out)] == ["killed", "stopped"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": "running"}'])
def test_a_damaged_run_hides_no_other_and_ends_no_later_one(stopped, capsys, text):
    folder = stopped / "runs" / "run-20260103-000000-1"
    folder.mkdir()
    (folder / "run.json").write_text(text)
    assert settle_killed_runs(stopped) == []
    assert main(lambda **_: None, ["runs", "--workdir", str(stopped)]) == 0
    shown = capsys.readouterr().out
    assert "recall@10 fell" in shown
    assert f"{folder / 'run.json'} cannot be read; delete its folder." in shown
    assert main(lambda **_: None, ["runs", folder.name, "--workdir", str(stopped)]) == 0
    capsys.readouterr()
    main(lambda **_: None, ["runs", "latest", "--json", "--workdir", str(stopped)])
    assert json.loads(capsys.readouterr().out)["state"] == "stopped"


def test_a_pipe_gets_plain_lines_and_json_what_it_can_parse(stopped, capsys):
    main(lambda **_: None, ["runs", "--workdir", str(stopped)])
    assert not set(capsys.readouterr().out) & set("│┃━─\x1b")
    main(lambda **_: None, ["runs", "--json", "--workdir", str(stopped)])
    assert [run["state"] for run in json.loads(capsys.readouterr().out)] == ["stopped"]
    main(lambda **_: None, ["runs", "latest", "--json", "--workdir", str(stopped)])
    assert json.loads(capsys.readouterr().out)["gate"] == "quality_gate"


def test_settings_are_listed_with_their_defaults_and_reasons(capsys):
    assert main(lambda **_: None, ["settings", "evaluation"]) == 0
    assert "evaluation.tolerance" in capsys.readouterr().out
    assert main(lambda **_: None, ["settings", "--json", "--model", "ueppr"]) == 0
    rooms = json.loads(capsys.readouterr().out)
    assert set(rooms) == set(ROOMS)
    assert all(row["reason"] for rows in rooms.values() for row in rows)
    assert main(lambda **_: None, ["settings", "evalation"]) == 2
    assert "unknown room 'evalation'" in capsys.readouterr().err


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


def test_a_schedule_is_refused_at_once_when_its_nights_would_fail(tmp_path, capsys):
    start = ["schedule", "--local", "--workdir", str(tmp_path)]
    assert main(lambda **_: None, [*start, "--data", str(tmp_path)]) == 2
    assert "needs the --source that reads it" in capsys.readouterr().err
    assert main(lambda **_: None, [*start, "--set", "evaluation.language=deutsch"]) == 2
    assert "'deutsch' has no stemmer; known: none, " in capsys.readouterr().err
    assert main(lambda **_: None, [*start, "--set", "towers.title_units=trigrams"]) == 2
    assert "must be one or more of words, " in capsys.readouterr().err


def test_the_terminal_is_told_where_the_page_is(tmp_path, capsys):
    announce_server(tmp_path)
    write_json(tmp_path / "server.json", {"pid": os.getpid(), "url": "http://127.0.0.1:8080"})
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "announce")
    thread.join(10)
    said = capsys.readouterr().err
    assert "takes some seconds" in said
    assert "the search page is at http://127.0.0.1:8080/ (Ctrl-C stops the server)" in said


def test_a_search_is_shown_with_its_release_and_markup_in_titles_is_text(capsys):
    print_search(ANSWER, "oak [shelf]", None, as_json=False)
    shown = capsys.readouterr().out
    assert "Oak [bold] shelf" in shown
    assert "release 20260102-030405-abc123" in shown
    assert "anonymous" in shown


def test_json_is_printed_as_it_is(capsys):
    print_search(ANSWER, "oak", "u1", as_json=True)
    assert json.loads(capsys.readouterr().out) == ANSWER
    print_releases([], Path(), as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_a_broken_release_is_listed_with_what_is_wrong(tmp_path, capsys):
    folder = tmp_path / "releases" / "20260501-030000-aaaaaa"
    folder.mkdir(parents=True)
    write_json(folder / "release.json", {"format": 1})
    print_releases(list_releases(tmp_path), tmp_path, as_json=False)
    table, _, problem = capsys.readouterr().out.partition("release 20260501-030000-aaaaaa has format 1")
    assert "broken" in table
    assert "real" not in table
    assert "an older Towerline" in problem


def test_releases_says_when_the_served_one_is_gone(tmp_path, capsys):
    folder = tmp_path / "releases" / "20260501-030000-aaaaaa"
    folder.mkdir(parents=True)
    (folder / "release.json").write_text("{}")
    (tmp_path / "current").write_text("20260502-030000-bbbbbb")
    assert main(lambda **_: None, ["releases", "--json", "--workdir", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)[0]["release_id"] == folder.name
    assert "names '20260502-030000-bbbbbb', which is no release that is there" in shown.err


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_narrow_terminal_shows_ids_whole(tmp_path, capsys, monkeypatch, columns):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", columns)
    folder = tmp_path / "releases" / "20260501-030000-aaaaaa"
    folder.mkdir(parents=True)
    (folder / "release.json").write_text("{}")
    print_releases(list_releases(tmp_path), tmp_path, as_json=False)
    table, _, _ = capsys.readouterr().out.partition(str(folder))
    assert folder.name in table
