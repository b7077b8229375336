import numpy as np
import pytest

from components.common.errors import BadInput, NotFound
from components.evaluation.settings import EvaluationSettings
from components.evaluation.testset import read_test_set, read_training


def ids(test, targets):
    names = test.catalogue["product_id"].to_numpy()
    return [names[targets.row(search)].tolist() for search in range(len(test))]


def test_targets_are_the_engaged_products_and_purchases_the_ordered_ones(shop):
    shop.rows["test"] = []
    shop.search("test", "lamp", ["p1", "p2", "p3"], [4, 0, 2], user="u1", history=["p4"])
    shop.search("test", "desk", ["p5", "p6"], [0, 1])
    test = read_test_set(shop.write(), EvaluationSettings())
    assert ids(test, test.targets) == [["p1", "p3"], ["p6"]]
    assert test.targets.gains.tolist() == [15.0, 3.0, 1.0]
    assert ids(test, test.purchased) == [["p1"], []]
    assert (test.known.tolist(), test.with_history.tolist()) == ([True, False], [True, False])
    assert test.simulated is True


def test_searches_without_a_findable_answer_are_left_out_and_counted(shop):
    shop.rows["test"] = []
    shop.search("test", "lamp", ["p1"], [0])
    shop.search("test", "lamp", ["gone"], [1])
    shop.search("test", "desk", ["p1", "gone"], [1, 3])
    test = read_test_set(shop.write(), EvaluationSettings())
    assert test.queries == ["desk"]
    assert ids(test, test.targets) == [["p1"]]
    assert test.notes == ["2 engaged products of the test searches are not in the catalogue and were left out."]


def test_an_empty_test_split_is_refused(shop):
    shop.rows["test"] = []
    shop.search("test", "lamp", ["p1"], [0])
    with pytest.raises(BadInput, match="no test search engaged a product"):
        read_test_set(shop.write(), EvaluationSettings())


def test_a_sample_of_searches_is_seeded_and_noted(shop):
    folder = shop.write()
    first = read_test_set(folder, EvaluationSettings(max_searches=20, seed=1))
    again = read_test_set(folder, EvaluationSettings(max_searches=20, seed=1))
    other = read_test_set(folder, EvaluationSettings(max_searches=20, seed=2))
    assert len(first) == 20
    assert first.notes == ["20 of 150 test searches were measured, drawn with seed 1."]
    assert first.rows["search_id"] == again.rows["search_id"] != other.rows["search_id"]


def test_searches_of_one_shopper_share_a_cluster_and_strangers_do_not(shop):
    shop.rows["test"] = []
    for user in ("u1", None, "u2", None, "u1"):
        shop.search("test", "lamp", ["p1"], [1], user=user)
    clusters = read_test_set(shop.write(), EvaluationSettings()).clusters
    assert clusters[0] == clusters[4]
    assert len(set(clusters.tolist())) == 4


def query_split(shop, judgements):
    shop.features.update(split="query", simulated=False, grades={"positive_from": 2.33, "gain": "2^grade-1"})
    shop.judgements = judgements
    return shop.write()


def test_judged_queries_are_measured_on_the_grades(shop):
    judgements = [
        ("lamp", "p1", 3.0, "test"), ("lamp", "p2", 2.33, "test"), ("lamp", "p3", 1.0, "test"),
        ("lamp", "p1", 1.0, "test"), ("desk", "p4", 2.0, "test"), ("desk", "gone", 3.0, "test"),
        ("rug", "p5", 3.0, "train"),
    ]  # fmt: skip
    test = read_test_set(query_split(shop, judgements), EvaluationSettings())
    assert test.queries == ["desk", "lamp"]
    assert [sorted(row) for row in ids(test, test.judged)] == [["p4"], ["p1", "p2", "p3"]]
    assert [sorted(row) for row in ids(test, test.targets)] == [[], ["p1", "p2"]]
    assert sorted(test.judged.gains.tolist()) == pytest.approx([1, 3, 2**2.33 - 1, 7])
    assert not test.known.any()
    assert not test.with_history.any()
    assert test.notes == [
        "1 graded products are not in the catalogue and were left out.",
        "Relevant are products graded 2.33 or better; ungraded ones count as not relevant.",
    ]


def test_the_relevant_grade_is_a_setting_and_must_be_known(shop):
    folder = query_split(shop, [("lamp", "p1", 3.0, "test"), ("lamp", "p2", 1.0, "test")])
    assert ids(*_with_targets(folder, positive_from=1.0)) == [["p1", "p2"]]
    del shop.features["grades"]
    with pytest.raises(BadInput, match=r"grades\.positive_from.*evaluation\.positive_from"):
        read_test_set(shop.write(), EvaluationSettings())


def _with_targets(folder, **settings):
    test = read_test_set(folder, EvaluationSettings(**settings))
    return test, test.targets


def test_training_counts_queries_engagements_and_known_products(shop):
    shop.rows["train"] = []
    shop.search("train", "Lamp ", ["p0", "p1"], [1, 0], user="u1", history=["p2", "gone"])
    shop.search("train", "lamp", ["p0", "gone"], [4, 1])
    folder = shop.write()
    test = read_test_set(folder, EvaluationSettings())
    training = read_training(folder, test.catalogue)
    assert training.query_counts == {"lamp": 2}
    assert training.engaged[:3].tolist() == [2, 0, 0]
    assert np.flatnonzero(training.met).tolist() == [0, 2]


def test_missing_files_are_named(shop):
    folder = shop.write()
    (folder / "products.parquet").unlink()
    with pytest.raises(NotFound, match=r"products\.parquet does not exist"):
        read_test_set(folder, EvaluationSettings())
