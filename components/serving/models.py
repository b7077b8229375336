"""The two KServe models: `query-tower` (Open Inference) and `retrieval` (v1 predict and explain, Open Inference).

This module imports kserve, which takes seconds: import it where a server is started, nowhere else.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from kserve import InferOutput, InferRequest, InferResponse, Model

from components.common.errors import BadInput
from components.serving import tensors
from components.serving.errors import BadRequest
from components.serving.replies import Reply
from components.serving.requests import CONTEXT_FIELDS, SearchRequest, parse_instance, parse_predict
from components.serving.service import Service
from components.serving.structured_logs import note_request
from components.serving.under_way import Embedding


class _ServedModel(Model):
    """What both models share: they are ready when the service can answer, and loading is the release's business."""

    def __init__(self, name: str, service: Service) -> None:
        super().__init__(name)
        self.service = service
        self.ready = service.ready

    async def healthy(self) -> bool:
        """True while the service can answer."""
        return self.service.ready

    def load(self) -> bool:
        """Nothing to load here: the release loader does it. Returns readiness."""
        return self.service.ready

    async def explain(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Refused unless the model explains."""
        raise BadRequest(f"{self.name} explains nothing; ask retrieval:explain.")


class QueryTowerModel(_ServedModel):
    """Query vectors: `query` BYTES[n], `user_id` BYTES[n] (empty: nobody), `context` BYTES[n] (JSON) -> `embedding`.

    `context` brings what would else be looked up: an object with any of latitude, longitude, country, history, now. The
    parameter `release` asks for one loaded release. Outputs: `embedding` FP32[n, d], `release` BYTES[n], `degraded`
    BYTES[n] (empty: no).
    """

    def __init__(self, service: Service) -> None:
        super().__init__("query-tower", service)

    def get_input_types(self) -> list[dict[str, Any]]:
        """Input tensors, for the metadata endpoint."""
        return [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("query", "user_id", "context")]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Output tensors, for the metadata endpoint."""
        return [
            {"name": "embedding", "datatype": "FP32", "shape": [-1, self.service.table.stable.dimension]},
            {"name": "release", "datatype": "BYTES", "shape": [-1]},
            {"name": "degraded", "datatype": "BYTES", "shape": [-1]},
        ]

    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> tuple[Any, list[SearchRequest]]:
        """The tensors as typed requests. Raises BadRequest."""
        if not isinstance(payload, InferRequest):
            raise BadRequest("query-tower speaks the Open Inference Protocol: POST /v2/models/query-tower/infer.")
        tensors.check_names(payload, ("query", "user_id", "context"), ("embedding", "release", "degraded"))
        return payload, _requests(payload, self.service)

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> InferResponse:
        """Looks the shoppers up and runs the query tower."""
        request, searches = payload
        made: list[Embedding] = await self.service.embed(searches)
        note_request(releases=sorted({item.release for item in made}), instances=len(made))
        vectors = np.stack([item.vector for item in made]).astype(np.float32)
        return _response(
            self.name,
            request,
            _output("embedding", "FP32", vectors),
            _output("release", "BYTES", _bytes([item.release for item in made])),
            _output("degraded", "BYTES", _bytes(["; ".join(item.degraded) for item in made])),
        )


class RetrievalModel(_ServedModel):
    """Products for a query. v1: `{"instances": [{"query": ...}]}` -> `{"predictions": [...]}`, and `:explain` alike.

    Open Inference: `query` BYTES[n], `user_id` BYTES[n], `context` BYTES[n], `k` INT32[1] ->
    `product_id` BYTES[n, m], `score` FP32[n, m], `count` INT32[n], `release` and `degraded` BYTES[n].
    Rows are filled up with empty ids and score 0.
    """

    def __init__(self, service: Service) -> None:
        super().__init__("retrieval", service)

    def get_input_types(self) -> list[dict[str, Any]]:
        """Input tensors, for the metadata endpoint."""
        texts = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("query", "user_id", "context")]
        return [*texts, {"name": "k", "datatype": "INT32", "shape": [1]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Output tensors, for the metadata endpoint."""
        return [
            {"name": "product_id", "datatype": "BYTES", "shape": [-1, -1]},
            {"name": "score", "datatype": "FP32", "shape": [-1, -1]},
            {"name": "count", "datatype": "INT32", "shape": [-1]},
            {"name": "release", "datatype": "BYTES", "shape": [-1]},
            {"name": "degraded", "datatype": "BYTES", "shape": [-1]},
        ]

    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> tuple[Any, list[SearchRequest]]:
        """The body as typed requests. Raises BadRequest."""
        if isinstance(payload, InferRequest):
            outputs = ("product_id", "score", "count", "release", "degraded")
            tensors.check_names(payload, ("query", "user_id", "context", "k"), outputs)
            return payload, _requests(payload, self.service)
        return None, parse_predict(payload, self.service.settings)

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """Searches; the whole call fails with the first search that cannot be answered."""
        request, searches = payload
        replies = await self.service.search(searches)
        degraded = sorted({reason.split(":", 1)[0] for reply in replies for reason in reply.degraded})
        note_request(releases=sorted({reply.release for reply in replies}), instances=len(replies), degraded=degraded)
        if request is None:
            return {"predictions": [reply.body() for reply in replies]}
        return self._tensors(request, replies)

    async def explain(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """The same searches with reasons: `{"explanations": [...]}`."""
        request, searches = payload
        if request is not None or len(searches) > 1:
            raise BadRequest("explain takes the v1 protocol and one instance.")
        return {"explanations": [await self.service.explain(searches[0])]}

    def _tensors(self, request: InferRequest, replies: list[Reply]) -> InferResponse:
        width = max(1, *(len(reply.found.product_ids) for reply in replies))
        ids = np.full((len(replies), width), "", dtype=object)
        scores = np.zeros((len(replies), width), dtype=np.float32)
        for row, reply in enumerate(replies):
            ids[row, : len(reply.found.product_ids)] = reply.found.product_ids
            scores[row, : len(reply.found.scores)] = reply.found.scores
        counts = np.array([len(reply.found.product_ids) for reply in replies], dtype=np.int32)
        return _response(
            self.name,
            request,
            _output("product_id", "BYTES", np.vectorize(str.encode, otypes=[object])(ids)),
            _output("score", "FP32", scores),
            _output("count", "INT32", counts),
            _output("release", "BYTES", _bytes([reply.release for reply in replies])),
            _output("degraded", "BYTES", _bytes(["; ".join(reply.degraded) for reply in replies])),
        )


def _requests(request: InferRequest, service: Service) -> list[SearchRequest]:
    """Typed requests from tensors: each row goes through the same checks as a v1 instance."""
    settings = service.settings
    queries = tensors.texts(request, "query", settings.max_instances)
    if queries is None:
        raise BadRequest('the input tensor "query" is missing.')
    count = len(queries)
    rows: list[dict[str, Any]] = [{"query": query} for query in queries]
    for name in ("user_id", "context"):
        values = tensors.texts(request, name, settings.max_instances)
        if values is not None and len(values) != count:
            raise BadRequest(f'the input tensor "{name}" has {len(values)} values, "query" has {count}.')
        for row, value in zip(rows, values or [], strict=False):
            row.update({name: value} if name == "user_id" else _context(value))
    shared: dict[str, Any] = {"k": tensors.whole_number(request, "k"), "release": _release(request)}
    shared = {name: value for name, value in shared.items() if value is not None}
    return [parse_instance({**row, **shared}, f"row {number}", settings) for number, row in enumerate(rows)]


def _release(request: InferRequest) -> str | None:
    return tensors.text_parameter(request, "release")


def _context(text: str) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest('the input tensor "context" must hold JSON objects.') from error
    if not isinstance(found, dict) or not set(found) <= set(CONTEXT_FIELDS):
        raise BadRequest(f'the input tensor "context" must hold JSON objects of {", ".join(CONTEXT_FIELDS)}.')
    return found


def _bytes(values: list[str]) -> np.ndarray:
    return np.array([value.encode() for value in values], dtype=object)


def _output(name: str, datatype: str, values: np.ndarray) -> InferOutput:
    output = InferOutput(name=name, shape=list(values.shape), datatype=datatype)
    output.set_data_from_numpy(values, binary_data=True)
    return output


def _response(model: str, request: InferRequest, *outputs: InferOutput) -> InferResponse:
    try:
        return InferResponse(
            response_id=request.id or uuid.uuid4().hex,
            model_name=model,
            infer_outputs=list(outputs),
            from_grpc=request.from_grpc,
            use_binary_outputs=bool(request.use_binary_outputs),
            requested_outputs=request.request_outputs,
        )
    except (TypeError, AttributeError) as error:
        raise BadInput("the requested outputs do not follow the Open Inference Protocol.") from error
