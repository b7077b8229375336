import pytest

from components.common.files import write_json
from components.runs.report import write_report
from components.runs.state import TASKS, RunRequest, finish_run, start_run
from tests.runs.test_state import record, write_records

METRICS = {
    "recall@10": {"value": 0.4, "low": 0.38, "high": 0.42},
    "recall@100": {"value": 0.7, "low": 0.68, "high": 0.72},
}
EVALUATION = {
    "simulated": True, "split": "time", "catalogue": 1000, "notes": ["One note."],
    "rows": [
        {"method": "bm25", "slice": "all", "n": 100, "metrics": METRICS},
        {"method": "<b>mgdspr</b>", "slice": "all", "n": 100, "metrics": {"recall@10": METRICS["recall@10"]}},
        {"method": "bm25", "slice": "tail queries", "n": 10, "metrics": METRICS},
    ],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "runs" / "run-1"
    start_run(folder, RunRequest("run-1", "parquet", "x", "mgdspr", {}), None)
    return folder


def page_of(folder):
    return write_report(folder.parents[1], "run-1").read_text()


def test_a_stopped_run_says_why_before_anything_else(folder):
    write_records(folder, [record("inspect_inputs"), record("data_gate", "closed", reason="Too few rows.")])
    finish_run(folder, "old")
    page = page_of(folder)
    assert "The run stopped at the data gate: Too few rows. Nothing that is served changed." in page
    assert page.index("Too few rows.") < page.index("<h2>")


def test_figures_stand_with_their_intervals_and_simulated_is_said(folder):
    done = [record(name) for name in TASKS[:-1]]
    done[0]["figures"] = {"simulated": True}
    write_records(folder, [*done, record(TASKS[-1], figures={"release": "r1"})])
    write_json(folder / "evaluation.json", EVALUATION)
    write_json(folder / "training.json", {"curve": [{"step": 10, "loss": 2.5, "validation": {"recall@10": 0.3}}]})
    finish_run(folder, "r1")
    page = page_of(folder)
    assert "0.400 (0.380 to 0.420)" in page
    assert page.count("simulated data") >= 2
    assert "<svg" in page
    assert "One note." in page


def test_text_from_data_is_never_markup(folder):
    write_records(folder, [record("inspect_inputs", notes=["<script>alert(1)</script>"])])
    write_json(folder / "evaluation.json", EVALUATION)
    finish_run(folder, None, "failed")
    page = page_of(folder)
    assert "<script>alert(1)" not in page
    assert "<b>mgdspr</b>" not in page.replace("&lt;b&gt;", "")


def test_the_page_asks_nothing_of_another_host(folder):
    finish_run(folder, None, "failed")
    page = page_of(folder)
    assert "src=" not in page
    assert "@import" not in page
    assert "<link" not in page
