import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput, BadSetting
from components.evaluation import step
from components.evaluation.encoding import towers_fingerprint
from components.evaluation.settings import EvaluationSettings

pytestmark = pytest.mark.usefixtures("fake_towers", "fake_truth")


@pytest.fixture
def evaluate(shop, towers, tmp_path):
    def run(model=None, current="", truth="", **settings):
        folder = tmp_path / "evaluation"
        model = model or towers()
        examples = shop.write()
        settings = {"bootstrap_samples": "200", **{name: str(value) for name, value in settings.items()}}
        figures = step.run(examples, model, truth, str(tmp_path / "work"), current, folder, json.dumps(settings))
        body = json.loads((folder / "evaluation.json").read_text())
        return body, pq.read_table(folder / "queries.parquet"), figures

    return run


def row(body, method, part="all"):
    (found,) = [row for row in body["rows"] if (row["method"], row["slice"]) == (method, part)]
    return found


def value(body, method, metric, part="all"):
    return row(body, method, part)["metrics"][metric]["value"]


def test_every_method_has_a_row_for_every_slice(evaluate, towers, released):
    body, _, _ = evaluate(current=released(towers(noise=2.0, folder="served")))
    methods = {"random", "popularity", "bm25", "fake", "fake without history", "current release"}
    by_slice = {}
    for entry in body["rows"]:
        by_slice.setdefault(entry["slice"], set()).add(entry["method"])
    kinds = {"anonymous", "new shoppers", "shoppers with history"}
    assert {"all", "head queries", "tail queries", "unseen queries", "new products"} | kinds <= set(by_slice)
    assert all(found == methods for found in by_slice.values())
    assert body["simulated"] is True
    assert body["searches"] == row(body, "fake")["n"] == 150


def test_figures_carry_intervals_and_fall_where_they_must(evaluate):
    body, _, figures = evaluate()
    for entry in body["rows"]:
        for metric in entry["metrics"].values():
            assert 0 <= metric["low"] <= metric["value"] + 1e-9 <= metric["high"] + 2e-9 <= 1 + 3e-9
            assert metric["n"] <= entry["n"]
    assert value(body, "random", "recall@10") < value(body, "fake without history", "recall@10")
    assert value(body, "fake without history", "recall@10") < value(body, "fake", "recall@10")
    assert value(body, "bm25", "recall@100") > 0.9
    assert figures["recall@10"] == value(body, "fake", "recall@10")
    assert figures["bm25 recall@10"] == value(body, "bm25", "recall@10")


def test_history_helps_those_who_have_one_and_changes_nothing_for_others(evaluate):
    body, _, _ = evaluate()
    with_history = "shoppers with history"
    assert value(body, "fake", "recall@10", with_history) > value(
        body, "fake without history", "recall@10", with_history
    )
    for part in ("anonymous", "new shoppers"):
        assert row(body, "fake", part)["metrics"] == row(body, "fake without history", part)["metrics"]


def test_the_order_of_candidates_decides_nothing(evaluate, shop):
    first, _, _ = evaluate()
    generator = np.random.default_rng(0)
    for rows in shop.rows.values():
        for entry in rows:
            order = generator.permutation(len(entry["product_ids"]))
            entry["product_ids"] = [entry["product_ids"][i] for i in order]
            entry["stages"] = [entry["stages"][i] for i in order]
    second, _, _ = evaluate(model=shop.folder.parent / "towers")
    assert second == first


def test_differences_are_the_model_minus_the_other_method(evaluate):
    body, _, _ = evaluate()
    entries = {(e["against"], e["slice"], e["metric"]): e for e in body["differences"]}
    for against in ("random", "popularity", "bm25", "fake without history"):
        difference = entries[against, "all", "recall@10"]
        expected = value(body, "fake", "recall@10") - value(body, against, "recall@10")
        assert difference["value"] == pytest.approx(expected, abs=2e-6)
        assert difference["low"] <= difference["value"] <= difference["high"]


def test_the_searches_of_one_shopper_are_no_independent_evidence(evaluate, shop):
    for entry in shop.rows["test"]:
        entry["user_id"] = "u1"
    body, _, _ = evaluate()
    figure = row(body, "fake")["metrics"]["recall@10"]
    assert figure["low"] == figure["value"] == figure["high"]


def test_purchases_are_measured_apart(evaluate, shop):
    body, _, _ = evaluate()
    ordered = sum(4 in entry["stages"] for entry in shop.rows["test"])
    assert row(body, "fake")["metrics"]["purchase_recall@10"]["n"] == ordered < 150


def test_the_good_rate_comes_from_the_truth_with_its_ceiling(evaluate, shop, tmp_path):
    body, _, _ = evaluate()
    assert "good_rate@10" not in row(body, "fake")["metrics"]
    assert any(note.startswith("The good rate is left out") for note in body["notes"])
    truth = tmp_path / "truth"
    truth.mkdir()
    (truth / "titles.json").write_text(json.dumps(shop.titles))
    body, _, _ = evaluate(model=tmp_path / "towers", truth=str(truth))
    assert value(body, "fake without history", "good_rate@10") > 0.7 > 0.3 > value(body, "random", "good_rate@10")
    assert any(note.startswith("good_rate@100 can reach 0.1") for note in body["notes"])


def test_the_table_of_searches_shows_what_each_method_found(evaluate, towers, released, shop):
    _, queries, _ = evaluate(current=released(towers(noise=2.0, folder="served")))
    assert queries.num_rows == 150
    for entry in queries.to_pylist():
        for key in ("model", "bm25", "current"):
            assert entry[f"{key}_scores"] == sorted(entry[f"{key}_scores"], reverse=True)
            assert set(entry[f"{key}_products"]) <= set(shop.titles)
            for product, rank in zip(entry["positives"], entry[f"{key}_ranks"], strict=True):
                first_ten = product in entry[f"{key}_products"]
                assert first_ten == (rank is not None and rank <= 10)
                assert not first_ten or entry[f"{key}_products"][rank - 1] == product
        assert "all" in entry["slices"]


def test_the_evaluation_names_the_towers_it_measured(evaluate, towers):
    model = towers()
    body, _, _ = evaluate(model)
    assert body["model"] == "fake"
    assert body["towers"] == towers_fingerprint(model)
    assert body["current_release"] is None


def test_the_same_towers_as_the_served_ones_differ_by_nothing(evaluate, towers, released):
    model = towers()
    body, _, _ = evaluate(model, current=released(model))
    assert body["current_release"] == {"id": "20260101-000000-aaaaaa", "measured": True, "reason": ""}
    against = [entry for entry in body["differences"] if entry["against"] == "current release"]
    assert against
    assert all((entry["value"], entry["low"], entry["high"]) == (0, 0, 0) for entry in against)


def test_a_served_release_that_cannot_be_measured_is_named_not_hidden(evaluate, towers, released, tmp_path):
    release = released(towers(noise=1.0, folder="served"))
    (tmp_path / "work" / "releases" / release / "towers" / "model.json").unlink()
    body, _, _ = evaluate(current=release)
    assert body["current_release"]["measured"] is False
    assert "current release" not in {entry["method"] for entry in body["rows"]}
    assert any("could not be measured" in note for note in body["notes"])


def test_query_split_shows_judged_ndcg_and_no_row_without_history(evaluate, shop):
    shop.features.update(split="query", simulated=False, grades={"positive_from": 2.0})
    shop.judgements = [
        (f"{thing} {shade}", product, 3.0 if shade in title and thing in title else 1.0, "test")
        for thing in ("lamp", "desk", "rug")
        for shade in ("red", "blue")
        for product, title in list(shop.titles.items())[:40]
    ]
    body, queries, _ = evaluate()
    assert body["simulated"] is False
    assert queries.num_rows == 6
    assert "fake without history" not in {entry["method"] for entry in body["rows"]}
    assert value(body, "fake", "judged_ndcg@10") == pytest.approx(1)
    assert value(body, "random", "judged_ndcg@10") < 0.9


def test_the_gate_may_compare_whatever_is_measured(evaluate):
    body, _, _ = evaluate()
    EvaluationSettings(gate_metrics=tuple({metric for row in body["rows"] for metric in row["metrics"]}))


def test_cutoffs_beyond_the_catalogue_are_called_meaningless(evaluate):
    body, _, _ = evaluate()
    assert value(body, "random", "recall@1000") == 1
    assert "recall@1000 says nothing here: the catalogue has 120 products." in body["notes"]


def test_bad_settings_and_towers_are_refused_in_one_sentence(evaluate, towers, tmp_path):
    with pytest.raises(BadSetting, match="rising"):
        evaluate(cutoffs="10,1")
    (tmp_path / "towers" / "towers.safetensors").unlink()
    with pytest.raises(BadInput, match=r"holds no towers\.safetensors"):
        evaluate(model=tmp_path / "towers")
