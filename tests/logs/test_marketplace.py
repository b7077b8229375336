"""The marketplace as a log: the contract, determinism, independent days, and a truth outside the log."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from components.common.errors import BadSetting, NotFound
from components.common.settings import from_overrides
from components.logs.contract import REQUIRED, TABLES, Log
from components.logs.marketplace.demo import demo_shoppers
from components.logs.marketplace.generate import generate
from components.logs.marketplace.lexicon import lexicon, stems
from components.logs.marketplace.names import brand_names
from components.logs.marketplace.truth import Truth, truth_settings
from components.logs.settings import LogSettings
from tests.logs.conftest import SMALL, day_alone

_ONE_SMALL_LOG = """
import json, sys
from pathlib import Path
from components.logs.marketplace.generate import generate
from components.logs.settings import LogSettings
if __name__ == "__main__":
    out = Path(sys.argv[1])
    settings = LogSettings(products=1000, days=3, history_days=4, workers=int(sys.argv[2]))
    print(json.dumps(generate(settings, out / "log", out / "truth")["fingerprint"]))
"""


def test_every_table_has_its_schema_and_no_null_where_one_is_required(market):
    for name in ("products", "searches", "events"):
        rows = market.log.read(name)
        assert [field.type for field in rows.schema] == [field.type for field in TABLES[name]]
        assert [rows[column].null_count for column in REQUIRED[name]] == [0] * len(REQUIRED[name])


def test_the_log_says_that_it_is_simulated(market):
    assert market.log.simulated
    assert market.log.description["notes"][0].startswith("Simulated")


def test_ids_are_unique_and_events_refer_to_what_exists(market):
    assert market.searches.search_id.is_unique
    products = set(market.log.products()["product_id"].to_pylist())
    assert len(products) == market.world.settings.products
    assert set(market.events.product_id) <= products
    assert set(market.events.search_id.dropna()) <= set(market.searches.search_id)


def test_an_action_in_search_follows_its_impression_and_an_order_its_click(market):
    found = market.events[market.events.search_id.notna()]
    first = found.pivot_table(index=["search_id", "product_id"], columns="action", values="timestamp", aggfunc="min")
    assert (first.impression < first.click)[first.click.notna()].all()
    assert first.loc[first.order.notna(), "click"].notna().all()
    assert (first.click < first.cart)[first.cart.notna()].all()
    assert (first.cart < first.order)[first.order.notna()].all()


def test_every_event_lies_in_the_partition_of_its_day_and_in_order_of_time(market):
    for table in ("searches", "events"):
        for day in market.log.days(table):
            times = market.log.read(table, days=[day])["timestamp"].to_pandas()
            assert set(times.dt.strftime("%Y-%m-%d")) == {day}
            assert times.is_monotonic_increasing


def test_a_product_is_neither_shown_nor_viewed_before_the_day_it_appears(market):
    born = market.world.catalogue.born[market.events.product_id.str[1:].astype(int)]
    first = market.world.first_day
    day = (market.events.timestamp.dt.tz_localize(None) - np.datetime64(first)).dt.days
    assert (day >= born).all()
    assert (market.world.catalogue.born > 0).sum() > 100


def test_the_same_settings_give_the_same_bytes_in_any_process(tmp_path):
    script = tmp_path / "one_small_log.py"
    script.write_text(_ONE_SMALL_LOG)
    found = []
    for hash_seed, threads, workers in (("1", "1", "1"), ("2", "4", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": threads, "PYTHONPATH": "."}
        command = [sys.executable, str(script), str(tmp_path / hash_seed), workers]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]


def test_a_day_made_alone_is_the_day_of_the_whole_log(tmp_path):
    generate(SMALL, tmp_path / "log", tmp_path / "truth")
    log = Log(tmp_path / "log")
    ((searches, events),) = day_alone(SMALL, SMALL.history_days)
    day = log.days("searches")[0]
    assert log.read("searches", days=[day]).equals(searches.cast(log.read("searches").schema))
    assert log.read("events", days=[day]).equals(events.cast(log.read("events").schema))


def test_another_seed_is_another_market(tmp_path):
    one, other = (next(iter(day_alone(replace(SMALL, seed=seed), 5)))[1] for seed in (1, 2))
    assert one["product_id"].to_pylist()[:50] != other["product_id"].to_pylist()[:50]


def test_activity_scales_searches_and_products_scale_with_one_number():
    def searches(settings: LogSettings) -> int:
        return sum(part[0].num_rows for part in day_alone(settings, settings.history_days))

    base = searches(SMALL)
    assert 1.5 * base < searches(replace(SMALL, activity=2.0)) < 2.5 * base
    assert 3 * base < searches(replace(SMALL, products=4000)) < 5 * base


def test_what_shoppers_say_shares_no_word_with_titles_of_what_they_mean():
    words = lexicon()
    styles = frozenset().union(*[stems(word) for group in words.style_words for word in group])
    for kind in words.types:
        title = styles.union(*[stems(noun) for noun in kind.titles])
        title = title.union(*[stems(value) for slot in kind.slots for value in words.attributes[slot]])
        assert not [said for said in kind.say if stems(said) & title], kind.path
    for name, values in words.attributes.items():
        for value, said in zip(values, words.said[name], strict=True):
            assert not [text for text in said if stems(text) & stems(value)], (name, value)


def test_brand_names_are_all_different_and_no_words_of_the_shop():
    names = brand_names(20_000)
    assert len(set(names)) == len(names)
    spoken = frozenset().union(*[stems(noun) for kind in lexicon().types for noun in kind.nouns])
    assert not spoken & {name.lower() for name in names}


def test_titles_and_queries_are_normal_text(market):
    for text in [*market.log.products()["title"].to_pylist()[:500], *market.searches["query"][:500]]:
        assert text == " ".join(text.split())
        assert text.isprintable()
        assert 2 <= len(text) <= 200


def test_relevance_is_one_for_a_product_that_has_all_a_query_asks_for(market):
    words = lexicon()
    number = 0
    kind = words.types[market.world.catalogue.type[number]]
    same = np.flatnonzero(market.world.catalogue.type == market.world.catalogue.type[number])
    query = next(noun.lower() for noun in kind.nouns if noun.lower() in market.truth.queries)
    assert {f"p{product:08d}" for product in same} <= market.truth.relevant(query)
    assert market.truth.relevance(query, ["p00000000", "no such product"]).tolist() == [1.0, 0.0]


def test_relevance_grades_agree_with_the_set_of_relevant_products(market):
    ids = market.log.products()["product_id"].to_pylist()
    for query in market.truth.queries[:50]:
        grades = market.truth.relevance(query, ids)
        assert grades.dtype == np.float32
        assert ((grades >= 0) & (grades <= 1)).all()
        assert {ids[row] for row in np.flatnonzero(grades == 1)} == market.truth.relevant(query)
        assert market.truth.relevant(query), query


def test_every_query_of_the_log_has_its_meaning_in_the_truth(market):
    assert set(market.searches["query"]) == set(market.truth.queries)


def test_the_truth_is_not_in_the_log(market):
    names = {path.name for path in (market.folder / "log").rglob("*")}
    assert not names & {"truth.json", "shoppers", "queries"}
    assert truth_settings(market.folder / "truth") == LogSettings()


def test_a_folder_without_truth_is_said_to_have_none(tmp_path):
    with pytest.raises(NotFound, match="holds no truth"):
        Truth.read(tmp_path)


def test_the_demonstration_has_two_shoppers_of_opposite_taste_and_a_frequent_query(market):
    thrifty, lavish, query = demo_shoppers(market.folder / "truth")
    assert (market.searches["query"] == query).sum() >= 50
    fashion = market.log.products().filter(
        pa.compute.match_substring_regex(market.log.products()["category"], "^(Shoes|Clothing|Accessories)")
    )
    prices = dict(zip(fashion["product_id"].to_pylist(), fashion["price"].to_pylist(), strict=True))
    bought = market.events[(market.events.action != "impression") & market.events.product_id.isin(list(prices))]
    typical = bought.assign(price=bought.product_id.map(prices)).groupby("user_id").price.median()
    assert typical[thrifty] * 1.2 < typical[lavish]


@pytest.mark.parametrize(
    ("name", "value"),
    [("products", "999"), ("days", "2"), ("activity", "0"), ("overlap", "1.5"), ("end", "yesterday"), ("workers", "0")],
)
def test_a_setting_out_of_range_is_named(name, value):
    with pytest.raises(BadSetting, match=f"logs.{name} must"):
        from_overrides(LogSettings, {name: value})
