"""The report of what the rooms really write: a log with bad rows through the data gate, towers beside a release."""

import contextlib
import json

import pytest
from markupsafe import escape

from components.common.errors import GateClosed
from components.common.files import write_json
from components.common.gate import pass_gate
from components.evaluation import step as evaluation
from components.evaluation.gate import quality_gate
from components.runs.report import report_context, write_report
from components.runs.state import RunRequest, finish_run, start_run
from components.validation import step as validation
from tests.evaluation.conftest import fake_towers, fake_truth, released, shop, towers  # noqa: F401 - fixtures
from tests.runs.test_report import EVALUATION
from tests.serving.axe import violations
from tests.serving.browser import BINARY, Browser
from tests.validation.corruptions_rows import product_ids_null
from tests.validation.shop import edit, file_of, write_shop


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "work" / "runs" / "run-1"
    monkeypatch.setenv("TOWERLINE_RUN_DIR", str(folder))
    start_run(folder, RunRequest("run-1", "parquet", "x", "fake", {}, "python pipeline.py run"), None)
    return folder


def validate(tmp_path):
    log = tmp_path / "log"
    write_shop(log)
    product_ids_null(log)

    def dearer(columns):
        columns["price"] = [None if price is None else -price for price in columns["price"][:7]] + columns["price"][7:]

    edit(file_of(log, "products"), dearer)
    places = {name: tmp_path / name for name in ("checked", "quarantine", "statistics", "verdict", "report")}
    validation.run(log, **places, settings='{"expectations": "false"}')
    return places["verdict"], places["report"]


def test_the_log_is_shown_with_its_days_and_the_reasons_of_bad_rows(folder, tmp_path):
    verdict, report = validate(tmp_path)
    with contextlib.suppress(GateClosed):  # the report is the same either way
        pass_gate("data_gate", verdict, report)
    finish_run(folder, None, "ended")
    page = write_report(tmp_path / "work", "run-1").read_text()
    body = json.loads(verdict.read_text())
    log = report_context(tmp_path / "work", folder)["log"]
    assert [row[0] for row in log["day_chart"].rows] == [day["day"] for day in body["days"]]
    assert len(log["day_chart"].rows) == 6
    *volumes, warns, stops = log["limit_chart"].rows
    assert [row[0] for row in volumes] == [day["day"] for day in body["days"]]
    assert (warns[:2], stops[:2]) == (["warns beyond", "0.588 or 1.7"], ["stops beyond", "0.333 or 3"])
    assert "Each day&#39;s volume in usual days" in page
    shown, clicked = log["funnel"][:2]
    assert shown["events"] == sum(day["impression"] for day in body["days"]) > clicked["events"] > 0
    assert sum(item["rows"] for item in log["quarantine"]) >= 7
    for item in body["quarantine"]:
        assert str(escape(item["example"])) in page
        assert f'<td>{item["check"]}</td><td class="n">{item["rows"]:,}</td>' in page


@pytest.mark.usefixtures("fake_towers", "fake_truth")
def test_wins_and_losses_stand_side_by_side_with_titles(folder, tmp_path, request):
    examples = request.getfixturevalue("shop").write()
    make = request.getfixturevalue("towers")
    served = request.getfixturevalue("released")(make(noise=2.0, folder="served"))
    settings = json.dumps({"bootstrap_samples": "200"})
    evaluation.run(examples, make(), "", str(tmp_path / "work"), served, tmp_path / "evaluation", settings)
    quality_gate(tmp_path / "evaluation", tmp_path / "blessing.json", settings)
    with contextlib.suppress(GateClosed):
        pass_gate("quality_gate", tmp_path / "blessing.json", tmp_path / "evaluation")
    finish_run(folder, served, "ended")
    page = write_report(tmp_path / "work", "run-1").read_text()
    moved = json.loads((folder / "changes.json").read_text())
    assert moved["wins"]
    for entry in moved["wins"] + moved["losses"]:
        assert entry["query"] in page
        for product in entry["example"]["model"] + entry["example"]["current"]:
            assert product["title"] in page
    assert f"{moved['better']} searches got better, {moved['worse']} worse" in page
    assert "(engaged)" in page


@pytest.mark.skipif(BINARY is None, reason="no chromium on this machine (apt-get install chromium)")
@pytest.mark.parametrize("size", [(1280, 900), (390, 844)], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_and_nothing_hangs_over_the_edge(folder, tmp_path, size, scheme):
    verdict, report = validate(tmp_path)
    with contextlib.suppress(GateClosed):
        pass_gate("data_gate", verdict, report)
    write_json(folder / "evaluation.json", EVALUATION)
    finish_run(folder, None, "ended")
    with Browser(*size) as browser:
        browser.prefer(scheme)
        browser.open(write_report(tmp_path / "work", "run-1").as_uri())
        browser.run("document.querySelectorAll('details').forEach((part) => (part.open = true))")
        assert violations(browser) == []
        assert browser.run("document.documentElement.scrollWidth <= innerWidth") is True
        assert browser.errors == []
