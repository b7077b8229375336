"""An answer in one write: uvicorn writes the head and the body apart, and each write wakes the client.

On loopback or a fast network a write costs about as much as all that FastAPI does for a request.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD = b"HTTP/"


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's protocol on a transport that keeps the head of an answer until its body is written too."""

    def connection_made(self, transport: Any) -> None:
        """As uvicorn's."""
        super().connection_made(_HeadWithBody(transport, self.loop))  # type: ignore[arg-type]


class _HeadWithBody:
    """A transport; what begins an answer waits for the next write, at most until the loop's next turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop, self._head = transport, loop, b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(_HEAD):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
