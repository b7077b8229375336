"""Relevance control: key terms come from the catalogue, the log may overrule them, the rule never empties a list."""

import numpy as np
import pyarrow as pa
import pytest

from components.index.agreement import learn_agreement, survival
from components.index.postings import Postings, contained
from components.index.relevance import RelevanceControl, key_terms
from components.index.settings import IndexSettings
from components.index.terms import KeyTerm, Terms, learn_terms, product_words, shape
from components.logs.contract import PRODUCTS

SETTINGS = IndexSettings()


@pytest.fixture(scope="module")
def learned(products):
    return learn_terms(products, SETTINGS)


def words_of(query, learned):
    return [(term.kind, term.words) for term in key_terms(query, *learned)]


def test_values_written_in_titles_become_key_terms(learned):
    assert words_of("green KETTLES from old mill", learned) == [
        ("colour", ("green",)),
        ("category", ("kettle",)),
        ("brand", ("old", "mill")),
    ]


def test_values_nobody_writes_in_titles_are_none(learned):
    assert words_of("plain home lighting", learned) == []  # a style and category levels that no title mentions


def test_a_size_is_a_number_before_a_unit_and_a_model_number_has_a_learned_shape(learned):
    assert words_of("boot 5kg", learned) == [("category", ("boot",)), ("size", ("5 kg",))]
    assert words_of("drill ex1004", learned) == [("category", ("drill",)), ("model", ("ex1004",))]
    assert words_of("ex9999", learned) == []  # of the right shape, but no product carries it
    assert words_of("5 boots", learned) == [("category", ("boot",))]


def test_a_word_that_mostly_means_something_else_is_no_key_term():
    titles = ["Home lamp"] * 9 + ["Home phone", "Home phone", "Home phone"]
    brands = [None] * 9 + ["Home"] * 3
    table = pa.Table.from_pylist(
        [{"product_id": str(n), "title": t, "brand": b} for n, (t, b) in enumerate(zip(titles, brands, strict=True))],
        schema=PRODUCTS,
    )
    assert learn_terms(table, SETTINGS)[0].values == {}
    assert ("home",) in learn_terms(table, IndexSettings(key_precision=0.2))[0].values


def test_the_inverted_index_says_what_reading_each_product_says(products, learned):
    terms, postings = learned
    for query in ("red boots", "old mill drill", "blue tent 3 kg", "vela ax1000"):
        wanted = key_terms(query, terms, postings)
        assert wanted
        words = [word for term in wanted for word in term.words]
        carried = [product_words(product, terms.units) for product in products.to_pylist()]
        assert postings.all_of(words).tolist() == [row for row, found in enumerate(carried) if found.issuperset(words)]


def test_the_inverted_index_and_the_terms_survive_their_files(tmp_path, learned):
    terms, postings = learned
    postings.write(tmp_path)
    terms.write(tmp_path / "terms.json")
    again = Postings.read(tmp_path)
    assert again.words == postings.words
    np.testing.assert_array_equal(again.of("lamp"), postings.of("lamp"))
    assert again.of("unheard").tolist() == []
    assert Terms.read(tmp_path / "terms.json") == terms


def test_contained_is_membership():
    values = np.array([5, 1, 9, 5, 0])
    for ascending in ([], [5], [0, 1, 2], [10], [0, 1, 5, 9]):
        expected = np.isin(values, ascending)
        np.testing.assert_array_equal(contained(values, np.array(ascending, dtype=np.int64)), expected)


def control(terms, postings, **changes):
    return RelevanceControl(terms, postings, IndexSettings(**changes))


def found(rows):
    return np.array(rows, dtype=np.int64), np.linspace(1, 0, len(rows)).astype(np.float32)


def test_products_that_lack_a_key_term_are_dropped_in_order(products, learned):
    terms, postings = learned
    everything = found(np.random.default_rng(0).permutation(products.num_rows))
    controlled = control(terms, postings, relevance_minimum=2).apply("red boots", everything)
    titles = products.column("title").to_pylist()
    assert [term.words for term in controlled.terms] == [("red",), ("boot",)]
    assert all("red boot" in titles[row] for row in controlled.rows)
    kept = np.isin(everything[0], controlled.rows)
    np.testing.assert_array_equal(controlled.rows, everything[0][kept])
    np.testing.assert_array_equal(controlled.scores, everything[1][kept])
    assert controlled.removed == products.num_rows - len(controlled.rows)
    assert controlled.share_removed == controlled.removed / products.num_rows
    assert len(control(terms, postings, relevance_minimum=2).apply("red boots", everything, k=3).rows) == 3


def test_when_too_few_survive_the_least_reliable_term_is_given_up_first():
    postings = Postings.build([["red", "boot"], ["boot"], ["boot"], ["red"], ["tent"]])
    values = {
        ("red",): KeyTerm("colour", "red", ("red",), 0.91),
        ("boot",): KeyTerm("category", "Boots", ("boot",), 0.99),
        ("gold",): KeyTerm("colour", "gold", ("gold",), 0.99),
    }
    terms = Terms(values)
    everything = found(range(5))
    strict = control(terms, postings, relevance_minimum=1).apply("red boot", everything)
    assert strict.rows.tolist() == [0]
    relaxed = control(terms, postings, relevance_minimum=2).apply("red boot", everything)
    assert (relaxed.rows.tolist(), [t.value for t in relaxed.given_up]) == ([0, 1, 2], ["red"])
    hopeless = control(terms, postings, relevance_minimum=4).apply("red boot", everything)
    assert (hopeless.rows.tolist(), hopeless.terms, hopeless.removed) == ([0, 1, 2, 3, 4], (), 0)
    few = control(terms, postings, relevance_minimum=4).apply("boot", found(range(3)))
    assert (few.rows.tolist(), [t.value for t in few.terms], few.given_up) == ([0, 1, 2], ["Boots"], ())
    nowhere = control(terms, postings, relevance_minimum=1).apply("gold boot", everything)
    assert (nowhere.rows.tolist(), [t.value for t in nowhere.given_up]) == ([0, 1, 2], ["gold"])


def test_inside_the_search_the_same_rule_limits_the_rows(learned, products):
    terms, postings = learned
    inside = control(terms, postings, relevance="inside", relevance_minimum=2)
    rows, applied = inside.limit("red boots")
    everything = found(range(products.num_rows))
    np.testing.assert_array_equal(
        rows, control(terms, postings, relevance_minimum=2).apply("red boots", everything).rows
    )
    assert len(applied) == 2
    assert inside.limit("something nice") == (None, ())
    assert control(terms, postings, relevance="inside", relevance_minimum=10**6).limit("red boots") == (None, ())


def test_off_means_off(learned):
    off = control(*learned, relevance="off")
    assert off.apply("red boots", found(range(20))).removed == 0
    assert off.fetch("red boots", 10) == 10
    after = control(*learned, relevance="after")
    assert after.fetch("red boots", 10) == 30
    assert after.fetch("something nice", 10) == 10
    assert control(*learned, relevance="inside").fetch("red boots", 10) == 10


def test_kinds_that_shoppers_disregard_are_not_used(products, learned):
    terms, postings = learned
    titles = products.column("title").to_pylist()
    red = np.array([row for row, title in enumerate(titles) if " red " in title])
    boots = np.array([row for row, title in enumerate(titles) if "boot" in title])
    other_boots = np.setdiff1d(boots, red)
    seen = learn_agreement(terms, postings, ["red boots"] * 25, [other_boots] * 25, SETTINGS)
    assert (seen.kinds["colour"]["agreement"], seen.kinds["colour"]["used"]) == (0.0, False)
    assert (seen.kinds["category"]["agreement"], seen.kinds["category"]["used"]) == (1.0, True)
    assert [term.kind for term in key_terms("red boots", seen, postings)] == ["category"]
    few = learn_agreement(terms, postings, ["red boots"] * 5, [other_boots] * 5, SETTINGS)
    assert few.used("colour")  # five searches do not overrule the catalogue


def test_survival_counts_what_the_filter_removes(products, learned):
    titles = products.column("title").to_pylist()
    red_boots = np.array([row for row, title in enumerate(titles) if "red boot" in title])
    others = np.setdiff1d(np.arange(products.num_rows), red_boots)[:40]
    one = found([*red_boots, *others])
    figures = survival(
        control(*learned, relevance_minimum=1), ["red boots", "surprise"], [one, one], [red_boots[:2], others[:1]]
    )
    removed = 1 - len(red_boots) / len(one[0])
    assert figures["removed"] == pytest.approx(removed / 2)
    assert figures["with_key_terms"] == 0.5
    assert figures["engaged_kept"] == 1.0
    assert figures["found"] == len(one[0])


def test_the_shape_of_a_word_is_its_runs_and_length():
    assert shape("dcd771c2") == "a9a9:8"
    assert shape("dcd771c2") != shape("dcd771c22")
