"""The query tower in another process: what a transformer on a cluster calls instead of encoding by itself."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from components.common.errors import Unavailable
from components.serving.http_client import HttpClient


class RemoteTower:
    """Encodes by POST /v2/models/query-tower/infer of a predictor. Thread-safe: a connection per thread.

    The features travel in `context`, so the predictor looks nothing up, and the release is asked for by id: a predictor
    that has another one refuses, and a vector never meets the index of a release that did not make it. Raises
    Unavailable when the predictor does not answer, or answers for another release.
    """

    def __init__(self, url: str, release_id: str, timeout_s: float) -> None:
        self._url, self._release_id, self._timeout_s = url.rstrip("/"), release_id, timeout_s
        self._local = threading.local()

    def encode(self, requests: Sequence[Any]) -> np.ndarray:
        """Vectors float32 [n, d]."""
        contexts = [json.dumps(_context(request)) for request in requests]
        tensors = {"query": [request.query for request in requests], "context": contexts}
        body = {
            "parameters": {"release": self._release_id},
            "inputs": [
                {"name": name, "datatype": "BYTES", "shape": [len(values)], "data": values}
                for name, values in tensors.items()
            ],
        }
        answer = self._client().post("/v2/models/query-tower/infer", body)
        outputs = {output["name"]: output for output in answer["outputs"]}
        other = set(outputs["release"]["data"]) - {self._release_id}
        if other:
            raise Unavailable(f"the predictor answered for release {other.pop()}, not for {self._release_id}.")
        vectors = np.asarray(outputs["embedding"]["data"], dtype=np.float32)
        return vectors.reshape(outputs["embedding"]["shape"])

    def attention(self, request: Any) -> list[tuple[str, float]]:
        """Nothing: the predictor gives vectors only."""
        return []

    def _client(self) -> HttpClient:
        if not hasattr(self._local, "client"):
            self._local.client = HttpClient(self._url, self._timeout_s)
        return self._local.client


def _context(request: Any) -> dict[str, Any]:
    found = {"now": int(request.now), "history": request.history.as_lists()}
    for name in ("latitude", "longitude", "country"):
        value = getattr(request, name, None)
        if value is not None:
            found[name] = value
    return found
