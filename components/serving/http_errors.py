"""Every failure of an HTTP request as one sentence: {"error": "..."} with the right status, and no stack trace."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady
from starlette.exceptions import HTTPException

from components.common.errors import TowerlineError, Unavailable
from components.serving.errors import http_status
from components.serving.routes import json_response
from components.serving.structured_logs import log


def add_error_handlers(app: FastAPI) -> None:
    """Registers a handler for each kind of expected error; the middleware answers 500 for anything else."""
    fixed: dict[type[Exception], tuple[int, str | None]] = {
        InvalidInput: (400, None),
        ModelNotFound: (404, None),
        ModelNotReady: (503, "no release is ready to answer."),
        ServerNotReady: (503, "not ready: no release is loaded, a dependency is down, or the server is shutting down."),
        NotImplementedError: (404, "models have no versions here; ask for a release by its id instead."),
    }
    for kind, (status, sentence) in fixed.items():
        app.add_exception_handler(kind, _always(status, sentence))
    app.add_exception_handler(TowerlineError, _expected)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _routing)


def _always(status: int, sentence: str | None) -> Callable[[Request, Any], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        return json_response({"error": sentence or str(error)[:500]}, status)

    return handle


async def _expected(request: Request, error: Any) -> Response:
    status = http_status(error)
    if status >= 500:
        log(logging.WARNING, "unavailable", reason=str(error))
    response = json_response({"error": str(error)}, status)
    if isinstance(error, Unavailable):
        response.headers["retry-after"] = str(getattr(error, "retry_after", 1))
    return response


async def _malformed(request: Request, error: Any) -> Response:
    first = (error.errors() or [{}])[0]
    where = ".".join(str(part) for part in first.get("loc", ())[:6])[:120]
    return json_response({"error": f"{where or 'the request'}: {str(first.get('msg', 'malformed'))[:200]}."}, 422)


async def _routing(request: Request, error: Any) -> Response:
    sentences = {
        404: f"there is nothing at {request.url.path[:120]!r}.",
        405: f"{request.method} is not possible at {request.url.path[:120]!r}.",
    }
    response = json_response({"error": sentences.get(error.status_code, str(error.detail)[:200])}, error.status_code)
    response.headers.update(error.headers or {})
    return response
