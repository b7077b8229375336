"""The suites, run by great-expectations itself: severities, names, what is left out, and the report they make."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from components.common.errors import BadInput
from components.validation import expectations
from components.validation.alarms import ALARMS
from components.validation.expectations import TABLES, expectation_names, read_suite, run_suites
from components.validation.markup import content_only
from tests.validation.shop import Result, copy, edit, file_of, validate

HAS = {"users": True, "times": True, "impressions": True}


@pytest.fixture(scope="module")
def with_suites(sound_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A log with entities and markup in its text, validated with the suites."""
    folder = tmp_path_factory.mktemp("suites")
    log = copy(sound_log, folder / "log")
    edit(file_of(log, "products"), lambda c: c["title"].__setitem__(slice(0, 20), ["Salt &amp; <x-y onload=z>"] * 20))
    return validate(log, folder / "run", expectations=True)


def test_every_suite_is_evaluated_on_a_log(with_suites: Result) -> None:
    page = (with_suites.folder / "report.html").read_text()
    for table in TABLES:
        held, evaluated = re.search(rf"Suite {table}: (\d+) of (\d+) expectations hold", page).groups()  # type: ignore[union-attr]
        assert int(evaluated) >= 5
        assert int(held) >= int(evaluated) - 1


def test_a_broken_warning_warns_in_the_suites_own_words(with_suites: Result) -> None:
    alarm = with_suites.alarm("titles_without_entities")
    assert alarm is not None
    assert alarm["severity"] == "warn"
    assert "99% of the titles hold no HTML entities" in alarm["sentence"]
    assert "20 of" in alarm["sentence"]
    assert with_suites.open


def test_a_broken_critical_expectation_closes_and_a_warning_does_not() -> None:
    frame = pd.DataFrame({"product_id": ["p1", "p1"], "title": ["lamp", "chair"], "price": [1.0, 2.0]})
    result = run_suites({"products": frame}, HAS)[0]
    severities = {finding.name: finding.severity for finding in result.findings}
    assert severities == {"product_ids_unique": "stop"}


def test_expectations_on_what_the_log_lacks_are_left_out_and_said() -> None:
    frame = pd.DataFrame({"searches": [3], "click": [0], "impression": [0]})
    result = run_suites({"days": frame}, {"users": False, "times": False, "impressions": False})[0]
    assert any("Not checked: the log has no impressions." in text for text in result.left_out)
    assert any("median_query_words holds nothing" in text for text in result.left_out)
    assert [finding.name for finding in result.findings] == ["days_have_clicks"]


def test_what_was_found_is_said_in_plain_numbers() -> None:
    frame = pd.DataFrame({"searches": [3, 4], "events": [5, 6], "impression": [0.0, 2.0], "click": [9, 1]})
    result = run_suites({"days": frame}, HAS)[0]
    sentences = {finding.name: finding.sentence for finding in result.findings}
    assert sentences["more_impressions_than_clicks"].endswith("1 of 2 rows otherwise, as 0.0 beside 9.")
    table = run_suites({"products": pd.DataFrame({"product_id": ["p1", "p2"], "title": ["same"] * 2})}, HAS)[0]
    assert any(finding.sentence.endswith("Found: 1.") for finding in table.findings)


def test_an_expectation_that_raises_is_not_taken_for_one_that_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    item = {
        "type": "expect_column_values_to_match_regex",
        "kwargs": {"column": "title", "regex": "("},
        "severity": "critical",
        "meta": {"name": "broken", "sentence": "Titles match."},
    }
    monkeypatch.setattr(expectations, "read_suite", lambda name: {"expectations": [item]})
    result = run_suites({"products": pd.DataFrame({"title": ["lamp"]})}, HAS)[0]
    assert [(finding.name, finding.severity) for finding in result.findings] == [("broken", "stop")]
    assert "could not be evaluated" in result.findings[0].sentence


def test_the_report_is_one_page_that_loads_nothing(with_suites: Result) -> None:
    page = (with_suites.folder / "report.html").read_text()
    assert not re.search(r"(src|href)\s*=|<script|<link|@import|url\(", page)
    assert "Simulated data" in page
    assert "Must be unique" in page or "must be unique" in page


class _Tags(HTMLParser):
    """Collects open tags; the page is well-formed when none is left at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        if tag not in ("meta", "br", "hr", "img", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]


def test_text_from_the_log_is_never_markup_in_the_report(with_suites: Result) -> None:
    page = (with_suites.folder / "report.html").read_text()
    tags = _Tags()
    tags.feed(page)
    assert "Salt &amp;amp; &lt;x-y onload=z&gt;" in page
    assert "x-y" not in tags.names
    assert "script" not in tags.names
    assert tags.open == []


def test_foreign_markup_is_reduced_to_balanced_content() -> None:
    html = "<div class='a\"b' onclick='x()'><script>bad()</script><a href='x'>go</a><x-y>1 < 2</div><p>open</i></div>"
    assert content_only(html) == '<div class="a&quot;b">go&lt;x-y&gt;1 &lt; 2</div><p>open</p>'


def test_names_and_sentences_of_the_suites_are_complete_and_unique() -> None:
    names = expectation_names()
    assert len(names) == len(set(names)) >= 25
    assert not set(names) & set(ALARMS)
    for table in TABLES:
        for item in read_suite(table)["expectations"]:
            assert item["meta"]["sentence"].endswith(".")
            assert item["severity"] in ("critical", "warning", "info")


def test_a_suite_without_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "products.json").write_text(json.dumps({"expectations": [{"type": "expect_x", "meta": {}}]}))
    monkeypatch.setattr(expectations, "SUITES", tmp_path)
    with pytest.raises(BadInput, match=r"expect_x needs meta\.name and meta\.sentence"):
        read_suite("products")
