"""A tiny simulated examples folder in the public format: shoppers of two cities who stay with their shop."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

KINDS = ("lamp", "chair", "mug", "poster", "blanket", "candle")
LOOKS = ("red", "oak", "linen", "brass", "blue")
CITIES = ((52.5, 13.4, "DE"), (40.7, -74.0, "US"))
DAY = 86_400_000_000
STRINGS, STAGES, LONGS = pa.list_(pa.string()), pa.list_(pa.int8()), pa.list_(pa.int64())


def write_tiny_shop(folder: Path, searches: int = 120, seed: int = 0, locations: bool = True) -> Path:
    """60 products, `searches` training and 40 validation searches of 10 shoppers; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    products = _products(locations)
    pq.write_table(products, folder / "products.parquet")
    for name, count, first_day in (("train", searches, 1), ("validation", 40, 20), ("test", 40, 21)):
        rows = [_search(f"{name}-{number}", first_day + number % 10, products, random) for number in range(count)]
        pq.write_table(_table(rows, locations), folder / f"{name}.parquet")
    pq.write_table(_graph(folder), folder / "graph.parquet")
    has = {"users": True, "times": True, "impressions": True, "locations": locations, "judgements": False}
    (folder / "features.json").write_text(json.dumps({"split": "time", "has": has, "simulated": True, "settings": {}}))
    return folder


def _products(locations: bool) -> pa.Table:
    rows = []
    for number in range(60):
        kind, look, city = KINDS[number % 6], LOOKS[number % 5], CITIES[number % 2]
        rows.append(
            {
                "product_id": f"p{number}",
                "title": f"{look} {kind} number {number}",
                "description": f"A {kind} made of {look}, sold by the piece.",
                "brand": f"brand {number % 4}",
                "category": f"Home > {kind}s",
                "shop_id": f"shop {number % 8}",
                "price": 5.0 + number,
                "rating": None if number % 7 == 0 else 3.0 + number % 3,
                "review_count": number,
                "sales": number * 2,
                "latitude": city[0] if locations else None,
                "longitude": city[1] if locations else None,
                "country": city[2] if locations else None,
                "attributes": [("colour", look)],
            }
        )
    types = {"attributes": pa.map_(pa.string(), pa.string()), "review_count": pa.int64(), "sales": pa.int64()}
    numbers = dict.fromkeys(("price", "rating", "latitude", "longitude"), pa.float64())
    schema = pa.schema([(name, (types | numbers).get(name, pa.string())) for name in rows[0]])
    return pa.Table.from_pylist(rows, schema)


def _search(search_id: str, day: int, products: pa.Table, random: np.random.Generator) -> dict:
    user = int(random.integers(10))
    kind, look = KINDS[random.integers(6)], LOOKS[random.integers(5)]
    titles = products["title"].to_pylist()
    fitting = [row for row, title in enumerate(titles) if kind in title]
    fitting.sort(key=lambda row: (row % 8 != user % 8, look not in titles[row]))
    shown = [*fitting[:4], *random.choice(60, 2, replace=False).tolist()]
    shown = list(dict.fromkeys(shown))
    stages = [4 if place == 0 and user % 2 else 1 if place < 2 else 0 for place in range(len(shown))]
    now = day * DAY + int(random.integers(DAY))
    past = sorted(int(now - random.integers(1, 20 * DAY)) for _ in range(user))
    own = [row for row in range(60) if row % 8 == user % 8]
    history = [f"p{own[random.integers(len(own))]}" for _ in past]
    city = CITIES[user % 2]
    return {
        "search_id": search_id, "timestamp": now, "query": f"{look} {kind}", "user_id": f"u{user}",
        "latitude": city[0], "longitude": city[1], "country": city[2],
        "product_ids": [f"p{row}" for row in shown], "stages": stages, "positions": list(range(1, len(shown) + 1)),
        "history_product_ids": history, "history_actions": [1 + row % 4 for row in range(len(past))],
        "history_timestamps": past,
        "history_queries": [f"{LOOKS[user % 5]} {KINDS[user % 6]}"] * min(2, user),
        "history_query_timestamps": past[: min(2, user)],
        "bought_product_ids": history[:2],
    }  # fmt: skip


def _table(rows: list[dict], locations: bool) -> pa.Table:
    if not locations:
        rows = [row | {"latitude": None, "longitude": None, "country": None} for row in rows]
    types = {
        "timestamp": pa.timestamp("us", tz="UTC"), "latitude": pa.float64(), "longitude": pa.float64(),
        "product_ids": STRINGS, "stages": STAGES, "positions": pa.list_(pa.int32()), "history_product_ids": STRINGS,
        "history_actions": STAGES, "history_timestamps": LONGS, "history_queries": STRINGS,
        "history_query_timestamps": LONGS, "bought_product_ids": STRINGS,
    }  # fmt: skip
    return pa.Table.from_pylist(rows, pa.schema([(name, types.get(name, pa.string())) for name in rows[0]]))


def _graph(folder: Path) -> pa.Table:
    weights: dict[str, dict[str, float]] = {}
    for row in pq.read_table(folder / "train.parquet").to_pylist():
        for product, stage in zip(row["product_ids"], row["stages"], strict=True):
            if stage:
                queries = weights.setdefault(product, {})
                queries[row["query"]] = queries.get(row["query"], 0.0) + float(stage)
    rows = [
        {"product_id": product, "queries": list(queries), "weights": list(queries.values())}
        for product, queries in weights.items()
    ]
    floats = pa.list_(pa.float32())
    return pa.Table.from_pylist(rows, pa.schema({"product_id": pa.string(), "queries": STRINGS, "weights": floats}))
