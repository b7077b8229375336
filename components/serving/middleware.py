"""Around every HTTP request: an id, a size limit, a content type, one access line, and no stack trace for a client."""

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from components.serving.errors import BadRequest
from components.serving.metrics import Metrics
from components.serving.settings import ServingSettings
from components.serving.structured_logs import begin_request, log

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_QUIET = ("/metrics", "/v2/health/ready", "/v2/health/live")


class RequestMiddleware:
    """Pure ASGI. Refuses a body past the limit (413), one that is not JSON (415) and CloudEvents (400).

    The request's id is the client's `x-request-id`, or a new one; the answer carries it. An error that nothing else
    handled becomes a 500 with that id; what happened is in the log.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], settings: ServingSettings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        identifier = given if _ID.match(given) else uuid.uuid4().hex
        fields = begin_request(identifier)
        begun, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", identifier.encode())]
            await send(message)

        try:
            check_headers(scope["method"], scope["path"], headers, self.settings)
            await self.app(scope, self._limited(receive), send_with_id)
        except BadRequest as error:
            await _send_json(send_with_id, error.status, {"error": str(error)})
        except Exception:  # the client gets the id, the log gets the rest
            logging.getLogger("towerline.serving").exception("unexpected error")
            if not status:
                await _send_json(send_with_id, 500, {"error": f"internal error; the log has it under {identifier}."})
        self.metrics.responses.labels(status).inc()
        if self.settings.access_log and not (scope["path"] in _QUIET and status == 200):
            milliseconds = round((time.perf_counter() - begun) * 1000, 2)
            line = {"method": scope["method"], "path": scope["path"][:200], "status": status, "ms": milliseconds}
            log(logging.INFO, "request", **line, **fields)

    def _limited(self, receive: Receive) -> Receive:
        limit, seen = self.settings.max_body_bytes, 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise BadRequest(f"the request body is longer than {limit} bytes.", 413)
            return message

        return limited


def check_headers(method: str, path: str, headers: dict[str, str], settings: ServingSettings) -> None:
    """Raises BadRequest (400, 413, 415) for what can be refused before the body is read."""
    if method not in ("POST", "PUT", "PATCH"):
        return
    length = headers.get("content-length", "0")
    if not length.isdigit():
        raise BadRequest("the content-length header is not a number.")
    if int(length) > settings.max_body_bytes:
        raise BadRequest(f"the request body is longer than {settings.max_body_bytes} bytes.", 413)
    if any(name.startswith("ce-") for name in headers):
        raise BadRequest("CloudEvents are not spoken here; send plain JSON.")
    kind = headers.get("content-type", "application/json").split(";")[0].strip().lower()
    binary = kind == "application/octet-stream" and "inference-header-content-length" in headers
    if kind != "application/json" and not (binary and path.startswith("/v2/")):
        raise BadRequest(f"the content type {kind[:60]!r} is not spoken here; send application/json.", 415)


async def _send_json(send: Send, status: int, body: dict[str, Any]) -> None:
    content = orjson.dumps(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
