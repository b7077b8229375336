"""The expectation suites in `suites/*.json`, run by great-expectations on the good rows and on a table of days.

Row checks route every row; the suites state, in files that a shop edits, what must hold of the log that goes on. An
expectation's `severity` "critical" closes the gate, "warning" and "info" are only said. Its `meta.name` is the alarm's
name, `meta.sentence` says it plainly, `meta.needs` lists what the log must have (users, times, impressions, ...) for it
to apply. Expectations on columns that the log lacks, or that are null throughout, are left out, and said so.
"""

import logging
import os
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from components.common.errors import BadInput
from components.common.files import read_json
from components.validation.alarms import STOP, WARN, Finding
from components.validation.markup import content_only

SUITES = Path(__file__).parent / "suites"
TABLES = ("products", "searches", "events", "days")


@dataclass
class SuiteResult:
    """A suite's outcome: its findings, how many expectations held, what was left out, and its data docs section."""

    name: str
    held: int = 0
    evaluated: int = 0
    rows: int = 0
    findings: list[Finding] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    html: str = ""


def read_suite(name: str) -> dict[str, Any]:
    """A suite's JSON. Raises BadInput when an expectation lacks its name or sentence."""
    path = SUITES / f"{name}.json"
    suite: dict[str, Any] = read_json(path)
    for item in suite["expectations"]:
        if not {"name", "sentence"} <= set(item.get("meta", {})):
            raise BadInput(f"{path}: expectation {item.get('type')} needs meta.name and meta.sentence.")
    return suite


def expectation_names() -> list[str]:
    """The alarm names of all suites, without importing great-expectations."""
    return [item["meta"]["name"] for name in TABLES for item in read_suite(name)["expectations"]]


def run_suites(frames: dict[str, Any], has: dict[str, bool]) -> list[SuiteResult]:
    """Runs the suite of each table on its pandas frame; imports great-expectations (6 to 12 s the first time).

    Args:
        frames: table name -> DataFrame; an empty frame's suite is left out.
        has: what the log has (log.json).
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("log")
    results = []
    for name, frame in frames.items():
        result = SuiteResult(name, rows=len(frame))
        applicable = [item for item in read_suite(name)["expectations"] if _applies(item, frame, has, result)]
        if len(frame) and applicable:
            plain = [{**item, "meta": {**item["meta"], "notes": item["meta"]["sentence"]}} for item in applicable]
            suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=plain))
            batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
            definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
            outcome = context.validation_definitions.add(definition).run(
                batch_parameters={"dataframe": frame}, result_format="SUMMARY"
            )
            _read(outcome, result)
            result.html = _data_docs(outcome)
        results.append(result)
    return results


def _applies(item: dict[str, Any], frame: Any, has: dict[str, bool], result: SuiteResult) -> bool:
    missing = [need for need in item["meta"].get("needs", []) if not has.get(need, True)]
    arguments = item["kwargs"]
    columns = [arguments[key] for key in ("column", "column_A", "column_B") if key in arguments]
    columns += arguments.get("column_list", [])
    empty = [name for name in columns if name not in frame.columns or frame[name].isna().all()]
    if missing or empty:
        why = f"the log has no {', '.join(missing)}" if missing else f"{', '.join(empty)} holds nothing"
        result.left_out.append(f"{item['meta']['sentence']} Not checked: {why}.")
    return not missing and not empty


def _read(outcome: Any, result: SuiteResult) -> None:
    for item in outcome.results:
        meta = item.expectation_config.meta
        result.evaluated += 1
        result.held += bool(item.success)
        if item.success:
            continue
        severity = STOP if str(getattr(item.expectation_config.severity, "value", "")) == "critical" else WARN
        raised = _raised(item.exception_info or {})
        observed = f"could not be evaluated: {raised}" if raised else _observed(item.result)
        text = f"Expectation {meta['name']} on {result.name} does not hold: {meta['sentence']} Found: {observed}."
        result.findings.append(Finding(meta["name"], text, severity))


def _raised(info: dict[str, Any]) -> str | None:
    """The message of an exception: stored at the top, or by the metric that raised it."""
    parts = [info, *(part for part in info.values() if isinstance(part, dict))]
    return next((str(part["exception_message"]) for part in parts if part.get("exception_message")), None)


def _observed(body: dict[str, Any]) -> str:
    if body.get("unexpected_percent") is not None:
        examples = ", ".join(_plain(value)[:60] for value in body.get("partial_unexpected_list", [])[:3])
        return f"{body['unexpected_count']:,} of {body['element_count']:,} rows otherwise, as {examples}"
    return _plain(body.get("observed_value"))


def _plain(value: Any) -> str:
    """A value as a reader knows it: numpy's numbers as plain ones, a pair of columns' values side by side."""
    if isinstance(value, tuple | list):
        return " beside ".join(_plain(item) for item in value)
    return repr(value.item() if hasattr(value, "item") else value)


def _data_docs(outcome: Any) -> str:
    """The validation's data docs page, reduced to its content: it refers to nothing outside the report.

    The library writes values of the log into its page unescaped, so they are escaped before, and what it makes of them
    is taken over tag by tag.
    """
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    for item in outcome.results:
        item.result = _escaped(item.result)
    page = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(outcome))
    return content_only(page[page.index('<div class="col-md-10') : page.rindex("</body>")])


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return escape(value) if isinstance(value, str) else value
