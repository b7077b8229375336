"""The server's OpenAPI description: KServe leaves bodies of v1 requests open, so they are described here."""

from typing import Any

from fastapi import FastAPI

from components.serving.requests import ACTIONS
from components.serving.settings import ServingSettings

_TEXT = {"type": "string", "minLength": 1, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]*$"}
_MOMENT = {"type": "integer", "minimum": 0, "description": "microseconds since 1970"}


def describe(app: FastAPI, settings: ServingSettings) -> None:
    """Adds the bodies of predict, explain and events, and what bad requests get, to the app's OpenAPI document."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document["info"]["title"] = "Towerline endpoint"
            bodies = {
                "/v1/models/{model_name}:predict": _instances(settings),
                "/v1/models/{model_name}:explain": _instances(settings),
                "/v1/events": _events(settings),
            }
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _add_errors(operation)
                    if path in bodies:
                        operation["requestBody"] = {
                            "required": True,
                            "content": {"application/json": {"schema": bodies[path]}},
                        }
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _instances(settings: ServingSettings) -> dict[str, Any]:
    short = {**_TEXT, "maxLength": settings.max_id_bytes}
    price = {"type": "number", "minimum": 0}
    filters = dict.fromkeys(("brand", "category", "shop_id", "country"), short)
    wanted = {**filters, "price_min": price, "price_max": price, "in_stock": {"type": "boolean"}}
    fields = {
        "query": {**_TEXT, "maxLength": settings.max_query_bytes},
        "user_id": short,
        "session_id": short,
        "k": {"type": "integer", "minimum": 1, "maximum": settings.max_k, "default": settings.default_k},
        "filter": {"type": "object", "properties": wanted, "additionalProperties": False},
        "latitude": {"type": "number", "minimum": -90, "maximum": 90},
        "longitude": {"type": "number", "minimum": -180, "maximum": 180},
        "country": short,
        "release": short,
        "relevance": {"type": "boolean", "default": True},
        "record": {"type": "boolean", "default": True},
        "history": _history(settings),
        "now": _MOMENT,
    }
    instance = {"type": "object", "required": ["query"], "properties": fields, "additionalProperties": False}
    items = {"type": "array", "minItems": 1, "maxItems": settings.max_instances, "items": instance}
    return {"type": "object", "required": ["instances"], "properties": {"instances": items}}


def _history(settings: ServingSettings) -> dict[str, Any]:
    def items(kind: dict[str, Any]) -> dict[str, Any]:
        return {"type": "array", "maxItems": settings.max_history, "items": kind}

    ids, moments = items({**_TEXT, "maxLength": settings.max_id_bytes}), items(_MOMENT)
    names = {"type": "string", "enum": list(ACTIONS)}
    numbers = {"type": "integer", "minimum": 1, "maximum": len(ACTIONS)}
    fields = {
        "product_ids": ids,
        "actions": items({"oneOf": [names, numbers]}),
        "timestamps": moments,
        "queries": items({**_TEXT, "maxLength": settings.max_query_bytes}),
        "query_timestamps": moments,
        "bought_product_ids": ids,
        "bought_timestamps": moments,
    }
    return {"type": "object", "properties": fields, "additionalProperties": False}


def _events(settings: ServingSettings) -> dict[str, Any]:
    short = {**_TEXT, "maxLength": settings.max_id_bytes}
    timestamp = {"oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "format": "date-time"}]}
    behaviour = {
        "type": "object",
        "required": ["user_id", "product_id", "action"],
        "properties": {
            "user_id": short,
            "product_id": short,
            "action": {"type": "string", "enum": list(ACTIONS)},
            "timestamp": timestamp,
        },
        "additionalProperties": False,
    }
    query = {**_TEXT, "maxLength": settings.max_query_bytes}
    search = {
        "type": "object",
        "required": ["user_id", "query"],
        "properties": {"user_id": short, "query": query, "timestamp": timestamp},
        "additionalProperties": False,
    }
    one = {"oneOf": [behaviour, search]}
    many = {"type": "array", "minItems": 1, "maxItems": settings.max_events, "items": one}
    return {"oneOf": [behaviour, search, {"type": "object", "required": ["events"], "properties": {"events": many}}]}


def _add_errors(operation: dict[str, Any]) -> None:
    sentence = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    content = {"application/json": {"schema": sentence}}
    reasons = {
        "400": "the request is wrong",
        "404": "no such model, release or path",
        "413": "the body is too long",
        "415": "not JSON",
        "422": "the body does not follow the protocol",
        "403": "models are not loaded by requests",
        "503": "cannot answer now; see Retry-After",
    }
    for status, reason in reasons.items():
        operation.setdefault("responses", {})[status] = {"description": reason, "content": content}
