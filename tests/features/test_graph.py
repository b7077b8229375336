"""The query-product graph: weights from the training searches, neighbours without the query being trained on."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from components.common.errors import BadInput
from components.features.graph import QueryProductGraph
from components.features.schema import GRAPH
from components.features.step import build
from tests.features.logs import DAY_US, START_US, event, search, write_log


@pytest.fixture
def graph() -> QueryProductGraph:
    rows = [
        {"product_id": "p1", "queries": ["red lamp", "lamp", "light"], "weights": [8.0, 1.0, 1.0]},
        {"product_id": "p2", "queries": ["Lamp"], "weights": [2.0]},
    ]
    return QueryProductGraph(pa.Table.from_pylist(rows, schema=GRAPH))


def test_a_search_adds_the_weight_of_the_strongest_thing_done_and_the_heaviest_queries_are_kept(tmp_path):
    searches = [search(number, START_US + number * DAY_US, "lamp") for number in range(3)]
    searches += [
        search(3, START_US + 9, "red lamp"),
        search(4, START_US + 19, "lamp"),
        search(5, START_US + 29, "bulb"),
    ]
    events = [event(one["us"] + 1, "p1", search_id=one["search_id"]) for one in searches]
    events += [event(START_US + 2, "p1", search_id="s0"), event(START_US + 3, "p1", "order", search_id="s0")]
    log = write_log(tmp_path / "log", searches, events)
    build(
        log, tmp_path / "examples", tmp_path / "sources", json.dumps({"graph_weights": "1,2,3,10", "graph_queries": 2})
    )
    graph = QueryProductGraph.read(tmp_path / "examples" / "graph.parquet")
    queries, weights = graph.edges("p1")
    # s0 led to an order (10) and s4 to a click (1); s1 and s2 lie in the validation and test days; two are kept.
    assert (queries, weights.tolist()) == (["lamp", "bulb"], [11.0, 1.0])


def test_the_query_itself_is_never_a_neighbour(graph):
    generator = np.random.default_rng(1)
    for _ in range(50):
        assert "lamp" not in graph.neighbours("p1", " LAMP ", generator, 2)
    assert graph.neighbours("p2", "lamp", generator, 5) == []


def test_neighbours_are_drawn_by_weight_without_repetition(graph):
    generator = np.random.default_rng(7)
    drawn = [graph.neighbours("p1", None, generator, 2) for _ in range(1000)]
    assert all(len(set(queries)) == 2 for queries in drawn)
    first = Counter(queries[0] for queries in drawn)
    assert 0.75 < first["red lamp"] / 1000 < 0.85


def test_a_product_nobody_found_has_no_neighbours(graph):
    assert graph.neighbours("unknown", None, np.random.default_rng(1), 3) == []
    assert graph.edges("unknown")[0] == []


def test_an_empty_graph_answers(graph):
    assert QueryProductGraph(GRAPH.empty_table()).neighbours("p1", None, np.random.default_rng(1), 3) == []


def test_a_table_that_is_no_graph_is_refused():
    with pytest.raises(BadInput, match="lacks the column 'queries'"):
        QueryProductGraph(pa.table({"product_id": ["p1"], "weights": [[1.0]]}))
