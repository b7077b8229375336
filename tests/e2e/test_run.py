"""The whole loop as a user runs it: one run, a second one, the three gates, a kill, and what is served meanwhile."""

import json
import shutil
import subprocess
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.runs.state import TASKS
from tests.e2e.conftest import ROOT, SMALL, kill_group

pytestmark = pytest.mark.e2e

FEWER_PARTS = ("towers.history=false", "towers.mgs=false", "towers.seed=5")
"""Another model than the shop's, exported in a third of the time, for tests that say nothing of what towers read."""


def states(run):
    return {task["task"]: task["state"] for task in run["tasks"]}


def test_a_run_serves_a_release_and_says_what_it_did(shop):
    run = shop.latest_run()
    assert run["state"] == "succeeded"
    assert run["simulated"] is True
    assert [task["task"] for task in run["tasks"]] == list(TASKS)
    assert set(states(run).values()) == {"done"}
    assert run["release"] == shop.current()


def test_the_evaluation_stands_beside_its_baselines_with_intervals(shop):
    folder = max((shop.workdir / "runs").iterdir())
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["simulated"] is True
    rows = {row["method"]: row for row in evaluation["rows"] if row["slice"] == "all"}
    assert {"random", "popularity", "bm25", "mgdspr"} <= set(rows)
    for row in rows.values():
        metric = row["metrics"]["recall@10"]
        assert metric["low"] <= metric["value"] <= metric["high"]
    assert rows["mgdspr"]["metrics"]["recall@10"]["low"] > rows["random"]["metrics"]["recall@10"]["high"]


def test_the_report_is_one_file_that_says_simulated(shop):
    folder = max((shop.workdir / "runs").iterdir())
    page = (folder / "report.html").read_text()
    assert "The run succeeded" in page
    assert "simulated data" in page
    assert "<script src" not in page
    for part in (
        "What to do next", "Each day of the log", "From shown to ordered", "Recall against K", "Training loss",
        "recall@10 by kind of search", "Index: recall against latency", "Latency by stage", "the shopper&#39;s history",
    ):  # fmt: skip
        assert part in page, part
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")


def test_the_server_answers_with_the_current_release(server):
    assert server.served_release() == server.current()


def test_an_unchanged_log_reuses_what_it_may(server):
    before = server.current()
    code, run = server.run()
    assert code == 0, run["reason"]
    found = states(run)
    for task in ("load_log", "validate_logs", "build_features", "train_towers"):
        assert found[task] == "reused", task
    for task in ("materialise_features", "upsert_embeddings", "smoke_test", "promote_release"):
        assert found[task] == "done", task
    assert server.current() == run["release"] != before


def test_a_bad_log_stops_at_the_data_gate(server, tmp_path):
    logs = sorted((server.workdir / "outputs").glob("*/load-log/log"))
    shutil.copytree(logs[-1], tmp_path / "log")
    for path in (tmp_path / "log" / "events").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        column = table.schema.get_field_index("product_id")
        pq.write_table(table.set_column(column, "product_id", pa.array(["nobody"] * len(table))), path)
    served = server.current()
    code, run = server.run("--source", "parquet", "--data", str(tmp_path / "log"))
    assert (code, run["state"], run["gate"]) == (3, "stopped", "data_gate")
    assert run["reason"]
    assert states(run)["build_features"] == "not reached"
    assert server.current() == server.served_release() == served


def test_a_worse_model_stops_at_the_quality_gate(server):
    served = server.current()
    code, run = server.run(settings=("towers.learning_rate=0.0000001", "towers.epochs=1", *FEWER_PARTS))
    assert (code, run["state"], run["gate"]) == (3, "stopped", "quality_gate")
    assert "recall@10" in run["reason"]
    assert states(run)["upsert_embeddings"] == "not reached"
    assert server.current() == server.served_release() == served


def test_a_server_that_fails_its_smoke_test_stops_at_the_infrastructure_gate(server):
    served = server.current()
    code, run = server.run(settings=("serving.smoke_p99_ms=0.001",))
    assert (code, run["state"], run["gate"]) == (3, "stopped", "infrastructure_gate")
    assert states(run)["promote_release"] == "not reached"
    assert server.current() == server.served_release() == served


def test_a_killed_run_changes_nothing_and_the_next_one_completes(server):
    served = server.current()
    process = subprocess.Popen(
        server.words("run", settings=(*SMALL, *FEWER_PARTS)), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "train_towers" in line:
            break
    busy = server.command("run")
    assert busy.returncode == 4
    assert f"process {process.pid}" in busy.stderr
    kill_group(process)
    threading.Event().wait(1.0)  # its task notices within a fraction of this
    assert server.current() == server.served_release() == served
    code, run = server.run(settings=FEWER_PARTS)
    assert code == 0, run["reason"]
    killed = [json.loads(path.read_text()) for path in server.workdir.glob("runs/*/run.json")]
    assert "killed" in {item["state"] for item in killed}
    assert server.current() == run["release"]


def test_rollback_serves_the_release_before(server):
    latest = server.current()
    done = server.command("rollback", "--json")
    assert done.returncode == 0, done.stderr
    assert server.current() == json.loads(done.stdout)["release"] != latest


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "--source", "nope"], "unknown source 'nope'"),
        (["run", "--model", "nope"], "unknown model 'nope'"),
        (["run", "--source", "parquet", "--data", "/does/not/exist"], "/does/not/exist does not exist"),
        (["run", "--source", "parquet"], "needs --data"),
        (["run", "--set", "towers.epoch=3"], "Did you mean 'epochs'"),
        (["run", "--set", "epochs=3"], "room.setting=value"),
        (["rollback", "no-such-release"], "no-such-release"),
        (["schedule", "--cron", "often", "--local"], "minute hour day month weekday"),
        (["submit"], "--host"),
        (["upsert", "--products", "/does/not/exist"], "/does/not/exist"),
    ],
)
def test_a_mistake_is_one_sentence_without_traceback(shop, words, sentence):
    done = shop.command(*words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
