"""Logs whose rows are all well-formed and whose whole is wrong."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.validation.corruption import corruption
from tests.validation.shop import edit, edit_description, file_of


def _multiply(columns: dict[str, Any], key: str, times: int) -> dict[str, Any]:
    result = {name: list(values) for name, values in columns.items()}
    for copy in range(1, times):
        for name, values in columns.items():
            result[name] += [f"{value}-{copy}" for value in values] if name == key else values
    return result


@corruption(stops="prices", says=("cents", "median price"))
def prices_in_cents(log: Path) -> None:
    edit(file_of(log, "products"), lambda c: {**c, "price": [100 * price for price in c["price"]]})


@corruption(stops="category_mix", says=("categories differ", "'Home > ", "to 0%"))
def category_tree_replaced(log: Path) -> None:
    edit(file_of(log, "products"), lambda c: {**c, "category": [f"Catalogue > Group {i % 9}" for i in range(400)]})


@corruption(stops="brand_mix", says=("brands differ",))
def brands_renamed(log: Path) -> None:
    edit(file_of(log, "products"), lambda c: {**c, "brand": [f"{name} Ltd." for name in c["brand"]]})


@corruption(stops="title_length", says=("titles are longer",))
def titles_replaced_by_descriptions(log: Path) -> None:
    edit(file_of(log, "products"), lambda c: {**c, "title": [" ".join([text] * 8) for text in c["title"]]})


@corruption(stops="catalogue_size", says=("100 products", "had 400"), quarantine=("events", "unknown_product"))
def three_quarters_of_the_catalogue_lost(log: Path) -> None:
    edit(file_of(log, "products"), lambda c: {name: values[::4] for name, values in c.items()})
    edit_description(log, counts={})


@corruption(stops="one_shopper", says=("'u0000'", "31%", "3,399 events of 2024-03-06"))
def one_shopper_with_30_percent_of_all_events(log: Path) -> None:
    rng = np.random.default_rng(1)
    for table in ("searches", "events"):
        for day in range(6):
            edit(file_of(log, table, day), lambda c: _take_sessions(c, rng))


def _take_sessions(columns: dict[str, Any], rng: np.random.Generator) -> None:
    columns["user_id"] = [
        "u0000" if int(name[5:]) % 10 < 3 else user
        for name, user in zip(columns["search_id"], columns["user_id"], strict=True)
    ]


@corruption(stops="bot_traffic", says=("programs, not shoppers",))
def bot_that_clicks_everything(log: Path) -> None:
    def change(columns: dict[str, Any]) -> None:
        shown = [i for i, action in enumerate(columns["action"]) if action == "impression"][:400]
        start = columns["timestamp"][shown[-1]] + 2_000_000
        for number, row in enumerate(shown):
            for name in columns:
                columns[name].append(columns[name][row])
            columns["action"][-1], columns["user_id"][-1] = "click", "bot"
            columns["timestamp"][-1] = start + number * 100_000

    edit(file_of(log, "events"), change)
    edit_description(log, counts={})


def add_a_program(columns: dict[str, Any]) -> None:
    """Appends 300 searches of one user within a minute."""
    for number in range(300):
        columns["search_id"].append(f"bot-{number}")
        columns["query"].append(columns["query"][number % 200])
        columns["user_id"].append("bot")
        columns["timestamp"].append(columns["timestamp"][100] + number * 200_000)


@corruption(stops="bot_traffic", says=("searches of 2024-03-06", "programs"))
def bot_that_searches_all_day(log: Path) -> None:
    edit(file_of(log, "searches"), add_a_program)
    edit_description(log, counts={})


@corruption(stops="one_query", says=("'free gift'",))
def one_query_repeated_by_machines(log: Path) -> None:
    edit(
        file_of(log, "searches"),
        lambda c: {**c, "query": ["free gift" if i % 5 < 2 else text for i, text in enumerate(c["query"])]},
    )


@corruption(stops="unknown_words", says=("occur nowhere in the catalogue",))
def queries_in_another_language(log: Path) -> None:
    edit(file_of(log, "searches"), lambda c: {**c, "query": [f"lampara roja{i % 40}" for i in range(len(c["query"]))]})


@corruption(stops="query_length", says=("words long on average",))
def queries_that_are_sentences(log: Path) -> None:
    edit(file_of(log, "searches"), lambda c: {**c, "query": [f"{text} " * 6 for text in c["query"]]})


@corruption(stops="search_volume", says=("2024-03-06", "4", "times"))
def four_times_the_searches(log: Path) -> None:
    edit(file_of(log, "searches"), lambda c: _multiply(c, "search_id", 4))
    edit_description(log, counts={})


@corruption(stops="event_volume", says=("events 'click'", "none of"))
def clicks_lost(log: Path) -> None:
    _keep(log, lambda action: action == "impression")


@corruption(stops="event_volume", says=("events 'order'",))
def orders_lost(log: Path) -> None:
    _keep(log, lambda action: action != "order")


def _keep(log: Path, wanted) -> None:
    def change(columns: dict[str, Any]) -> dict[str, Any]:
        keep = [i for i, action in enumerate(columns["action"]) if wanted(action)]
        return {name: [values[i] for i in keep] for name, values in columns.items()}

    edit(file_of(log, "events"), change)
    edit_description(log, counts={})


@corruption(stops="click_through", says=("Clicks per impression",))
def every_second_impression_clicked(log: Path) -> None:
    def change(columns: dict[str, Any]) -> None:
        shown = [i for i, action in enumerate(columns["action"]) if action == "impression"]
        for row in shown[::2]:
            for name in columns:
                columns[name].append(columns[name][row])
            columns["action"][-1] = "click"
            columns["timestamp"][-1] += 1_700_000

    edit(file_of(log, "events"), change)
    edit_description(log, counts={})


@corruption(stops="conversion", says=("events 'cart' a click",))
def every_click_fills_the_cart(log: Path) -> None:
    def change(columns: dict[str, Any]) -> None:
        for row in [i for i, action in enumerate(columns["action"]) if action == "click"]:
            for copy in range(3):
                for name in columns:
                    columns[name].append(columns[name][row])
                columns["action"][-1] = "cart"
                columns["timestamp"][-1] += 100_000 + copy

    edit(file_of(log, "events"), change)
    edit_description(log, counts={})


@corruption(stops="traffic_categories", says=("other categories", "lamps"))
def all_traffic_to_one_category(log: Path) -> None:
    import pyarrow.parquet as pq

    products = pq.read_table(file_of(log, "products"))
    pairs = zip(products["product_id"].to_pylist(), products["category"].to_pylist(), strict=True)
    lamps = [name for name, category in pairs if "lamps" in category]

    def change(columns: dict[str, Any]) -> None:
        place = {name: i for i, name in enumerate(sorted(set(columns["product_id"])))}
        columns["product_id"] = [lamps[place[name] % len(lamps)] for name in columns["product_id"]]

    edit(file_of(log, "events"), change)


@corruption(stops="null_share", says=("100% of user_id are null in 2024-03-06",))
def users_lost(log: Path) -> None:
    for table in ("searches", "events"):
        edit(file_of(log, table), lambda c: {**c, "user_id": [None] * len(c["user_id"])})


@corruption(stops="other_user", says=("another user_id than the search",))
def users_mixed_up_between_rows(log: Path) -> None:
    edit(file_of(log, "events"), lambda c: {**c, "user_id": c["user_id"][7:] + c["user_id"][:7]})


@corruption(stops="hour_profile", says=("spread over the hours otherwise",))
def night_and_day_exchanged(log: Path) -> None:
    half = 12 * 3_600_000_000

    def change(columns: dict[str, Any]) -> None:
        columns["timestamp"] = [t + half if t // half % 2 == 0 else t - half for t in columns["timestamp"]]

    for table in ("searches", "events"):
        edit(file_of(log, table), change)


@corruption(warns="label_leak", says=("are the first rows", "shuffle"))
def clicked_products_first_in_the_rows(log: Path) -> None:
    edit(file_of(log, "events"), lambda c: _clicked_first(c, by_position=False))


@corruption(warns="label_leak", says=("hold the first positions", "gives the labels away"))
def clicked_products_first_by_position(log: Path) -> None:
    edit(file_of(log, "events"), lambda c: _clicked_first(c, by_position=True))


def _clicked_first(columns: dict[str, Any], by_position: bool) -> dict[str, Any]:
    keys = list(zip(columns["search_id"], columns["product_id"], strict=True))
    clicked = {key for key, action in zip(keys, columns["action"], strict=True) if action != "impression"}
    order = sorted(range(len(keys)), key=lambda i: (keys[i][0], keys[i] not in clicked, columns["position"][i]))
    result = {name: [values[i] for i in order] for name, values in columns.items()}
    if by_position:
        places: dict[tuple[str, str], int] = {}
        counts: dict[str, int] = {}
        for i in order:
            if keys[i] not in places:
                counts[keys[i][0]] = counts.get(keys[i][0], 0) + 1
                places[keys[i]] = counts[keys[i][0]]
        result["position"] = [places[keys[i]] for i in order]
    return result
