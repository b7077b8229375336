import json
import os

from components.runs.outputs import KEEP_DAYS, KEEP_RUNS, forget_changed_outputs, remove_old_outputs


def make_entry(outputs, key, run, content="x"):
    path = outputs / run / "task" / "log"
    path.mkdir(parents=True)
    (path / "f").write_text(content)
    cache = outputs / ".kfp_cache"
    cache.mkdir(exist_ok=True)
    (cache / f"{key}.json").write_text(json.dumps({"log": {"__kfp_artifact__": True, "uri": str(path)}, "n": 1}))
    return path


def test_an_output_changed_in_place_is_never_reused(tmp_path):
    path = make_entry(tmp_path, "k1", "run-a")
    assert forget_changed_outputs(tmp_path) == []
    (path / "f").write_text("changed")
    assert forget_changed_outputs(tmp_path) == [str(path)]
    assert not list((tmp_path / ".kfp_cache").glob("*"))


def test_an_output_changed_after_the_run_that_made_it_is_never_reused(tmp_path):
    path = make_entry(tmp_path, "k1", "run-a")
    remove_old_outputs(tmp_path)
    (path / "f").write_text("changed")
    assert forget_changed_outputs(tmp_path) == [str(path)]


def test_an_unchanged_output_stays_cached(tmp_path):
    make_entry(tmp_path, "k1", "run-a")
    assert forget_changed_outputs(tmp_path) == forget_changed_outputs(tmp_path) == []
    assert (tmp_path / ".kfp_cache" / "k1.json").exists()


def test_outputs_that_nothing_needs_are_removed_and_cached_ones_kept(tmp_path):
    make_entry(tmp_path, "k1", "run-0")
    for number in range(1, KEEP_RUNS + 3):
        (tmp_path / f"run-{number}").mkdir()
    remove_old_outputs(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir() if path.name != ".kfp_cache")
    assert left == ["run-0", "run-3", "run-4", "run-5"]


def test_old_cache_entries_go_with_their_outputs(tmp_path):
    make_entry(tmp_path, "k1", "run-0")
    for number in range(1, KEEP_RUNS + 1):
        (tmp_path / f"run-{number}").mkdir()
    forget_changed_outputs(tmp_path)
    os.utime(tmp_path / ".kfp_cache" / "k1.json", (0, 0))
    assert KEEP_DAYS > 0
    remove_old_outputs(tmp_path)
    assert not (tmp_path / "run-0").exists()


def test_an_entry_that_a_power_cut_tore_is_dropped_and_ends_nothing(tmp_path):
    make_entry(tmp_path, "k1", "run-a")
    for key, text in (("k2", ""), ("k3", '{"log": {"__kfp_art'), ("k4", '{"log": {"__kfp_artifact__": true}}')):
        (tmp_path / ".kfp_cache" / f"{key}.json").write_text(text)
    assert len(forget_changed_outputs(tmp_path)) == 3
    remove_old_outputs(tmp_path)
    assert [path.name for path in (tmp_path / ".kfp_cache").glob("*.json")] == ["k1.json"]
