"""Single rows gone wrong: ids, times, references, numbers, text."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.validation.corruption import corruption
from tests.validation.shop import edit, edit_description, file_of

HOUR = 3_600_000_000


def _set(log: Path, table: str, column: str, rows: int, value: Any) -> None:
    """Puts `value`, or what it returns for the old value, into a column of the first `rows` rows of the newest file."""

    def change(columns: dict[str, Any]) -> None:
        for row in range(rows):
            columns[column][row] = value(columns[column][row]) if callable(value) else value

    edit(file_of(log, table), change)


@corruption(quarantine=("products", "missing_value", 3))
def product_ids_null(log: Path) -> None:
    _set(log, "products", "product_id", 3, None)


@corruption(quarantine=("searches", "missing_id", 2))
def search_ids_empty(log: Path) -> None:
    _set(log, "searches", "search_id", 2, "")


@corruption(quarantine=("products", "duplicate_id", 4))
def product_ids_repeated(log: Path) -> None:
    _set(log, "products", "product_id", 5, "p00000")


@corruption(quarantine=("searches", "duplicate_id", 5))
def search_ids_repeated_in_a_day(log: Path) -> None:
    _set(log, "searches", "search_id", 6, "q005-00000")


@corruption(quarantine=("searches", "duplicate_id", 1))
def search_id_of_an_earlier_day(log: Path) -> None:
    _set(log, "searches", "search_id", 1, "q001-00000")


@corruption(quarantine=("products", "text_too_long", 1))
def product_id_of_a_kilobyte(log: Path) -> None:
    _set(log, "products", "product_id", 1, "x" * 1_000)


@corruption(stops="bad_day", says=("Table events", "unknown_product"), quarantine=("events", "unknown_product"))
def product_and_search_ids_swapped(log: Path) -> None:
    edit(file_of(log, "events"), lambda c: {**c, "product_id": c["search_id"], "search_id": c["product_id"]})


@corruption(quarantine=("events", "unknown_product", 12))
def events_of_unknown_products(log: Path) -> None:
    _set(log, "events", "product_id", 12, "p99999")


@corruption(quarantine=("events", "unknown_search", 12))
def events_of_unknown_searches(log: Path) -> None:
    _set(log, "events", "search_id", 12, "q999-99999")


@corruption(quarantine=("events", "unknown_action", 4))
def action_called_purchase(log: Path) -> None:
    _set(log, "events", "action", 4, "purchase")


@corruption(stops="bad_events", says=("unknown_action", "'IMPRESSION'"), quarantine=("events", "unknown_action"))
def actions_in_capitals(log: Path) -> None:
    for day in range(6):
        edit(file_of(log, "events", day), lambda c: {**c, "action": [a.upper() for a in c["action"]]})


@corruption(quarantine=("events", "before_impression", 1))
def order_before_its_impression(log: Path) -> None:
    def change(columns: dict[str, Any]) -> None:
        row = columns["action"].index("order")
        same = [
            i
            for i in range(len(columns["action"]))
            if (columns["search_id"][i], columns["product_id"][i])
            == (columns["search_id"][row], columns["product_id"][row])
            and columns["action"][i] == "impression"
        ]
        columns["timestamp"][same[0]] = columns["timestamp"][row] + 2_500_000

    edit(file_of(log, "events"), lambda c: _only_order_early(c, change))
    edit_description(log, counts={})


def _only_order_early(columns: dict[str, Any], change) -> dict[str, Any]:
    row = columns["action"].index("order")
    pair = (columns["search_id"][row], columns["product_id"][row])
    middle = [
        i
        for i in range(len(columns["action"]))
        if (columns["search_id"][i], columns["product_id"][i]) == pair and columns["action"][i] in ("click", "cart")
    ]
    change(columns)
    return {name: [v for i, v in enumerate(values) if i not in middle] for name, values in columns.items()}


@corruption(quarantine=("events", "before_search", 8))
def events_before_their_search(log: Path) -> None:
    def change(columns: dict[str, Any]) -> None:
        late = sorted(range(len(columns["timestamp"])), key=lambda i: columns["timestamp"][i])[-8:]
        for row in late:
            columns["timestamp"][row] -= 3 * HOUR

    edit(file_of(log, "events"), change)


@corruption(quarantine=("searches", "timestamp_unit", 5))
def seconds_instead_of_microseconds(log: Path) -> None:
    _set(log, "searches", "timestamp", 5, lambda moment: moment // 1_000_000)


@corruption(quarantine=("searches", "timestamp_unit", 5))
def milliseconds_instead_of_microseconds(log: Path) -> None:
    _set(log, "searches", "timestamp", 5, lambda moment: moment // 1_000)


@corruption(quarantine=("events", "timestamp_unit", 5))
def nanoseconds_instead_of_microseconds(log: Path) -> None:
    _set(log, "events", "timestamp", 5, lambda moment: moment * 1_000)


@corruption(quarantine=("events", "future", 6))
def events_in_the_future(log: Path) -> None:
    _set(log, "events", "timestamp", 6, 4_102_444_800_000_000)


@corruption(quarantine=("searches", "outside_window", 6))
def searches_before_the_window(log: Path) -> None:
    _set(log, "searches", "timestamp", 6, lambda moment: moment - 400 * 24 * HOUR)


@corruption(quarantine=("searches", "other_day", 6))
def searches_in_another_days_partition(log: Path) -> None:
    _set(log, "searches", "timestamp", 6, lambda moment: moment - 48 * HOUR)


@corruption(stops="bad_day", says=("2024-03-06", "local time"), quarantine=("events", "before_search"))
def half_of_the_events_in_local_time(log: Path) -> None:
    def change(columns: dict[str, Any]) -> None:
        for row in range(0, len(columns["timestamp"]), 2):
            columns["timestamp"][row] -= 5 * HOUR

    edit(file_of(log, "events"), change)


@corruption(quarantine=("products", "price_range", 5))
def prices_negative(log: Path) -> None:
    _set(log, "products", "price", 5, lambda price: -price)


@corruption(quarantine=("products", "price_range", 5))
def prices_zero(log: Path) -> None:
    _set(log, "products", "price", 5, 0.0)


@corruption(quarantine=("products", "not_finite", 5))
def prices_not_a_number(log: Path) -> None:
    _set(log, "products", "price", 5, math.nan)


@corruption(quarantine=("products", "not_finite", 5))
def prices_infinite(log: Path) -> None:
    _set(log, "products", "price", 5, math.inf)


@corruption(quarantine=("searches", "latitude_range", 3))
def latitude_of_1000(log: Path) -> None:
    edit(file_of(log, "searches"), lambda c: {**c, "latitude": [1_000.0] * 3 + [52.5] * (len(c["query"]) - 3)})


@corruption(stops="bad_events", says=("position_range",), quarantine=("events", "position_range"))
def positions_counted_from_zero(log: Path) -> None:
    for day in range(6):
        edit(file_of(log, "events", day), lambda c: {**c, "position": [p - 1 for p in c["position"]]})


@corruption(stops="bad_products", says=("empty_title",), quarantine=("products", "empty_title", 40))
def titles_emptied(log: Path) -> None:
    _set(log, "products", "title", 40, "  ")


@corruption(stops="category_mix", says=("Home > ",))
def category_levels_separated_by_a_slash(log: Path) -> None:
    def slashes(columns: dict[str, Any]) -> None:
        columns["category"] = [path.replace(" > ", "/") for path in columns["category"]]

    edit(file_of(log, "products"), slashes)


@corruption(quarantine=("products", "html", 5))
def html_in_titles(log: Path) -> None:
    _set(log, "products", "title", 5, lambda title: f"<b>{title}</b><br/>")


@corruption(harmless="a less-than sign is not a tag")
def comparison_signs_in_titles(log: Path) -> None:
    _set(log, "products", "title", 5, lambda title: f"{title} <3 kg, > 2 m")


@corruption(quarantine=("searches", "control_characters", 4))
def control_characters_in_queries(log: Path) -> None:
    _set(log, "searches", "query", 4, "lamp\x00red\x1b[31m")


@corruption(harmless="a wrong character set leaves text readable; the suites warn of it")
def queries_in_a_wrong_character_set(log: Path) -> None:
    _set(log, "searches", "query", 4, "shepherd\x89Ûªs hook")


@corruption(quarantine=("searches", "text_too_long", 1))
def query_of_100_kilobytes(log: Path) -> None:
    _set(log, "searches", "query", 1, "lamp " * 20_000)


@corruption(quarantine=("searches", "empty_query", 7))
def queries_of_blanks(log: Path) -> None:
    _set(log, "searches", "query", 7, " \u3000 ")


@corruption(quarantine=("searches", "undecodable_text", 3))
def queries_in_latin_1(log: Path) -> None:
    path = file_of(log, "searches")
    table = pq.read_table(path, partitioning=None)
    values = [text.encode() for text in table["query"].to_pylist()]
    values[:3] = ["Kühlschrank".encode("latin-1")] * 3
    binary = pa.array(values, pa.binary())
    text = pa.StringArray.from_buffers(len(binary), binary.buffers()[1], binary.buffers()[2])
    pq.write_table(table.set_column(table.column_names.index("query"), "query", text), path)


@corruption(quarantine=("searches", "undecodable_text", 3))
def queries_with_replacement_characters(log: Path) -> None:
    _set(log, "searches", "query", 3, "K\ufffdhlschrank")


@corruption(harmless="every script is text")
def queries_in_other_scripts(log: Path) -> None:
    _set(log, "searches", "query", 3, "冷蔵庫 ثلاجة 🧊")
