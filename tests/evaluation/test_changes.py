"""What `changes.json` says moved between the served release and the model."""

import json

import numpy as np
import pyarrow as pa
import pytest

from components.evaluation import step
from components.evaluation.changes import changes
from components.evaluation.measure import Measured
from components.evaluation.targets import Targets
from components.evaluation.testset import TestSet


def measured(top, values):
    top = np.array(top, dtype=np.int32)
    table = {"all": {"ndcg@10": np.array(values, dtype=float)}}
    return Measured(table, np.zeros(0, dtype=np.int32), top, np.zeros(top.shape, dtype=np.float32))


def searches(queries, engaged):
    count = len(queries)
    return TestSet(
        rows=pa.table({"query": queries, "user_id": pa.array([None, *["u1"] * (count - 1)], pa.string())}),
        targets=Targets.of([[row] for row in engaged]),
        purchased=None,
        judged=None,
        clusters=np.arange(count),
        split="time",
        simulated=True,
        source="test",
        catalogue=pa.table({"product_id": ["p0", "p1", "p2", "p3"], "title": ["lamp", "chair", None, "desk"]}),
    )


def test_queries_are_ordered_by_what_they_add_to_the_mean():
    test = searches(["Lamp", "desk", "lamp ", "rug", "vase"], [0, 1, 0, 2, 3])
    ours = measured([[0, 1], [1, 0], [0, 2], [2, -1], [3, 0]], [0.5, 0.9, 0.5, 0.0, 0.4])
    theirs = measured([[1, 0], [1, 2], [2, 0], [3, 2], [3, 0]], [0.1, 0.4, 0.0, 0.8, 0.4])
    body = changes(test, ours, theirs)
    assert [entry["query"].strip().lower() for entry in body["wins"]] == ["lamp", "desk"]
    assert [entry["query"] for entry in body["losses"]] == ["rug"]
    assert (body["better"], body["worse"], body["same"]) == (3, 1, 1)
    lamp = body["wins"][0]
    assert (lamp["searches"], lamp["model"], lamp["current"]) == (2, 0.5, 0.05)
    assert lamp["query"] == "lamp "  # the search that moved most
    assert body["shared"] == pytest.approx((2 + 1 + 2 + 1 + 2) / 5)


def test_both_lists_carry_titles_and_what_was_engaged():
    test = searches(["lamp", "vase"], [0, 2])
    body = changes(test, measured([[0, 2], [2, -1]], [1.0, 0.0]), measured([[2, 0], [2, -1]], [0.6, 0.5]))
    (win,) = body["wins"]
    assert win["example"]["user_id"] is None
    assert win["example"]["model"] == [
        {"product_id": "p0", "title": "lamp", "engaged": True},
        {"product_id": "p2", "title": "", "engaged": False},
    ]
    assert [product["product_id"] for product in win["example"]["current"]] == ["p2", "p0"]
    assert body["losses"][0]["example"]["model"] == [{"product_id": "p2", "title": "", "engaged": True}]


def test_nothing_moved_between_equal_towers():
    test = searches(["lamp", "vase"], [0, 2])
    same = measured([[0, 1], [2, 3]], [1.0, 0.3])
    body = changes(test, same, same)
    assert (body["wins"], body["losses"], body["same"], body["shared"]) == ([], [], 2, 2.0)


@pytest.mark.usefixtures("fake_towers", "fake_truth")
def test_the_step_writes_them_only_beside_a_served_release(shop, towers, released, tmp_path):
    examples, model = shop.write(), towers()
    settings = json.dumps({"bootstrap_samples": "200"})
    step.run(examples, model, "", str(tmp_path / "work"), "", tmp_path / "first", settings)
    assert not (tmp_path / "first" / "changes.json").exists()
    served = released(towers(noise=2.0, folder="served"))
    step.run(examples, model, "", str(tmp_path / "work"), served, tmp_path / "second", settings)
    body = json.loads((tmp_path / "second" / "changes.json").read_text())
    assert body["better"] > body["worse"] > 0
    assert body["better"] + body["worse"] + body["same"] == body["searches"] == 150
