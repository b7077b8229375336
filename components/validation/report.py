"""The run's report as one self-contained page: the verdict, every alarm, the rows, and the suites' data docs."""

from html import escape
from typing import Any

from components.validation.expectations import SuiteResult

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}h5{margin:1rem 0 .3rem}h6{margin:.6rem 0 .2rem}
table{border-collapse:collapse;margin:.4rem 0;width:100%}td,th{border-bottom:1px solid #d8dee6;padding:.3rem .6rem;
text-align:left;vertical-align:top;overflow-wrap:anywhere}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.open{color:#14683a}.closed,.stop,.text-danger{color:#a4161a}.warn{color:#8a5a00}.ok,.text-success{color:#14683a}
.fa-check-circle::before{content:"\\2713"}.fa-times::before{content:"\\2717"}
.badge{background:#e8ecf1;border-radius:.3rem;padding:0 .3rem}details{margin:.6rem 0}summary{cursor:pointer}
@media (prefers-color-scheme:dark){body{background:#14181d;color:#dfe5ec}td,th{border-color:#36404c}
.badge{background:#2b343f}
.open,.ok,.text-success{color:#6fce97}.closed,.stop,.text-danger{color:#ff8d8d}.warn{color:#f0c064}}
"""


def render(verdict: dict[str, Any], suites: list[SuiteResult]) -> str:
    """The page's HTML. Everything that comes from the log is escaped; it loads nothing."""
    state = "open" if verdict["open"] else "closed"
    simulated = "<p><strong>Simulated data.</strong> No real shopper made this log.</p>" if verdict["simulated"] else ""
    parts = [
        f"<h1>Data gate: <span class='{state}'>{state}</span></h1><p>{escape(verdict['reason'])}</p>{simulated}",
        _alarms(verdict),
        _rows(verdict),
        _list("Notes", verdict["notes"]),
        _days(verdict["days"]),
        *(_suite(suite) for suite in suites),
    ]
    return (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>Data gate</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _table(head: list[str], rows: list[list[str]], numbers: int = 0) -> str:
    """`rows` are escaped cells; the last `numbers` columns are right-aligned."""
    first = len(head) - numbers
    kinds = ["" if i < first else " class='n'" for i in range(len(head))]
    top = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, head, strict=True))
    lines = ("".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _alarms(verdict: dict[str, Any]) -> str:
    if not verdict["alarms"]:
        return "<h2>Alarms</h2><p>None.</p>"
    rows = []
    for item in verdict["alarms"]:
        label = f"{item['severity']}{', accepted' if item['accepted'] else ''}"
        severity = f"<span class='{item['severity']}'>{label}</span>"
        rows.append([severity, escape(item["name"]), escape(item["sentence"])])
    return "<h2>Alarms</h2>" + _table(["", "name", "what was found"], rows)


def _rows(verdict: dict[str, Any]) -> str:
    rows = [
        [escape(table), *(f"{counts[name]:,}" for name in ("in", "good", "quarantined"))]
        for table, counts in verdict["rows"].items()
    ]
    page = "<h2>Rows</h2>" + _table(["table", "in", "good", "quarantined"], rows, 3)
    body = [
        [escape(item["table"]), escape(item["check"]), escape(item["example"]), f"{item['rows']:,}"]
        for item in verdict["quarantine"]
    ]
    if body:
        page += "<h2>Why rows are in quarantine</h2>" + _table(["table", "check", "example", "rows"], body, 1)
    return page


def _list(title: str, sentences: list[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in sentences)
    return f"<h2>{escape(title)}</h2><ul>{items}</ul>" if sentences else ""


def _days(days: list[dict[str, Any]]) -> str:
    if not days:
        return ""
    head = list(dict.fromkeys(name for day in days for name in day))
    rows = [[_cell(day.get(name)) for name in head] for day in days]
    return "<h2>Days</h2>" + _table([name.replace("_", " ") for name in head], rows, len(head) - 1)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    text = f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return escape(text)


def _suite(suite: SuiteResult) -> str:
    title = f"Suite {escape(suite.name)}: {suite.held} of {suite.evaluated} expectations hold on {suite.rows:,} rows"
    left = "".join(f"<li>{escape(text)}</li>" for text in suite.left_out)
    left = f"<p>Left out:</p><ul>{left}</ul>" if left else ""
    opened = "" if suite.held == suite.evaluated else " open"
    return f"<h2>{title}</h2>{left}<details{opened}><summary>Data docs</summary>{suite.html}</details>"
