import os
from datetime import UTC, datetime

from components.common.files import read_json, write_json
from components.runs.state import (
    TASKS,
    RunRequest,
    find_run,
    finish_run,
    list_runs,
    log_tail,
    settle_killed_runs,
    start_run,
    stop_run,
    task_table,
)


def record(task, state="done", **more):
    body = {"task": task, "state": state, "seconds": 1.0, "reason": "", "notes": [], "figures": {}, "peak_bytes": 1}
    body["exit_code"] = {"done": 0, "closed": 3, "failed": 2}.get(state)
    return {**body, **more}


def write_records(folder, records):
    for item in records:
        write_json(folder / "tasks" / f"{item['task']}.json", item)


def test_a_task_without_record_was_reused_when_a_later_one_ran():
    rows = task_table({"inspect_inputs": record("inspect_inputs"), "data_gate": record("data_gate")})
    states = {row["task"]: row["state"] for row in rows}
    assert states["load_log"] == "reused"
    assert states["train_towers"] == "not reached"


def test_the_parallel_parts_of_a_task_are_one_row_that_is_as_bad_as_its_worst_part():
    parts = [record(f"embed_catalogue_{number}_of_3", seconds=float(number)) for number in (1, 2, 3)]
    (row,) = (row for row in task_table({p["task"]: p for p in parts}) if row["task"] == "embed_catalogue")
    assert (row["state"], row["seconds"], row["figures"]) == ("done", 3.0, {"parts": 3})
    parts[1].update(state="failed", reason="a broken vector.")
    (row,) = (row for row in task_table({p["task"]: p for p in parts}) if row["task"] == "embed_catalogue")
    assert (row["state"], row["reason"]) == ("failed", "a broken vector.")


def test_a_closed_gate_stops_the_run_and_gives_its_reason(tmp_path):
    start_run(tmp_path, RunRequest("run-1", "parquet", "x", "mgdspr", {}), "old")
    write_records(tmp_path, [record("inspect_inputs"), record("data_gate", "closed", reason="too few rows.")])
    run = finish_run(tmp_path, "old", "task failed")
    assert (run["state"], run["gate"], run["reason"], run["release"]) == ("stopped", "data_gate", "too few rows.", None)
    assert run["exit_code"] == 3


def test_a_failed_run_ends_with_the_exit_code_of_its_error(tmp_path):
    start_run(tmp_path, RunRequest("run-1", "parquet", "x", "mgdspr", {}), "old")
    write_records(tmp_path, [record("inspect_inputs"), record("load_log", "failed", reason="a column is missing.")])
    assert finish_run(tmp_path, "old", "task failed")["exit_code"] == 2


def test_a_finished_run_names_its_release(tmp_path):
    start_run(tmp_path, RunRequest("run-1", "parquet", "x", "mgdspr", {}), None)
    write_records(tmp_path, [*map(record, TASKS[:-1]), record(TASKS[-1], figures={"release": "r1"})])
    run = finish_run(tmp_path, "r1")
    assert (run["state"], run["release"], run["exit_code"]) == ("succeeded", "r1", 0)
    assert finish_run(tmp_path, "r1")["tasks"] == run["tasks"]


def test_a_task_that_died_without_a_word_fails_the_run(tmp_path):
    start_run(tmp_path, RunRequest("run-1", "parquet", "x", "mgdspr", {}), None)
    write_records(tmp_path, [record("inspect_inputs"), record("train_towers", "running")])
    run = finish_run(tmp_path, None, "task train-towers failed")
    assert (run["state"], run["exit_code"]) == ("failed", 1)
    assert "train_towers" in run["reason"]


def test_a_run_that_was_killed_is_settled_by_the_next(tmp_path):
    folder = tmp_path / "runs" / "run-1"
    start_run(folder, RunRequest("run-1", "parquet", "x", "mgdspr", {}), None)
    body = read_json(folder / "run.json")
    write_json(folder / "run.json", {**body, "pid": 2**22 + 1})
    assert settle_killed_runs(tmp_path) == ["run-1"]
    assert read_json(folder / "run.json")["state"] == "killed"
    assert settle_killed_runs(tmp_path) == []


def begun(workdir, name, started):
    folder = workdir / "runs" / name
    start_run(folder, RunRequest(name, "parquet", "x", "mgdspr", {}), None)
    write_json(folder / "run.json", {**read_json(folder / "run.json"), "state": "failed", "started": started})


def test_the_latest_run_is_the_one_that_began_last_whatever_its_id_and_not_one_of_the_future(tmp_path):
    begun(tmp_path, "f81d4fae", "2026-01-02T00:00:00+00:00")
    begun(tmp_path, "0a1b2c3d", "2026-01-03T00:00:00+00:00")
    begun(tmp_path, "ffffffff", "2199-01-01T00:00:00+00:00")
    assert [run["run"] for run in list_runs(tmp_path)] == ["0a1b2c3d", "f81d4fae", "ffffffff"]
    assert find_run(tmp_path, "latest")[1]["run"] == "0a1b2c3d"


def test_a_run_that_was_killed_after_its_promotion_says_what_is_served(tmp_path):
    folder = tmp_path / "runs" / "run-1"
    start_run(folder, RunRequest("run-1", "parquet", "x", "mgdspr", {}), None)
    write_records(folder, [*map(record, TASKS[:-1]), record(TASKS[-1], figures={"release": "r1"})])
    write_json(folder / "run.json", {**read_json(folder / "run.json"), "pid": 2**22 + 1})
    for run in (find_run(tmp_path, "run-1")[1], settle_killed_runs(tmp_path) and read_json(folder / "run.json")):
        assert (run["state"], run["release"]) == ("killed", "r1")
        assert run["reason"] == "the run was killed after its last task; release r1 is served."


def test_a_run_that_was_stopped_while_it_promoted_says_what_is_served(tmp_path):
    folder = tmp_path / "runs" / "run-1"
    start_run(folder, RunRequest("run-1", "parquet", "x", "mgdspr", {}), "r0")
    upserted = record("upsert_embeddings", figures={"release": "r1"})
    write_records(folder, [upserted, record(TASKS[-1], "killed", exit_code=130)])
    (tmp_path / "current").write_text("r0")
    assert (
        stop_run(folder, 130)["reason"]
        == "the run was stopped by hand in promote_release; nothing that is served changed."
    )
    (tmp_path / "current").write_text("r1")
    run = stop_run(folder, 130)
    assert run["reason"] == "the run was stopped by hand when release r1 was served already."
    assert (run["state"], run["exit_code"], run["release"], run["served_now"]) == ("killed", 130, "r1", "r1")


def test_a_killed_run_took_as_long_as_it_lived(tmp_path):
    folder = tmp_path / "runs" / "run-1"
    start_run(folder, RunRequest("run-1", "parquet", "x", "mgdspr", {}), None)
    write_records(folder, [record("inspect_inputs", "running")])
    begun = datetime(2026, 1, 2, tzinfo=UTC)
    write_json(folder / "run.json", {**read_json(folder / "run.json"), "started": begun.isoformat(), "pid": 2**22 + 1})
    for path in folder.rglob("*.json"):
        os.utime(path, (begun.timestamp() + 90,) * 2)
    assert find_run(tmp_path, "run-1")[1]["seconds"] == 90.0
    settle_killed_runs(tmp_path)
    assert read_json(folder / "run.json")["seconds"] == 90.0


def test_the_tail_of_a_log_has_no_colour_codes(tmp_path):
    (tmp_path / "log.txt").write_text("one\n\nTask \x1b[96m'train-towers'\x1b[0m failed\n")
    assert log_tail(tmp_path, lines=2) == "Task 'train-towers' failed"
