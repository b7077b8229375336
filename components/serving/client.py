"""`python pipeline.py search`: asks the running server, or answers in this process by the same retrieval path.

A server announces itself in `<workdir>/server.json`. Without one, the release is opened here: that takes as long as a
server's start less KServe, needs no port, and runs the same `Retriever`, so the answer is the served one.
"""

import os
from pathlib import Path
from typing import Any

from components.common.errors import BadInput, NotFound, TowerlineError, Unavailable
from components.common.files import read_json
from components.common.manifest import read_release
from components.common.served import served_release_id
from components.serving.http_client import HttpClient
from components.serving.requests import SearchRequest, parse_instance
from components.serving.settings import ServingSettings

_SHOWN = ("title", "brand", "category", "price")


def search(workdir: Path, query: str, user: str | None = None, k: int = 10, url: str | None = None) -> dict[str, Any]:
    """One search: `{"products": [{"product_id", "title", "brand", "category", "price", "score"}], "release",
    "degraded"}`.

    `url` names a server; without it the work directory's own is asked if it runs. Raises BadInput for a bad query or k,
    NotFound without a release, Unavailable when the server named does not answer.
    """
    workdir = Path(workdir)
    request = parse_instance({"query": query, "user_id": user, "k": k}, "the search", ServingSettings())
    url = url or running_server(workdir)
    answer = in_process(workdir, request) if url is None else _ask(url, request)
    return {**answer, "products": _with_titles(workdir, answer)}


def running_server(workdir: Path) -> str | None:
    """The URL of the server that announced itself in a work directory and is ready, or None.

    A killed server leaves its announcement behind; its process is asked for first, as its port may be another's by now.
    """
    try:
        announced = read_json(Path(workdir) / "server.json")
        url = str(announced["url"])
        os.kill(int(announced["pid"]), 0)
        with HttpClient(url, timeout=2.0) as client:
            status, _ = client.ask("GET", "/v2/health/ready")
    except (NotFound, BadInput, Unavailable, OSError, OverflowError, KeyError, TypeError, ValueError):
        return None
    return url if status == 200 else None


def in_process(workdir: Path, request: SearchRequest) -> dict[str, Any]:
    """The answer by the retrieval path of the server, run here. Budgets are wide: nobody else is waiting."""
    from prometheus_client import CollectorRegistry

    from components.serving.metrics import Metrics
    from components.serving.opening import compute_on_one_thread, online_store, open_release
    from components.serving.retrieval import Retriever
    from components.serving.rollout import ReleaseTable

    release_id = served_release_id(workdir)
    patient = 60_000.0
    settings = ServingSettings(
        cache="off", feature_budget_ms=patient, tower_budget_ms=patient, search_budget_ms=patient
    )  # fmt: skip
    compute_on_one_thread()
    release = open_release(workdir, release_id, settings)
    table = ReleaseTable(release)
    store = online_store(read_release(workdir, release_id), workdir, settings)
    retriever = Retriever(lambda: table, store, settings, Metrics(CollectorRegistry()))
    (answer,) = retriever.answer([request])
    release.retire()
    if isinstance(answer, TowerlineError):
        raise answer
    return answer.body()


def _ask(url: str, request: SearchRequest) -> dict[str, Any]:
    instance = {"query": request.query, "k": request.k}
    if request.user_id is not None:
        instance["user_id"] = request.user_id
    with HttpClient(url, timeout=30.0) as client:
        (prediction,) = client.post("/v1/models/retrieval:predict", {"instances": [instance]})["predictions"]
    return prediction


def _with_titles(workdir: Path, answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The products with what a person knows them by, read from the release that answered."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = read_release(workdir, answer["release"]).path("index", "products.parquet")
    names = [name for name in ("product_id", *_SHOWN) if name in pq.read_schema(path).names]
    ids = [product["product_id"] for product in answer["products"]]
    rows = pq.read_table(path, columns=names, filters=pc.field("product_id").isin(ids)).to_pylist() if ids else []
    known = {row["product_id"]: row for row in rows}
    return [{**known.get(product["product_id"], {}), **product} for product in answer["products"]]
