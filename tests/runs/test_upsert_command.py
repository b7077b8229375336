"""`upsert` takes the settings of the rooms it works in, and no others."""

import json

import pytest

from components.runs.commands import main


@pytest.fixture
def given(monkeypatch):
    """The settings that reach `upsert_and_promote`, once it was called."""
    settings = {}

    def upsert_and_promote(workdir, products, index_settings, serving_settings, share):
        print("upsert_products: a note of a task.")
        settings.update(index=json.loads(index_settings), serving=json.loads(serving_settings))
        return "release-1"

    monkeypatch.setattr("components.releases.operations.upsert_and_promote", upsert_and_promote)
    return settings


def upsert(tmp_path, *words):
    return main(lambda **_: None, ["upsert", "--workdir", str(tmp_path), "--products", "new.parquet", *words])


def test_settings_go_to_the_index_and_to_the_gate_and_a_typed_one_wins_over_the_file(tmp_path, given):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"index.precision": "int8", "serving.smoke_p99_ms": 900}))
    assert upsert(tmp_path, "--settings", str(file), "--set", "index.precision=float16") == 0
    assert given == {"index": {"precision": "float16"}, "serving": {"smoke_p99_ms": "900"}}


def test_without_settings_the_release_keeps_its_own(tmp_path, given):
    assert upsert(tmp_path) == 0
    assert given == {"index": {}, "serving": {}}


def test_a_setting_of_training_is_refused(tmp_path, given, capsys):
    assert upsert(tmp_path, "--set", "towers.epochs=3") == 2
    assert "not towers.epochs; that one needs a run." in capsys.readouterr().err
    assert given == {}


def test_json_is_alone_on_standard_output(tmp_path, given, capsys):
    assert upsert(tmp_path, "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"release": "release-1"}
    assert "a note of a task" in shown.err
