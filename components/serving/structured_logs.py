"""One JSON object per log line, with the id of the request it belongs to."""

import contextvars
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
LOGGER = "towerline.serving"


class JsonFormatter(logging.Formatter):
    """Renders a record as JSON: time, level, logger, message, request_id, the fields given, and an error's text."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON; values that are not JSON are shown as text."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := request_id.get():
            line["request_id"] = current
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(level: str) -> None:
    """Sends the server's, KServe's and uvicorn's loggers, and Python's warnings, to stderr as JSON.

    Their per-request lines stay off: the access log of this server replaces them with one line a request.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.captureWarnings(True)
    quiet = {"kserve": "WARNING", "uvicorn": "WARNING", "py.warnings": "WARNING", "kserve.trace": "ERROR"}
    chosen = {LOGGER: level, **quiet}
    for name, own_level in chosen.items():
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(own_level.upper())
        logger.propagate = False
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers[:] = []
    logging.getLogger("uvicorn.access").disabled = True


def log(level: int, message: str, **fields: Any) -> None:
    """Writes one line with extra fields, for instance `log(logging.INFO, "release loaded", release=...)`."""
    logger = logging.getLogger(LOGGER)
    if logger.isEnabledFor(level):
        logger.log(level, message, extra={"fields": fields})


_request_fields: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("request_fields", default=None)


def begin_request(identifier: str) -> dict[str, Any]:
    """Starts a request in this context: its id goes into every line, and `note_request` adds to the dict returned."""
    request_id.set(identifier)
    fields: dict[str, Any] = {}
    _request_fields.set(fields)
    return fields


def note_request(**fields: Any) -> None:
    """Adds fields to the access line of the request under way; empty values are left out."""
    current = _request_fields.get()
    if current is not None:
        current.update({name: value for name, value in fields.items() if value})
