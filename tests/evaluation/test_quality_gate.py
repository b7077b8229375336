"""The gate against hand-made evaluations: each test fails if the gate is walked through."""

import copy
import json
import math

import pytest

from components.common.errors import BadInput, BadSetting
from components.evaluation.gate import quality_gate

METRICS = ("recall@10", "recall@100")


def make(
    model=0.5, current=None, bm25=0.45, popularity=0.1, random=0.01, n=2000, slices=(), width=0.02, catalogue=5000
):
    """An evaluation whose intervals are all `width` to each side; `slices` are (name, n, model, current)."""
    rows, differences = [], []
    parts = [("all", n, model, current), *slices]
    for name, size, ours, served in parts:
        others = {"bm25": bm25, "popularity": popularity, "random": random, "current release": served}
        for method, value in {"mgdspr": ours, **others}.items():
            if value is None:
                continue
            figures = {"value": value, "low": value - width, "high": value + width, "n": size}
            rows.append({"method": method, "slice": name, "n": size, "metrics": {m: dict(figures) for m in METRICS}})
            if method != "mgdspr":
                gap = {"value": ours - value, "low": ours - value - width, "high": ours - value + width, "n": size}
                differences += [
                    {"method": "mgdspr", "against": method, "slice": name, "metric": m, **gap} for m in METRICS
                ]
    release = None if current is None else {"id": "20260101-000000-aaaaaa", "measured": True, "reason": ""}
    return {
        "model": "mgdspr", "towers": "f1", "simulated": True, "searches": n, "catalogue": catalogue,
        "confidence": 0.95, "rows": rows, "differences": differences, "current_release": release,
    }  # fmt: skip


@pytest.fixture
def gate(tmp_path):
    def judge(body, **settings):
        (tmp_path / "evaluation.json").write_text(json.dumps(body))
        verdict = quality_gate(
            tmp_path, tmp_path / "blessing.json", json.dumps({name: str(value) for name, value in settings.items()})
        )
        assert json.loads((tmp_path / "blessing.json").read_text()) == verdict
        return verdict

    return judge


def test_a_model_better_than_the_baselines_opens_the_first_gate(gate):
    verdict = gate(make())
    assert verdict["open"] is True
    assert verdict["gate"] == "quality"
    assert verdict["towers"] == "f1"
    assert verdict["reason"] == "mgdspr has recall@10 0.500 beside random 0.010, popularity 0.100, bm25 0.450."
    assert len(verdict["comparisons"]) == 6


def test_a_model_worse_than_the_current_release_closes_it_with_figures(gate):
    verdict = gate(make(model=0.5, current=0.55))
    assert verdict["open"] is False
    assert verdict["reason"].startswith(
        "recall@10 is 0.500 against 0.550 of current release (difference -0.050, interval -0.070 to -0.030, "
        "2,000 searches; a loss of 0.01 is allowed)."
    )


@pytest.mark.parametrize(
    ("current", "width", "opens"),
    [
        (0.505, 0.001, True),  # surely worse, but within the tolerance
        (0.52, 0.05, True),  # more than the tolerance, but the interval holds zero
        (0.52, 0.01, False),  # both
        (0.45, 0.01, True),  # better
    ],
)
def test_a_loss_counts_when_it_is_large_and_sure(gate, current, width, opens):
    assert gate(make(current=current, width=width))["open"] is opens


def test_a_broken_slice_closes_the_gate_although_the_mean_is_fine(gate):
    verdict = gate(make(model=0.56, current=0.55, slices=[("tail queries", 400, 0.30, 0.45)]))
    assert verdict["open"] is False
    assert "recall@10 on tail queries is 0.300 against 0.450 of current release" in verdict["reason"]


def test_a_slice_may_lose_what_the_slice_tolerance_allows(gate):
    body = make(model=0.56, current=0.55, slices=[("tail queries", 400, 0.53, 0.55)], width=0.001)
    assert gate(body)["open"] is True
    assert gate(body, slice_tolerance=0.01)["open"] is False


def test_a_slice_too_small_to_judge_is_not_judged(gate):
    small = [("new shoppers", 40, 0.30, 0.45)]
    assert gate(make(model=0.56, current=0.55, slices=small))["open"] is True
    assert gate(make(model=0.56, current=0.55, slices=small), minimum_slice=40)["open"] is False


def test_of_many_slices_one_may_look_worse_by_chance(gate):
    barely = ("slice 0", 400, 0.45, 0.5)  # its own interval is -0.09 to -0.01
    calm = [(f"slice {number}", 400, 0.5, 0.5) for number in range(1, 10)]
    assert gate(make(current=0.5, slices=[barely], width=0.04), gate_metrics="recall@10")["open"] is False
    assert gate(make(current=0.5, slices=[barely, *calm], width=0.04), gate_metrics="recall@10")["open"] is True


def test_every_metric_is_another_look_at_a_slice(gate):
    slices = [("slice 0", 400, 0.45, 0.5), *((f"slice {number}", 400, 0.5, 0.5) for number in range(1, 10))]
    body = make(current=0.5, slices=slices, width=0.0337)  # ten looks put it surely below zero, twenty do not
    assert gate(body, gate_metrics="recall@10")["open"] is False
    assert gate(body)["open"] is True


@pytest.mark.parametrize("baseline", ["random", "popularity"])
def test_a_model_not_surely_better_than_a_baseline_is_refused(gate, baseline):
    verdict = gate(make(**{baseline: 0.49}))
    assert verdict["open"] is False
    assert f"against 0.490 of {baseline}" in verdict["reason"]
    assert "it must be better" in verdict["reason"]
    assert gate(make(**{baseline: 0.5}, width=0.0))["open"] is False, "the same list for everybody is not better"


def test_lexical_search_may_be_better_by_the_margin_alone(gate):
    assert gate(make(model=0.5, bm25=0.59))["open"] is True
    verdict = gate(make(model=0.5, bm25=0.65))
    assert verdict["open"] is False
    assert "against 0.650 of bm25 (difference -0.150" in verdict["reason"]
    assert gate(make(model=0.5, bm25=0.65), lexical_margin=0.2)["open"] is True


def test_too_few_searches_do_not_open_the_gate(gate):
    verdict = gate(make(n=12))
    assert verdict["open"] is False
    assert verdict["reason"].startswith("Only 12 test searches were measured; 30 are needed")
    assert "Bring a log with more" in verdict["reason"]
    assert gate(make(n=12), minimum_searches=12)["open"] is True


def test_a_current_release_that_was_not_measured_keeps_the_gate_closed(gate):
    body = make()
    body["current_release"] = {"id": "20260101-000000-aaaaaa", "measured": False, "reason": "model.json is gone."}
    verdict = gate(body)
    assert verdict["open"] is False
    assert "could not be measured" in verdict["reason"]
    assert "model.json is gone." in verdict["reason"]
    assert gate(body, require_current="false")["open"] is True


@pytest.mark.parametrize("against", ["random", "popularity", "bm25", "current release"])
def test_a_missing_comparison_closes_the_gate(gate, against):
    body = make(current=0.5)
    body["differences"] = [entry for entry in body["differences"] if entry["against"] != against]
    verdict = gate(body)
    assert verdict["open"] is False
    assert f"was not compared with {against}" in verdict["reason"]


@pytest.mark.parametrize("broken", [None, "0.5", True, math.nan])
@pytest.mark.parametrize("field", ["value", "low", "high"])
def test_a_figure_that_is_no_number_closes_the_gate(gate, field, broken):
    body = make(current=0.6, width=0.2)
    assert gate(copy.deepcopy(body))["open"] is True
    for entry in body["differences"]:
        entry[field] = broken
    assert gate(body)["open"] is False


@pytest.mark.parametrize("catalogue", [80, 100])
def test_a_metric_that_a_small_catalogue_makes_trivial_is_not_judged(gate, catalogue):
    body = make(catalogue=catalogue)
    assert {item["metric"] for item in gate(body)["comparisons"]} == {"recall@10"}
    verdict = gate(body, gate_metrics="recall@100")
    assert verdict["open"] is False
    assert "too small for recall@100" in verdict["reason"]


def test_an_evaluation_of_another_format_is_refused(gate):
    body = make()
    del body["differences"]
    with pytest.raises(BadInput, match="lacks 'differences'"):
        gate(body)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"tolerance": -1}, r"evaluation\.tolerance must lie in \[0, 1\]"),
        ({"seed": -1}, r"evaluation\.seed must not be negative"),
        (
            {"gate_metrics": "recal@10"},
            r"names 'recal@10', which is not measured; known: recall@1, recall@10, .*ndcg@10",
        ),
        ({"cutoffs": "1,10"}, r"names 'recall@100', which is not measured"),
    ],
)
def test_settings_out_of_range_are_refused(gate, overrides, sentence):
    with pytest.raises(BadSetting, match=sentence):
        gate(make(), **overrides)
