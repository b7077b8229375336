"""What the marketplace is for: each technique of retrieval has something to show on it."""

from dataclasses import replace

import numpy as np
import pytest

from components.logs.marketplace.calendar import season
from components.logs.marketplace.day import shard_shoppers
from components.logs.marketplace.lexicon import lexicon, stems
from components.logs.marketplace.shoppers import make_shoppers
from components.logs.marketplace.taste import taste
from tests.logs.conftest import SMALL, day_alone


@pytest.fixture(scope="module")
def shown(market):
    """A sample of products shown to known shoppers, with relevance, taste and what became of them."""
    last = market.searches[market.searches.timestamp >= market.searches.timestamp.max().normalize()]
    last = last[last.user_id.notna()].sample(900, random_state=1)
    events = market.events[market.events.search_id.isin(set(last.search_id))]
    rows = events[events.action == "impression"].merge(last[["search_id", "query"]], on="search_id")
    key = list(zip(events.search_id, events.product_id, strict=True))
    for action in ("click", "order"):
        hits = {pair for pair, is_hit in zip(key, events.action == action, strict=True) if is_hit}
        rows[action] = [pair in hits for pair in zip(rows.search_id, rows.product_id, strict=True)]
    rows["number"] = rows.product_id.str[1:].astype(int)
    rows["grade"] = 0.0
    for query, group in rows.groupby("query"):
        rows.loc[group.index, "grade"] = market.truth.relevance(query, group.product_id.tolist())
    shoppers = shard_shoppers(market.world, market.world.days - 1, 0)
    who = rows.user_id.str[1:].astype(int).to_numpy()
    rows["taste"] = taste(market.world, shoppers, who, rows.number.to_numpy(dtype=np.int32)[:, None])[:, 0]
    rows["shopper"] = who
    return rows


def test_the_old_engine_shows_what_is_not_relevant_and_clicks_mostly_avoid_it(shown):
    assert 0.4 < (shown.grade == 1).mean() < 0.8
    assert 0.8 < (shown[shown.click].grade == 1).mean() < 0.97


def test_among_relevant_products_taste_decides_what_is_clicked(shown):
    relevant = shown[shown.grade == 1]
    assert relevant[relevant.click].taste.mean() > relevant[~relevant.click].taste.mean() + 0.5


def test_rank_moves_clicks_where_relevance_and_taste_are_alike(shown):
    alike = shown[(shown.grade == 1) & (shown.taste.abs() < 1)]
    assert alike[alike.position <= 2].click.mean() > 1.4 * alike[alike.position >= 8].click.mean()


def test_the_picture_moves_clicks_and_says_nothing_about_relevance(market, shown):
    appeal = market.world.catalogue.appeal[shown.number]
    assert appeal[shown.click].mean() > appeal[~shown.click].mean() + 0.1
    assert abs(np.corrcoef(appeal, shown.grade)[0, 1]) < 0.05


def test_quality_moves_orders_and_neither_clicks_nor_relevance(market):
    found = market.events[market.events.search_id.notna()]
    quality = market.world.catalogue.quality[found.product_id.str[1:].astype(int)]
    shown, clicked, ordered = (
        quality[(found.action == action).to_numpy()].mean() for action in ("impression", "click", "order")
    )
    assert ordered > clicked + 0.3
    assert abs(clicked - shown) < 0.1


def test_near_shops_are_preferred_for_bulky_products_alone(market):
    found = market.events[market.events.search_id.notna() & market.events.user_id.notna()]
    number = found.product_id.str[1:].astype(int).to_numpy()
    place = shard_shoppers(market.world, market.world.days - 1, 0).place[found.user_id.str[1:].astype(int)]
    near = market.world.shops.place[market.world.catalogue.shop[number]] == place
    local = np.array([kind.local for kind in lexicon().types])[market.world.catalogue.type[number]]
    clicked, shown = ((found.action == action).to_numpy() for action in ("click", "impression"))

    def rate(where: np.ndarray) -> float:
        return (clicked & where).sum() / (shown & where).sum()

    assert rate(local & near) > 1.4 * rate(local & ~near)
    assert 0.8 < rate(~local & near) / rate(~local & ~near) < 1.25


def test_many_queries_share_no_word_with_the_titles_they_lead_to(market, shown):
    titles = dict(zip(*[market.log.products()[name].to_pylist() for name in ("product_id", "title")], strict=True))
    clicked = shown[shown.click & (shown.grade == 1)]
    apart = [not stems(query) & stems(titles[product]) for query, product in
             zip(clicked["query"], clicked.product_id, strict=True)]  # fmt: skip
    assert 0.2 < np.mean(apart) < 0.6


def test_the_overlap_setting_moves_the_share_of_title_words_in_queries():
    nouns = {noun.lower() for kind in lexicon().types for noun in kind.titles}

    def share(overlap: float) -> float:
        ((searches, _),) = day_alone(replace(SMALL, overlap=overlap), SMALL.history_days)
        queries = searches["query"].to_pylist()
        return float(np.mean([any(noun in query for noun in nouns) for query in queries]))

    assert share(0.1) + 0.2 < share(0.5) < share(0.9) - 0.2


def test_an_occasion_is_served_by_several_kinds_of_product(market):
    texts = {said for occasion in lexicon().occasions for said in occasion.say}
    asked = market.searches[market.searches["query"].isin(texts)]
    assert 0.03 < len(asked) / len(market.searches) < 0.1
    kind = market.world.catalogue.type
    clicks = market.events[(market.events.action == "click") & market.events.search_id.isin(set(asked.search_id))]
    clicks = clicks.merge(asked[["search_id", "query"]], on="search_id")
    kinds = clicks.assign(kind=kind[clicks.product_id.str[1:].astype(int)]).groupby("query").kind.nunique()
    assert kinds.median() >= 3


def test_history_helps_some_queries_and_not_others(market):
    types = lexicon().types
    weight = np.array([kind.taste for kind in types])
    assert (weight == 0).any()
    assert (weight >= 1).any()
    shoppers = shard_shoppers(market.world, 0, 0)
    plain = np.flatnonzero(np.isin(market.world.catalogue.type, np.flatnonzero(weight == 0)))[None, :5]
    assert (taste(market.world, shoppers, np.array([0]), plain.astype(np.int32)) == 0).all()


def test_a_later_query_of_a_visit_keeps_to_what_the_visit_is_about(market):
    known = market.searches[market.searches.user_id.notna()].sort_values(["user_id", "timestamp"])
    near = (known.user_id == known.user_id.shift()) & (known.timestamp - known.timestamp.shift() < "5min")
    pairs = list(zip(known["query"].shift()[near], known["query"][near], strict=True))[:400]
    common = [bool(market.truth.relevant(one) & market.truth.relevant(other)) for one, other in pairs]
    assert np.mean(common) > 0.8


def test_tastes_last_for_weeks_and_drift(market):
    world, number = market.world, np.arange(500)

    def liked(today: int) -> np.ndarray:
        return make_shoppers(world.seed, number, 400, today, world.lexicon, world.brands, world.demand).styles[:, :, 1]

    assert (liked(0) == liked(3)).mean() > 0.85
    assert (liked(0) == liked(90)).mean() < 0.3


def test_the_mix_of_products_follows_the_season(market):
    names = [kind.leaf for kind in market.world.lexicon.types]
    june, december = season(market.world, 10), season(market.world, 10 + 183)
    assert june[names.index("Sandals")] > 1.5 * december[names.index("Sandals")]
    assert december[names.index("Scarves")] > 1.5 * june[names.index("Scarves")]
    assert june.sum() == pytest.approx(1)


def test_some_shoppers_are_anonymous_and_new_ones_come_every_day(market):
    assert 0.05 < market.searches.user_id.isna().mean() < 0.2
    first = market.events[market.events.user_id.notna()].groupby("user_id").timestamp.min().dt.date
    assert first.value_counts().sort_index().tail(5).min() > 0


def test_head_queries_are_frequent_and_tail_queries_many(market):
    counts = market.searches["query"].value_counts()
    assert counts.head(len(counts) // 20).sum() > 0.35 * len(market.searches)
    assert (counts == 1).sum() > 0.5 * len(counts)
