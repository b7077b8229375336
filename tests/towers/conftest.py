"""A tiny made-up shop in the format of the training examples: random, seeded, with something to learn."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

KINDS = ["drill", "hammer", "saw", "ladder", "paint", "lamp"]
BRANDS = ["acme", "borex", "corda", "delvo"]
COLOURS = ["red", "blue", "green", "black", "white"]
SYNONYMS = dict(zip(KINDS, ["borer", "mallet", "cutter", "steps", "coating", "light"], strict=True))
DAY = 86_400_000_000
START = 1_700_000_000_000_000


def make_products(count: int, seed: int = 0) -> pa.Table:
    """Products in the contract's columns; brand and colour are in the title."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        kind, brand, colour = rng.choice(KINDS), rng.choice(BRANDS), rng.choice(COLOURS)
        rows.append(
            {
                "product_id": f"p{number}",
                "title": f"{brand.title()} {colour} {kind} {rng.integers(2, 40)} in. model {rng.integers(100, 999)}",
                "brand": brand,
                "category": f"Tools > {kind}",
                "shop_id": f"shop{rng.integers(8)}",
                "price": float(np.round(rng.lognormal(3), 2)),
                "rating": float(rng.integers(1, 6)),
                "review_count": int(rng.integers(0, 500)),
                "sales": int(rng.integers(0, 500)),
                "attributes": [("colour", colour)],
                "description": f"A {colour} {kind} that lasts.",
                "latitude": 40.0 + rng.normal(),
                "longitude": -80.0 + rng.normal(),
                "country": str(rng.choice(["US", "CA"])),
                "in_stock": True,
            }
        )
    schema = pa.schema(
        [("product_id", pa.string()), ("title", pa.string()), ("brand", pa.string()), ("category", pa.string()),
         ("shop_id", pa.string()), ("price", pa.float64()), ("rating", pa.float64()), ("review_count", pa.int64()),
         ("sales", pa.int64()), ("attributes", pa.map_(pa.string(), pa.string())), ("description", pa.string()),
         ("latitude", pa.float64()), ("longitude", pa.float64()), ("country", pa.string()), ("in_stock", pa.bool_())]
    )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema)


def make_searches(products: pa.Table, count: int, seed: int, users: bool = True, day: int = 0) -> list[dict]:
    """Searches of shoppers who each love one brand: half of the queries use a word that no title has."""
    rng = np.random.default_rng(seed)
    titles, ids, brands = (products[name].to_pylist() for name in ("title", "product_id", "brand"))
    kinds = [category.split(" > ")[1] for category in products["category"].to_pylist()]
    rows = []
    for number in range(count):
        kind, brand = str(rng.choice(KINDS)), str(rng.choice(BRANDS))
        word = SYNONYMS[kind] if rng.random() < 0.5 else kind
        fitting = [row for row in range(len(ids)) if kinds[row] == kind]
        loved = [row for row in fitting if brands[row] == brand] or fitting
        chosen = [ids[row] for row in rng.permutation(loved)[:2]]
        shown = [ids[row] for row in rng.permutation(fitting)[:3] if ids[row] not in chosen]
        now = START + day * DAY + number * 1_000_000
        past = [row for row in range(len(ids)) if brands[row] == brand]
        visited = rng.permutation(past)[: rng.integers(0, 12)] if users and past else []
        actions = rng.integers(1, 5, len(visited))
        times = sorted(now - int(age) for age in rng.integers(1, 25 * DAY, len(visited)))
        rows.append(
            {
                "search_id": f"s{seed}-{number}", "timestamp": now, "query": f"{rng.choice(COLOURS)} {word}",
                "user_id": f"u{brand}" if users else None, "latitude": 41.0 if users else None,
                "longitude": -81.0 if users else None, "country": "US" if users else None,
                "product_ids": chosen + shown,
                "stages": [int(stage) for stage in rng.integers(1, 5, len(chosen))] + [0] * len(shown),
                "positions": list(range(1, len(chosen + shown) + 1)),
                "history_product_ids": [ids[row] for row in visited], "history_actions": actions.tolist(),
                "history_timestamps": times,
                "history_queries": [titles[row].lower() for row in visited[:3]],
                "history_query_timestamps": times[:3],
                "bought_product_ids": [ids[row] for row, action in zip(visited, actions, strict=True) if action == 4],
            }
        )  # fmt: skip
    return rows


SEARCHES = pa.schema(
    [("search_id", pa.string()), ("timestamp", pa.timestamp("us", tz="UTC")), ("query", pa.string()),
     ("user_id", pa.string()), ("latitude", pa.float64()), ("longitude", pa.float64()), ("country", pa.string()),
     ("product_ids", pa.list_(pa.string())), ("stages", pa.list_(pa.int8())), ("positions", pa.list_(pa.int32())),
     ("history_product_ids", pa.list_(pa.string())), ("history_actions", pa.list_(pa.int8())),
     ("history_timestamps", pa.list_(pa.int64())), ("history_queries", pa.list_(pa.string())),
     ("history_query_timestamps", pa.list_(pa.int64())), ("bought_product_ids", pa.list_(pa.string()))]
)  # fmt: skip


def write_examples(
    folder: Path, products: int = 120, train: int = 400, validation: int = 60, users: bool = True, bare: bool = False
) -> Path:
    """An examples folder; `bare` has titles alone and no shoppers, as a public judgement set has."""
    users = users and not bare
    folder.mkdir(parents=True, exist_ok=True)
    table = make_products(products)
    for seed, (name, count) in enumerate({"train": train, "validation": validation, "test": validation}.items()):
        rows = make_searches(table, count, seed, users, day=40 + seed)
        pq.write_table(pa.Table.from_pylist(rows, schema=SEARCHES), folder / f"{name}.parquet")
        if name == "train" and not bare:
            write_graph(folder / "graph.parquet", rows)
    pq.write_table(table.select(["product_id", "title"]) if bare else table, folder / "products.parquet")
    has = {"users": users, "times": users, "impressions": True, "locations": users, "judgements": False}
    description = {"split": "time", "has": has, "simulated": True, "source": "test", "settings": {},
                   "feature_service": "test_v1", "window": None}  # fmt: skip
    (folder / "features.json").write_text(json.dumps(description))
    return folder


def write_graph(path: Path, rows: list[dict]) -> None:
    """The query-product graph of training searches."""
    weights: dict[str, dict[str, float]] = {}
    for row in rows:
        for product, stage in zip(row["product_ids"], row["stages"], strict=True):
            if stage:
                edges = weights.setdefault(product, {})
                edges[row["query"]] = edges.get(row["query"], 0.0) + stage
    table = [{"product_id": p, "queries": list(e), "weights": list(e.values())} for p, e in sorted(weights.items())]
    schema = pa.schema(
        [("product_id", pa.string()), ("queries", pa.list_(pa.string())), ("weights", pa.list_(pa.float32()))]
    )
    pq.write_table(pa.Table.from_pylist(table, schema=schema), path)


SMALL = {
    "dimension": "16", "heads": "4", "epochs": "3", "batch_size": "64", "negatives": "60", "threads": "1",
    "hash_buckets": "50", "device": "cpu", "title_queries": "0",
}  # fmt: skip
"""Settings small enough for a test."""


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """The examples folder of the made-up shop."""
    return write_examples(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def bare_shop(tmp_path_factory):
    """The same without shoppers, brands, categories and graph: query, product and title alone."""
    return write_examples(tmp_path_factory.mktemp("bare"), bare=True)


@pytest.fixture(scope="session")
def towers(shop, tmp_path_factory):
    """Trained and exported MGDSPR towers of the made-up shop."""
    from components.towers.step import run

    out = tmp_path_factory.mktemp("towers") / "model"
    larger = {"dimension": "32", "epochs": "8", "title_queries": "6", "hash_buckets": "2000"}
    run(shop, out, "mgdspr", json.dumps({**SMALL, **larger}))
    return out
