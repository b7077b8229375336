"""The quality gate: may this model be served? It only reads what was measured; it measures nothing itself.

A comparison passes only when figures show that it does: a missing or non-finite figure closes the gate.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from components.common.errors import BadInput
from components.common.files import read_json, write_json
from components.common.settings import from_overrides
from components.evaluation.baselines import BM25, CURRENT, POPULARITY, RANDOM
from components.evaluation.settings import EvaluationSettings
from components.evaluation.slices import ALL


@dataclass(frozen=True)
class Comparison:
    """One thing the gate looked at: `difference` is model minus other, with its interval; `needed` says what passes."""

    slice: str
    metric: str
    against: str
    n: int
    model: float | None
    other: float | None
    difference: float | None
    low: float | None
    high: float | None
    needed: str
    passed: bool

    @property
    def sentence(self) -> str:
        """What was compared, with its figures."""
        where = "" if self.slice == ALL else f" on {self.slice}"
        if self.difference is None:
            return f"{self.metric}{where} was not compared with {self.against}: the evaluation holds no figures for it."
        return (
            f"{self.metric}{where} is {_figure(self.model)} against {_figure(self.other)} of {self.against} "
            f"(difference {self.difference:+.3f}, interval {_figure(self.low, '+')} to {_figure(self.high, '+')}, "
            f"{self.n:,} searches; {self.needed})."
        )


def quality_gate(evaluation: Path, blessing: Path, settings: str = "{}") -> dict[str, Any]:
    """Judges `evaluation/evaluation.json` and writes the blessing to `blessing`; returns it.

    The blessing is `{"gate": "quality", "open": bool, "reason": sentence, "model", "towers",
    "current_release", "comparisons": [...]}`. It is closed when the model, on all searches or on a slice of at least
    `minimum_slice` searches, lost more than its tolerance against the current release and the interval of the paired
    difference lies below zero; when it is not surely better than random and popularity; when it is below BM25 by more
    than `lexical_margin`; or when too little was measured to say so.

    Raises BadInput, BadSetting or NotFound for an evaluation that cannot be read.
    """
    chosen = from_overrides(EvaluationSettings, settings)
    body = read_json(evaluation / "evaluation.json")
    for key in ("model", "rows", "differences", "searches", "catalogue", "towers"):
        if key not in body:
            raise BadInput(f"{evaluation / 'evaluation.json'} lacks {key!r}; evaluate the towers again.")
    comparisons, objections = judge(body, chosen)
    failed = [comparison for comparison in comparisons if not comparison.passed]
    objections += [comparison.sentence for comparison in failed]
    verdict = {
        "gate": "quality",
        "open": not objections and bool(comparisons),
        "reason": " ".join(objections) if objections else _praise(body["model"], comparisons),
        "model": body["model"],
        "towers": body["towers"],
        "current_release": body.get("current_release"),
        "simulated": body.get("simulated"),
        "comparisons": [{**asdict(item), "sentence": item.sentence} for item in comparisons],
    }
    write_json(blessing, verdict)
    return verdict


def judge(body: dict[str, Any], settings: EvaluationSettings) -> tuple[list[Comparison], list[str]]:
    """All comparisons of an evaluation, and the sentences that close the gate whatever they say."""
    objections = []
    if body["searches"] < settings.minimum_searches:
        objections.append(
            f"Only {body['searches']} test searches were measured; {settings.minimum_searches} are needed to judge a "
            "model (evaluation.minimum_searches). Bring a log with more: searches kept for testing that led to a "
            "click, favourite, cart or order."
        )
    metrics = [metric for metric in settings.gate_metrics if _cutoff(metric) < body["catalogue"]]
    if not metrics:
        objections.append(
            f"A catalogue of {body['catalogue']} products is too small for {', '.join(settings.gate_metrics)}; "
            "set evaluation.gate_metrics to a smaller cutoff."
        )
    current = body.get("current_release") or {}
    measured = current.get("measured") is True
    if current and not measured and settings.require_current:
        objections.append(
            f"The current release {current['id']} could not be measured, so nothing shows that the model is not worse "
            f"({current.get('reason', '')}); set evaluation.require_current=false to go on without it."
        )
    comparisons = []
    slices = _judged_slices(body, settings) if measured else []
    for metric in metrics:
        if measured:
            comparisons.append(_not_worse(body, ALL, metric, CURRENT, body["searches"], settings.tolerance))
        for part, n in slices:
            looks = len(slices) * len(metrics)
            comparisons.append(_not_worse(body, part, metric, CURRENT, n, settings.slice_tolerance, looks))
        for baseline in (RANDOM, POPULARITY):
            comparisons.append(_better(body, metric, baseline))
        comparisons.append(_not_worse(body, ALL, metric, BM25, body["searches"], settings.lexical_margin))
    return comparisons, objections


def _judged_slices(body: dict[str, Any], settings: EvaluationSettings) -> list[tuple[str, int]]:
    sizes = {row["slice"]: row["n"] for row in body["rows"] if row["method"] == body["model"]}
    return [(name, n) for name, n in sizes.items() if name != ALL and n >= settings.minimum_slice]


def _not_worse(
    body: dict[str, Any], part: str, metric: str, other: str, n: int, allowed: float, looks: int = 1
) -> Comparison:
    """Passes unless the loss exceeds `allowed` and the interval of the difference lies below zero.

    Of many slices one looks worse by chance, so with `looks` comparisons the interval is widened to the Bonferroni
    level, by the ratio of the normal quantiles.
    """
    value, low, high = _difference(body, part, metric, other)
    if value is not None and low is not None and high is not None and looks > 1:
        edge = (1 - float(body.get("confidence", 0.95))) / 2
        wider = NormalDist().inv_cdf(1 - edge / looks) / NormalDist().inv_cdf(1 - edge)
        low, high = value - (value - low) * wider, value + (high - value) * wider
    passed = value is not None and high is not None and (value >= -allowed or high >= 0)
    return _comparison(body, part, metric, other, n, (value, low, high), f"a loss of {allowed:g} is allowed", passed)


def _better(body: dict[str, Any], metric: str, other: str) -> Comparison:
    """Passes when the whole interval of the difference lies above zero."""
    value, low, high = _difference(body, ALL, metric, other)
    passed = low is not None and low > 0
    return _comparison(body, ALL, metric, other, body["searches"], (value, low, high), "it must be better", passed)


def _comparison(
    body: dict[str, Any],
    part: str,
    metric: str,
    other: str,
    n: int,
    difference: tuple[float | None, float | None, float | None],
    needed: str,
    passed: bool,
) -> Comparison:
    ours, theirs = _value(body, part, metric, body["model"]), _value(body, part, metric, other)
    return Comparison(part, metric, other, n, ours, theirs, *difference, needed, passed)


def _difference(
    body: dict[str, Any], part: str, metric: str, other: str
) -> tuple[float | None, float | None, float | None]:
    for entry in body["differences"]:
        found = (entry.get("method"), entry.get("against"), entry.get("slice"), entry.get("metric"))
        if found == (body["model"], other, part, metric):
            return _finite(entry.get("value")), _finite(entry.get("low")), _finite(entry.get("high"))
    return None, None, None


def _value(body: dict[str, Any], part: str, metric: str, method: str) -> float | None:
    for row in body["rows"]:
        if (row["method"], row["slice"]) == (method, part):
            return _finite(row["metrics"].get(metric, {}).get("value"))
    return None


def _finite(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def _cutoff(metric: str) -> int:
    _, _, digits = metric.rpartition("@")
    return int(digits) if digits.isdigit() else 0


def _figure(value: float | None, sign: str = "") -> str:
    return "unknown" if value is None else f"{value:{sign}.3f}"


def _praise(model: str, comparisons: list[Comparison]) -> str:
    if not comparisons:
        return "Nothing was compared."
    first = comparisons[0].metric
    beside = ", ".join(
        f"{item.against} {_figure(item.other)}" for item in comparisons if item.slice == ALL and item.metric == first
    )
    slices = sum(item.slice != ALL and item.metric == first for item in comparisons)
    more = f"; no loss on {slices} slices" if slices else ""
    return f"{model} has {first} {_figure(comparisons[0].model)} beside {beside}{more}."
