"""`check` says what a run's first tasks would: rows, verdict, where to look; and leaves what is served alone."""

import json

import pytest

from components.common.lock import workdir_lock
from components.runs.commands import main
from tests.logs.test_contract import write_log
from tests.validation.shop import write_shop

QUICK = ("--set", "validation.expectations=false")


def check(workdir, data, *words):
    return main(lambda **_: None, ["check", "--workdir", str(workdir), "--data", str(data), *QUICK, *words])


def test_a_sound_log_is_told_by_rows_and_nothing_but_the_check_is_written(tmp_path, capsys):
    write_shop(tmp_path / "log")
    assert check(tmp_path / "work", tmp_path / "log") == 0
    shown = capsys.readouterr()
    assert "searches: 1," in shown.out
    assert "The log is sound" in shown.out
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["check"]
    assert (tmp_path / "work" / "check" / "report.html").exists()


def test_a_log_that_would_close_the_gate_ends_with_its_code_and_names_the_quarantine(tmp_path, capsys):
    write_log(tmp_path / "log")
    assert check(tmp_path / "work", tmp_path / "log", "--json") == 3
    shown = capsys.readouterr()
    verdict = json.loads(shown.out)
    assert verdict["open"] is False
    assert "few_products" in verdict["alarms"]
    assert "validate_logs:" in shown.err


def test_two_checks_of_one_work_directory_do_not_write_into_each_other(tmp_path, capsys):
    write_shop(tmp_path / "log")
    with workdir_lock(tmp_path / "work" / "check", "check"):
        assert check(tmp_path / "work", tmp_path / "log") == 4
    assert f"{tmp_path}/work/check is held by process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--set", "towers.epochs=1"), "a check takes settings of logs and validation, not towers.epochs"),
        (("--accept", "weather"), "unknown alarm 'weather'"),
        (("--source", "csv"), "unknown source 'csv'"),
    ],
)
def test_a_wrong_word_is_one_sentence(tmp_path, capsys, words, sentence):
    write_log(tmp_path / "log")
    assert check(tmp_path / "work", tmp_path / "log", *words) == 2
    assert sentence in capsys.readouterr().err
