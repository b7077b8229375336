import json
import re

import pytest

from components.common.files import write_json
from components.runs.advice import next_steps
from components.runs.evaluation_view import headline
from components.runs.plots import DARK, LIGHT, line_chart
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
COMMAND = "python pipeline.py run --source parquet --data x"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "runs" / "run-1"
    start_run(folder, RunRequest("run-1", "parquet", "x", "mgdspr", {}, COMMAND), "old")
    return folder


def page_of(folder):
    return write_report(folder.parents[1], "run-1").read_text()


def stop(folder, gate, verdict):
    write_records(folder, [record("inspect_inputs"), record(gate, "closed", reason="Too few rows.")])
    write_json(folder / f"{gate}.json", {"gate": gate, "open": False, "reason": "Too few rows.", **verdict})
    return finish_run(folder, "old")


def test_a_stopped_run_says_why_and_what_to_do_before_anything_else(folder):
    alarm = {"name": "prices", "severity": "stop", "accepted": False, "sentence": "Prices doubled."}
    stop(folder, "data_gate", {"alarms": [alarm, {**alarm, "name": "old", "accepted": True}]})
    page = page_of(folder)
    first = re.search(r"<h1>(.*?)</h1>", page).group(1)
    assert first == "The run stopped at the data gate: Too few rows. Nothing that is served changed."
    assert f"{COMMAND} --accept prices</pre>" in page
    assert page.index("--accept prices") < page.index("<nav")
    assert "Prices doubled." in page


def test_the_headline_is_the_first_reason_and_the_others_follow(folder):
    reason = "recall@10 is 0.501 against 0.536. recall@10 on tail queries is 0.4 against 0.5."
    write_records(folder, [record("quality_gate", "closed", reason=reason)])
    finish_run(folder, "old")
    page = page_of(folder)
    assert ": recall@10 is 0.501 against 0.536. Nothing that is served changed.</h1>" in page
    assert '<ul class="more"><li>recall@10 on tail queries is 0.4 against 0.5.</li></ul>' in page


def test_the_command_to_train_longer_names_the_epochs_once(folder):
    start_run(folder, RunRequest("run-1", "parquet", "x", "mgdspr", {}, f"{COMMAND} --set towers.epochs=3"), "old")
    write_records(folder, [record("quality_gate", "closed", reason="No.")])
    commands = [step["command"] for step in next_steps(finish_run(folder, "old"), folder)]
    assert f"{COMMAND} --set towers.epochs=N" in commands


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        ((0.02, 0.01, 0.03), "2.0 points more than the release served before"),
        ((-0.02, -0.03, -0.01), "2.0 points less than the release served before"),
        ((0.02, -0.01, 0.05), "measurably neither more nor less than the release served before"),
    ],
)
def test_the_lead_says_what_changed_and_whether_that_is_sure(difference, said):
    value, low, high = difference
    where = {"against": "current release", "slice": "all", "metric": "recall@10"}
    rows = [{"method": "mgdspr", "slice": "all", "n": 100, "metrics": METRICS}]
    body = {"model": "mgdspr", "rows": rows, "differences": [{**where, "value": value, "low": low, "high": high}]}
    assert headline(body).endswith(f"has 40.0 % among its first ten, {said}.")


@pytest.mark.parametrize(
    ("gate", "named"),
    [("quality_gate", "evaluation.tolerance"), ("infrastructure_gate", "serve --workdir"), ("quality_gate", COMMAND)],
)
def test_each_gate_has_next_steps_of_its_own(folder, gate, named):
    candidate = record("upsert_embeddings", figures={"release": "r2"})
    write_records(folder, [candidate, record(gate, "closed", reason="No.")])
    steps = next_steps(finish_run(folder, "old"), folder)
    assert any(named in step["text"] + step["command"] for step in steps)


def test_a_failed_run_names_the_task_and_shows_the_end_of_its_log(folder):
    write_records(
        folder, [record("inspect_inputs"), record("train_towers", "failed", reason="ValueError: no rows", exit_code=1)]
    )
    (folder / "log.txt").write_text("first\n" * 50 + "Traceback <of> it\n")
    finish_run(folder, "old")
    page = page_of(folder)
    assert "The run failed in train_towers: ValueError: no rows. Nothing that is served changed." in page
    assert "Traceback &lt;of&gt; it" in page
    assert f"<pre>{COMMAND}</pre>" in page


def test_figures_stand_with_their_intervals_and_simulated_is_said(folder):
    done = [record(name) for name in TASKS[:-1]]
    done[0]["figures"] = {"simulated": True}
    write_records(folder, [*done, record(TASKS[-1], figures={"release": "r1"})])
    write_json(folder / "evaluation.json", EVALUATION)
    write_json(folder / "training.json", {"curve": [{"step": 10, "loss": 2.5, "validation": {"recall@10": 0.3}}]})
    finish_run(folder, "r1")
    page = page_of(folder)
    assert "0.400 <small>(0.380 to 0.420)</small>" in page
    assert page.count("simulated data") >= 2
    assert "One note." in page
    assert page.count("<figure>") == page.count(", as a table</summary>") == 4


def test_a_run_whose_tasks_were_all_reused_still_says_simulated(folder):
    write_records(folder, [record("data_gate", figures={"verdict": {"simulated": True}})])
    assert finish_run(folder, "old", "ended")["simulated"] is True


def test_text_from_data_is_never_markup(folder):
    write_records(folder, [record("inspect_inputs", notes=["<script>alert(1)</script>"])])
    write_json(folder / "evaluation.json", EVALUATION)
    product = {"product_id": "p1", "title": "<img src=x>", "engaged": True}
    entry = {"query": "<i>lamp", "searches": 2, "model": 0.5, "current": 0.1,
             "example": {"user_id": "<u>", "engaged": 1, "model": [product], "current": []}}  # fmt: skip
    body = {"metric": "ndcg@10", "searches": 9, "better": 1, "worse": 0, "same": 8, "shared": 5.0}
    write_json(folder / "changes.json", {**body, "wins": [entry], "losses": []})
    finish_run(folder, None, "failed")
    page = page_of(folder)
    for text in ("<script>alert(1)", "<b>mgdspr</b>", "<img", "<i>lamp", "<u>"):
        assert text not in page
    assert "&lt;img src=x&gt;" in page


def test_a_release_from_before_an_update_does_not_keep_the_report_from_being_written(folder):
    stop(folder, "data_gate", {})
    write_json(folder.parents[1] / "releases" / "20260101-030405-aaaaaa" / "release.json", {"format": 0})
    assert "Too few rows." in page_of(folder)


def test_the_page_asks_nothing_of_another_host(folder):
    write_json(folder / "evaluation.json", EVALUATION)
    finish_run(folder, None, "failed")
    page = page_of(folder)
    for text in ("src=", "@import", "<link", "url(http", "<script"):
        assert text not in page


def test_series_can_be_told_apart_on_a_light_and_a_dark_page():
    for colours, paper in ((LIGHT, "#ffffff"), (DARK, "#14171a")):
        for colour in colours:
            assert contrast(colour, paper) >= 3, (colour, paper)


def contrast(one, two):
    """WCAG 2.2's contrast ratio."""

    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def test_a_chart_keeps_its_figures_and_takes_the_pages_colours():
    chart = line_chart("Loss", {"one": [(1, 0.5), (2, 0.25)], "two": [(2, 4.0)], "none": []}, ("step", "loss"))
    assert chart.head == ["step", "one", "two"]
    assert chart.rows == [["1", "0.5", "-"], ["2", "0.25", "4"]]
    for svg in chart.svg.values():
        assert "var(--series-0)" in svg
        assert "var(--series-1)" in svg
        assert not re.search(r"#[0-9a-f]{6}\b", svg.replace("#ffffff", ""))
    assert line_chart("Loss", {"one": []}, ("step", "loss")) is None


def test_ids_of_two_charts_on_one_page_differ():
    charts = [line_chart("Loss", {"one": [(1, value)]}, ("step", "loss")) for value in (0.5, 0.6)]
    first, second = (set(re.findall(r'\bid="([^"]+)"', chart.svg["wide"])) for chart in charts)
    assert first
    assert not first & second
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', charts[0].svg["wide"]))
    assert {name for pair in used for name in pair if name} <= first


def test_settings_of_the_run_are_shown(tmp_path):
    folder = tmp_path / "runs" / "run-1"
    start_run(folder, RunRequest("run-1", "parquet", "x", "mgdspr", {"towers.epochs": "3"}), None)
    finish_run(folder, None, "failed")
    assert json.loads((folder / "run.json").read_text())["command"] == ""
    assert "towers.epochs=3" in page_of(folder)
