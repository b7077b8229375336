"""What the Milvus driver raises, as one sentence."""

import contextlib
import logging
from collections.abc import Iterator

from components.common.errors import TowerlineError, Unavailable
from components.index.backends import Backend


@contextlib.contextmanager
def milvus_errors(backend: Backend, action: str) -> Iterator[None]:
    """Raises Unavailable for whatever goes wrong while Milvus does `action` ("load x"); own errors pass through.

    The driver reports a refused connection, a missed deadline, a closed channel and a torn Lite directory by four
    different types; to a caller they are one thing. The sentence never shows a token or a password.
    """
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except TowerlineError:
        raise
    except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError, OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "message", "") or error).split())[:300] or type(error).__name__
        hint = "another process may hold it" if backend.is_lite else "is the server up, and the token right?"
        raise Unavailable(f"Milvus at {backend.label} could not {action}: {reason} ({hint})") from error


def quieten_driver() -> None:
    """Keeps the driver from printing tracebacks of calls whose failure is raised here as one sentence, or expected.

    It logs one for every refused call; and every index build asks Milvus Lite for a time stamp that Lite does not have,
    which the driver takes as it is but Lite's own server logs as an exception.
    """
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    server = logging.getLogger("grpc._server")
    if _is_news not in server.filters:
        server.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return "Method not implemented!" not in record.getMessage()
