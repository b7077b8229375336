"""A tiny shop and towers that need no training: words hashed to vectors, so that equal words attract."""

import hashlib
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.common.files import write_json
from components.features.history import History
from components.features.schema import EXAMPLES
from components.logs.contract import PRODUCTS
from components.towers.text import stems

DIMENSION = 24
BRANDS = ("Norrland", "Kestrel", "Old Mill", "Vela")
TYPES = {"lamp": "Home > Lighting > Lamps", "kettle": "Home > Kitchen > Kettles", "boot": "Shoes > Boots",
         "tent": "Outdoor > Tents", "drill": "Tools > Drills"}  # fmt: skip
COLOURS = ("red", "blue", "green", "black")
START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Request:
    """As `components.towers.encoder.Request`."""

    query: str
    history: History
    now: int
    latitude: float | None = None
    longitude: float | None = None
    country: str | None = None


def word_vector(word: str) -> np.ndarray:
    """A fixed random direction float32 [d] per word."""
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


def text_vector(texts: Sequence[str]) -> np.ndarray:
    """Unit sum of the word vectors."""
    total = sum((word_vector(word) for text in texts for word in stems(text)), np.full(DIMENSION, 1e-3, np.float32))
    return (total / np.linalg.norm(total)).astype(np.float32)


class ItemEncoder:
    """Titles to unit vectors. A title that holds BROKEN gives NaN."""

    def __init__(self, model_dir: Path, engine: str = "torch") -> None:
        self.dimension = DIMENSION

    def encode(self, products: pa.Table) -> np.ndarray:
        """float32 [n, d]."""
        titles = products.column("title").to_pylist()
        vectors = np.stack([text_vector([title]) for title in titles])
        vectors[["BROKEN" in title for title in titles]] = np.nan
        return vectors


class QueryEncoder:
    """Queries to unit vectors, pulled a little towards the products of the history."""

    def __init__(self, model_dir: Path, engine: str = "torch") -> None:
        self.dimension = DIMENSION

    def encode(self, requests: Sequence[Request]) -> np.ndarray:
        """float32 [n, d]."""
        vectors = [text_vector([request.query]) for request in requests]
        for number, request in enumerate(requests):
            for product_id in request.history.product_ids[-3:]:
                vectors[number] = vectors[number] + 0.1 * word_vector(product_id)
        return np.stack([vector / np.linalg.norm(vector) for vector in vectors]).astype(np.float32)


def encoder_module() -> Any:
    """A module that stands for `components.towers.encoder`."""
    module: Any = types.ModuleType("components.towers.encoder")
    module.Request, module.ItemEncoder, module.QueryEncoder = Request, ItemEncoder, QueryEncoder
    return module


def install() -> None:
    """Puts these towers in the place of the real encoder for the rest of this process."""
    sys.modules["components.towers.encoder"] = encoder_module()


def make_products(count: int = 240, seed: int = 5) -> pa.Table:
    """A catalogue in the contract; titles carry type, colour, brand (mostly) and a model number."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        kind = list(TYPES)[number % len(TYPES)]
        brand, colour = BRANDS[rng.integers(4)], COLOURS[rng.integers(4)]
        rows.append(
            {
                "product_id": f"p{number:04d}",
                "title": f"{brand} {colour} {kind} {rng.integers(1, 9)} kg {chr(97 + number % 26)}x{1000 + number}",
                "brand": brand if rng.random() < 0.95 else None,
                "category": TYPES[kind],
                "shop_id": f"shop{rng.integers(7)}",
                "price": float(np.round(rng.uniform(1, 200), 2)) if rng.random() < 0.95 else None,
                "attributes": [("colour", colour), ("style", "plain")],
                "rating": float(np.round(rng.uniform(1, 5), 1)),
                "review_count": int(rng.integers(0, 500)),
                "sales": int(rng.integers(0, 900)),
                "country": ("DE", "SE", None)[rng.integers(3)],
                "in_stock": (True, False, None)[rng.integers(3)],
                "updated_at": START + timedelta(hours=int(rng.integers(0, 900))),
            }
        )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=PRODUCTS)


def make_examples(directory: Path, products: pa.Table, searches: int = 120, seed: int = 6) -> Path:
    """examples/ of a shop whose shoppers buy the better rated of the products that fit their query."""
    rng = np.random.default_rng(seed)
    rows = products.to_pylist()
    directory.mkdir(parents=True, exist_ok=True)
    for split, day in (("train", 0), ("validation", 20), ("test", 21)):
        examples = []
        for number in range(searches):
            wanted = rows[rng.integers(len(rows))]
            kind, colour = wanted["title"].split()[-4], dict(wanted["attributes"])["colour"]
            fitting = [row for row in rows if f"{colour} {kind}" in row["title"]]
            fitting.sort(key=lambda row: -(row["rating"] or 0.0))
            moment = START + timedelta(days=day, minutes=number)
            past = [rows[place]["product_id"] for place in rng.integers(0, len(rows), 4 if number % 2 else 0)]
            times = [int((moment - timedelta(minutes=9 - place)).timestamp() * 1e6) for place in range(len(past))]
            shown = [row["product_id"] for row in fitting[:3]]
            examples.append(
                {
                    "search_id": f"{split}{number}", "timestamp": moment, "query": f"{colour} {kind}",
                    "user_id": f"u{number}", "product_ids": shown, "stages": [4, 1, 0][: len(shown)],
                    "positions": list(range(1, len(shown) + 1)), "history_product_ids": past,
                    "history_actions": [1] * len(past), "history_timestamps": times, "history_queries": [],
                    "history_query_timestamps": [], "bought_product_ids": [], "bought_timestamps": [],
                }
            )  # fmt: skip
        pq.write_table(pa.Table.from_pylist(examples, schema=EXAMPLES), directory / f"{split}.parquet")
    pq.write_table(products, directory / "products.parquet")
    write_json(
        directory / "features.json",
        {"split": "time", "simulated": True, "source": "test", "feature_service": "shopper_history_v1",
         "fingerprint": "0" * 64, "window": {"train": ["2026-03-01", "2026-03-02"]}},
    )  # fmt: skip
    return directory


def make_towers(directory: Path, score: str = "cosine") -> Path:
    """What training would have written, as far as the index looks at it."""
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "model.json", {"name": "fake", "dimension": DIMENSION, "score": score})
    (directory / "towers.safetensors").write_bytes(b"weights")
    return directory


def make_inputs(folder: Path, products: pa.Table | None = None, score: str = "cosine") -> dict[str, Path]:
    """examples, towers and evaluation directories for `step.run`."""
    evaluation = folder / "evaluation"
    write_json(evaluation / "evaluation.json", {"simulated": True, "rows": []})
    return {
        "examples": make_examples(folder / "examples", make_products() if products is None else products),
        "towers": make_towers(folder / "towers", score),
        "evaluation": evaluation,
    }
