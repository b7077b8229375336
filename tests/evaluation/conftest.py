"""A tiny shop in the examples format, and towers that hash words: enough to tell a good model from a bad one."""

import datetime
import json
import sys
import types
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.common.files import write_json
from components.common.manifest import Release, fingerprint_files, release_directory, write_release
from components.features.history import History
from components.features.schema import EXAMPLES

DAY = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
COLOURS = ("red", "blue", "green", "black", "white")
THINGS = ("lamp", "chair", "table", "sofa", "shelf", "desk", "rug", "vase")
WIDTH = 64


def word_vector(word: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(WIDTH).astype(np.float32)


def text_vector(text: str) -> np.ndarray:
    return np.sum([word_vector(word) for word in text.split()] or [np.zeros(WIDTH)], axis=0).astype(np.float32)


@dataclass
class Request:
    query: str
    history: History
    now: int
    latitude: float | None = None
    longitude: float | None = None
    country: str | None = None


class _Encoder:
    """Word sums; `noise` in model.json spoils the query vectors; a history pulls towards its products' colour."""

    def __init__(self, directory: Path, engine: str = "onnx") -> None:
        self.model = json.loads((directory / "model.json").read_text())
        self.seen: list[Request] = []


class QueryEncoder(_Encoder):
    def encode(self, requests):
        vectors = []
        for request in requests:
            assert all(time < request.now for time in request.history.timestamps)
            vector = text_vector(request.query)
            for product in request.history.product_ids:
                vector = vector + 0.5 * word_vector(COLOURS[int(product[1:]) % len(COLOURS)])
            generator = np.random.default_rng(zlib.crc32(f"{request.query}{request.now}".encode()))
            vectors.append(vector + self.model.get("noise", 0.0) * generator.standard_normal(WIDTH))
        return np.array(vectors, dtype=np.float32)


class ItemEncoder(_Encoder):
    def encode(self, products):
        return np.array([text_vector(title) for title in products["title"].to_pylist()], dtype=np.float32)


@pytest.fixture
def fake_towers(monkeypatch):
    module = types.ModuleType("components.towers.encoder")
    vars(module).update(Request=Request, QueryEncoder=QueryEncoder, ItemEncoder=ItemEncoder)
    monkeypatch.setitem(sys.modules, "components.towers.encoder", module)


@pytest.fixture
def fake_truth(monkeypatch):
    """The marketplace's truth: a product is relevant when its title holds the query's last word."""

    class Truth:
        def __init__(self, titles):
            self.titles = titles

        @classmethod
        def read(cls, directory):
            return cls(json.loads((Path(directory) / "titles.json").read_text()))

        def relevant(self, query):
            return {product for product, title in self.titles.items() if query.split()[-1] in title.split()}

    module = types.ModuleType("components.logs.marketplace.truth")
    vars(module).update(Truth=Truth)
    monkeypatch.setitem(sys.modules, "components.logs.marketplace.truth", module)


@dataclass
class Shop:
    """Rows of searches by split; `write` puts them into the examples format."""

    folder: Path
    titles: dict[str, str]
    rows: dict[str, list[dict]] = field(default_factory=lambda: {"train": [], "validation": [], "test": []})
    features: dict = field(default_factory=lambda: {"split": "time", "simulated": True, "source": "marketplace"})
    judgements: list[tuple] | None = None

    def search(self, split, query, products, stages, user=None, history=()):
        number = len(self.rows[split])
        row = dict.fromkeys(EXAMPLES.names)
        row.update(
            search_id=f"{split}-{number}", timestamp=DAY + datetime.timedelta(seconds=number),
            query=query, user_id=user,
            product_ids=list(products), stages=list(stages), positions=list(range(1, len(products) + 1)),
            history_product_ids=list(history), history_actions=[1] * len(history),
            history_timestamps=[1] * len(history), history_queries=[], history_query_timestamps=[],
            bought_product_ids=[], bought_timestamps=[],
        )  # fmt: skip
        self.rows[split].append(row)

    def write(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        products = {"product_id": list(self.titles), "title": list(self.titles.values())}
        pq.write_table(pa.table(products), self.folder / "products.parquet")
        for split, rows in self.rows.items():
            pq.write_table(pa.Table.from_pylist(rows, schema=EXAMPLES), self.folder / f"{split}.parquet")
        if self.judgements is not None:
            names = ("query", "product_id", "grade", "split")
            kinds = (pa.string(), pa.string(), pa.float32(), pa.string())
            columns = zip(*self.judgements, strict=True)
            arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
            pq.write_table(pa.table(arrays, names=names), self.folder / "judgements.parquet")
        write_json(self.folder / "features.json", self.features)
        return self.folder


@pytest.fixture
def shop(tmp_path):
    """120 products (colour, thing, number), 200 training and 150 test searches; shoppers prefer their own colour."""
    titles = {f"p{number}": f"{COLOURS[number % 5]} {THINGS[number % 8]} model{number}" for number in range(120)}
    shop = Shop(tmp_path / "examples", titles)
    generator = np.random.default_rng(5)
    for split, count in (("train", 200), ("test", 150)):
        for _ in range(count):
            thing, colour = generator.integers(8), generator.integers(5)
            number = int(next(n for n in generator.permutation(120) if n % 8 == thing and n % 5 == colour))
            kind = generator.integers(3)
            user = None if kind == 0 else f"u{generator.integers(40)}"
            history = [f"p{n}" for n in range(120) if n % 5 == colour][:3] if kind == 2 else []
            shown = [f"p{n}" for n in generator.choice(120, 5, replace=False) if n != number]
            stages = [int(generator.choice([1, 1, 2, 3, 4]))] + [0] * len(shown)
            query = THINGS[thing] if generator.random() < 0.8 else f"fine {THINGS[thing]} {generator.integers(50)}"
            shop.search(split, query, [f"p{number}", *shown], stages, user, history)
    return shop


@pytest.fixture
def towers(tmp_path):
    def make(name="fake", noise=0.0, folder="towers"):
        directory = tmp_path / folder
        directory.mkdir(parents=True)
        write_json(directory / "model.json", {"name": name, "noise": noise})
        (directory / "towers.safetensors").write_bytes(f"{name} {noise}".encode())
        return directory

    return make


@pytest.fixture
def released(tmp_path):
    """Makes the given towers a release of `tmp_path / "work"`; returns its id."""

    def make(towers_directory, release_id="20260101-000000-aaaaaa"):
        directory = release_directory(tmp_path / "work", release_id)
        (directory / "towers").mkdir(parents=True)
        for path in towers_directory.iterdir():
            (directory / "towers" / path.name).write_bytes(path.read_bytes())
        write_release(
            Release(
                release_id=release_id,
                model="fake",
                simulated=True,
                collection="items",
                milvus={},
                feature_service="shopper_history_v1",
                log={},
                code="c0de",
                settings={},
                evaluation={},
                boosting={},
                files=fingerprint_files(directory),
                created_at="2026-01-01T00:00:00+00:00",
                directory=directory,
            )
        )
        return release_id

    return make
