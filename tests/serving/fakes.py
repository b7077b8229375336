"""Stand-ins for the towers, the index and the feature store: small, deterministic, and breakable on request."""

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from components.common.files import write_json
from components.common.manifest import Release, set_current, write_release
from components.features.history import Behaviour, History, Search
from components.serving.events import Event
from components.serving.loaded_release import Found, Kept, LoadedRelease
from components.serving.requests import SearchRequest

DIMENSION = 32
BRANDS = ("Levi's", "Acme", "Ben & Jerry's")


def vector_of(text: str) -> np.ndarray:
    """A unit vector [DIMENSION] that only depends on the text."""
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    vector = np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


@dataclass(frozen=True)
class TowerRequest:
    """What the fake tower reads."""

    query: str
    history: History
    now: int


@dataclass
class FakeTower:
    """The query's vector, moved towards the products of the history. `fail_on` names products it cannot stand."""

    salt: str = ""
    fail_on: frozenset[str] = frozenset()
    seconds: float = 0.0
    calls: list[int] = field(default_factory=list)

    def encode(self, requests: Sequence[TowerRequest]) -> np.ndarray:
        self.calls.append(len(requests))
        if self.seconds:
            threading.Event().wait(self.seconds)
        rows = []
        for request in requests:
            if self.fail_on & set(request.history.product_ids):
                raise RuntimeError("poisoned history")
            vector = vector_of(self.salt + request.query)
            for product_id in request.history.product_ids[-5:]:
                vector = vector + 2.0 * vector_of(product_id)
            rows.append(vector / np.linalg.norm(vector))
        return np.stack(rows)

    def attention(self, request: TowerRequest) -> list[tuple[str, float]]:
        ids = list(request.history.product_ids)
        return [(product_id, (number + 1) / len(ids)) for number, product_id in enumerate(ids)]


@dataclass
class FakeIndex:
    """Exact search over `count` products p0, p1, ...; brand by number. `error` is raised when set."""

    prefix: str = "p"
    count: int = 50
    error: Exception | None = None
    seconds: float = 0.0
    calls: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ids = [f"{self.prefix}{number}" for number in range(self.count)]
        self.vectors = np.stack([vector_of(product_id) for product_id in self.ids])

    def find(self, vectors: np.ndarray, requests: Sequence[SearchRequest], control: bool) -> list[Any]:
        self.calls.append(len(vectors))
        if self.seconds:
            threading.Event().wait(self.seconds)
        if self.error is not None:
            raise self.error
        return [self._one(vector, dict(request.filter)) for vector, request in zip(vectors, requests, strict=True)]

    def keep(self, request: SearchRequest, result: list[tuple[int, float]], control: bool) -> Kept:
        """Products of another brand than the one the query names are dropped."""
        wanted = [brand for brand in BRANDS if control and brand.lower() in request.query.lower()]
        rows = [row for row, _ in result if not wanted or brand_of(row) in wanted]
        scores = dict(result)
        found = Found(
            tuple(self.ids[row] for row in rows[: request.k]), tuple(scores[row] for row in rows[: request.k])
        )
        return Kept(found, len(result), len(result) - len(rows))

    def terms(self, query: str, product_id: str) -> tuple[tuple[str, str], ...]:
        brand = brand_of(int(product_id[1:]))
        return (("brand", brand),) if brand.lower() in query.lower() else ()

    def _one(self, vector: np.ndarray, wanted: dict[str, Any]) -> list[tuple[int, float]]:
        scores = self.vectors @ vector
        order = [int(row) for row in np.argsort(-scores) if wanted.get("brand", brand_of(row)) == brand_of(row)]
        return [(row, float(scores[row])) for row in order]


def brand_of(row: int) -> str:
    """The brand of the product with this number."""
    return BRANDS[int(row) % len(BRANDS)]


class FakeProducts:
    """Titles and brands of the fake catalogue."""

    def rows(self, product_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        return [_product(int(item[1:])) if item[1:].isdigit() else None for item in product_ids]


def _product(number: int) -> dict[str, Any]:
    return {"title": f"Product {number}", "brand": brand_of(number), "category": "Things > Fakes", "price": 9.5}


class FakeStore:
    """Histories in memory. `delay` seconds before each answer, `error` raised instead of one."""

    def __init__(self, histories: dict[str, History] | None = None) -> None:
        self.of = dict(histories or {})
        self.delay, self.error, self.reads = 0.0, None, 0
        self._lock = threading.Lock()

    def histories(self, user_ids: Sequence[str]) -> list[History]:
        self.reads += 1
        if self.delay:
            threading.Event().wait(self.delay)
        if self.error is not None:
            raise self.error
        return [self.of.get(user_id, History.empty()) for user_id in user_ids]

    def given(self, behaviours: dict[str, Any]) -> History:
        return History(**{name: values for name, values in behaviours.items() if values is not None})

    def empty(self) -> History:
        return History.empty()

    def push(self, events: Sequence[Event]) -> None:
        if self.error is not None:
            raise self.error
        with self._lock:
            for event in events:
                known = self.of.get(event.user_id, History.empty())
                found = Search(event.timestamp, event.query) if event.query else behaviour_of(event)
                self.of[event.user_id] = known.append(found)


def behaviour_of(event: Event) -> Behaviour:
    """A behaviour event as the feature room names it."""
    return Behaviour(event.timestamp, event.product_id, event.action)


def clicks(*product_ids: str) -> History:
    """A history of clicks, one a second, in the past."""
    times = [1_700_000_000_000_000 + number * 1_000_000 for number in range(len(product_ids))]
    return History(list(product_ids), np.ones(len(product_ids), np.int8), np.array(times))


def fake_release(
    release_id: str = "release-a", tower: FakeTower | None = None, index: FakeIndex | None = None, **more: Any
):
    """A release in memory made of fakes."""
    tower, index = tower or FakeTower(release_id), index or FakeIndex()
    positions = {product_id: row for row, product_id in enumerate(index.ids)}

    def make_request(request: SearchRequest, history: History, now_us: int) -> TowerRequest:
        return TowerRequest(request.query, history, now_us)

    def vectors(product_ids: Sequence[str]) -> np.ndarray:
        zero = np.zeros(DIMENSION, np.float32)
        return np.stack([index.vectors[positions[i]] if i in positions else zero for i in product_ids])

    defaults: dict[str, Any] = {
        "products": FakeProducts(),
        "vectors": vectors,
        "knows": lambda name, value: value in BRANDS,
        "lexical": lambda query, k: [(f"p{number}", 1.0 / (number + 1)) for number in range(k)],
        "simulated": True,
        "model": "fake",
    }
    return LoadedRelease(release_id, tower, index, DIMENSION, make_request, **{**defaults, **more})


def write_manifest(workdir: Path, release_id: str, current: bool = False) -> None:
    """A release directory with a manifest and nothing else, optionally promoted."""
    directory = Path(workdir) / "releases" / release_id
    directory.mkdir(parents=True, exist_ok=True)
    empty: dict[str, Any] = {}
    release = Release(
        release_id, "fake", True, "items", empty, "service_1", empty, "0", empty, empty, empty,
        {"towers/towers.safetensors": "0" * 64}, "2026-01-01T00:00:00+00:00", None, directory=directory,
    )  # fmt: skip
    write_release(release)
    if current:
        set_current(workdir, release_id)


def write_golden(
    workdir: Path, release_id: str, tower: FakeTower | None = None, index: FakeIndex | None = None
) -> None:
    """golden.json of a fake release: two anonymous queries and one with a history."""
    tower, index = tower or FakeTower(release_id), index or FakeIndex()
    golden = []
    for query, history in (("red shoes", History.empty()), ("lamp", History.empty()), ("lamp", clicks("p1", "p2"))):
        now = 1_700_000_100_000_000
        vector = tower.encode([TowerRequest(query, history, now)])
        asked = SearchRequest(query, k=10)
        found = index.keep(asked, index.find(vector, [asked], True)[0], True).found
        golden.append(
            {
                "request": {"query": query, "now": now, "history": history.as_lists(), "k": 10},
                "vector": vector[0].tolist(), "products": list(found.product_ids), "scores": list(found.scores),
            }
        )  # fmt: skip
    write_json(Path(workdir) / "releases" / release_id / "golden.json", golden)


def faults_of(workdir: Path, release_id: str) -> dict[str, Any]:
    """What is wrong with a fake release and its server.

    slow_tower (seconds), poisoned (ids), broken, wrong_tower, named (another release's id), store_down, exit_code.
    """
    path = Path(workdir) / "releases" / release_id / "faults.json"
    return json.loads(path.read_text()) if path.exists() else {}


def open_fake(workdir: Path, release_id: str) -> LoadedRelease:
    """Opens a fake release with its faults."""
    faults = faults_of(workdir, release_id)
    if faults.get("broken"):
        raise RuntimeError("the towers cannot be read")
    salt = "another" if faults.get("wrong_tower") else release_id
    poisoned = frozenset(faults["poisoned"].split()) if "poisoned" in faults else frozenset()
    return fake_release(faults.get("named", release_id), FakeTower(salt, poisoned, faults.get("slow_tower", 0.0)))


def wait_until(true: Any, seconds: float = 10.0) -> None:
    """Returns as soon as `true()` is; raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        threading.Event().wait(0.01)
