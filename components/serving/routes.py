"""HTTP routes beside KServe's own: behaviours in, and the search page with the look-ups only it needs (/page/...)."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response

from components.common.errors import NotFound
from components.serving.errors import BadRequest
from components.serving.events import parse_events
from components.serving.page_data import PageData
from components.serving.requests import optional_text, parse_query
from components.serving.service import Service
from components.serving.settings import ServingSettings
from components.serving.structured_logs import log, note_request

_PAGE = Path(__file__).with_name("page")
_SCRIPT = "text/javascript"
_ASSETS = {
    "index.html": "text/html",
    "style.css": "text/css",
    "app.js": _SCRIPT,
    "api.js": _SCRIPT,
    "history.js": _SCRIPT,
    "render.js": _SCRIPT,
}
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_MAX_PRODUCTS = 1000
LEXICAL_SHOWN = 12


def register_events(app: FastAPI, service: Service) -> None:
    """POST /v1/events: behaviours into the online store, answered 200 `{"accepted": n}` when they are written.

    They go to no log: the next night trains on what the shop's own log holds of them.
    """

    async def add_events(request: Request) -> Response:
        body = parse_json(await request.body())
        events = parse_events(body, service.settings, service.table.stable.now_us())
        await service.add_events(events)
        note_request(events=len(events))
        return json_response({"accepted": len(events)})

    app.add_api_route("/v1/events", add_events, methods=["POST"], tags=["behaviours"])


def register_page(app: FastAPI, data: PageData, settings: ServingSettings) -> None:
    """GET / and what the page reads: /page/about, /page/shoppers, /page/products, /page/history and /page/lexical."""
    router = APIRouter(tags=["page"])

    async def index() -> Response:
        return asset("index.html")

    async def asset_route(name: str) -> Response:
        return asset(name)

    async def about() -> Response:
        return await _off_loop(data.about)

    async def shoppers(limit: str = "50") -> Response:
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:6]) <= 200:
            raise BadRequest('"limit" must be a whole number from 1 to 200.')
        return await _off_loop(lambda: {"shoppers": data.shoppers(int(limit))})

    async def products(request: Request) -> Response:
        ids = request.query_params.getlist("id")
        if not 1 <= len(ids) <= _MAX_PRODUCTS:
            raise BadRequest(f'"id" must be given 1 to {_MAX_PRODUCTS} times.')
        release = request.query_params.get("release")
        return await _off_loop(lambda: {"products": data.products(ids, release)})

    async def history(request: Request) -> Response:
        user = optional_text(request.query_params.get("user_id"), '"user_id"', settings.max_id_bytes)
        if user is None:
            raise BadRequest('"user_id" is missing.')
        return await _off_loop(lambda: data.history(user))

    async def lexical(request: Request) -> Response:
        query = parse_query(request.query_params.get("q"), "the search", settings)
        return await _off_loop(lambda: data.lexical(query, LEXICAL_SHOWN))

    router.add_api_route("/page/lexical", lexical, methods=["GET"])
    router.add_api_route("/", index, methods=["GET"], include_in_schema=False)
    router.add_api_route("/page/about", about, methods=["GET"])
    router.add_api_route("/page/shoppers", shoppers, methods=["GET"])
    router.add_api_route("/page/products", products, methods=["GET"])
    router.add_api_route("/page/history", history, methods=["GET"])
    router.add_api_route("/page/{name}", asset_route, methods=["GET"], include_in_schema=False)
    app.include_router(router)
    log(logging.INFO, "the search page is served at /")


def asset(name: str) -> Response:
    """A packaged file of the page. Raises NotFound for any other name."""
    if name not in _ASSETS:
        raise NotFound("there is no such page file.")
    return Response((_PAGE / name).read_bytes(), media_type=f"{_ASSETS[name]}; charset=utf-8", headers=_HEADERS)


def parse_json(body: bytes) -> Any:
    """The JSON of a request body. Raises BadRequest."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the request body is not JSON: {str(error)[:120]}.") from error


def json_response(body: Any, status: int = 200) -> Response:
    """A JSON answer that no cache keeps."""
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(body), status, media_type="application/json", headers=headers)


async def _off_loop(read: Callable[[], Any]) -> Response:
    return json_response(await asyncio.get_running_loop().run_in_executor(None, read))
