"""A keep-alive HTTP client in the standard library, enough to speak to a server on this machine."""

import http.client
import json
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from components.common.errors import Unavailable


class HttpClient:
    """One connection to `url`. Use as a context manager; not for several threads at once."""

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.url = url
        self._connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and parsed JSON (None when the answer is not JSON). Raises Unavailable when nothing answers."""
        status, text = self._exchange(method, path, body)
        try:
            return status, json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError):
            return status, None

    def read(self, path: str) -> str:
        """The text that a GET answers with. Raises Unavailable unless the status is 200."""
        status, text = self._exchange("GET", path, None)
        if status != 200:
            raise Unavailable(f"{self.url}{path} answered {status}.")
        return text.decode("utf-8", "replace")

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a POST. Raises Unavailable with the server's sentence unless the status is 200."""
        status, answer = self.ask("POST", path, body)
        if status != 200:
            reason = answer.get("error", "no reason given") if isinstance(answer, dict) else "no JSON"
            raise Unavailable(f"{self.url}{path} answered {status}: {reason}")
        return answer

    def _exchange(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {"content-type": "application/json"} if content is not None else {}
        try:
            self._connection.request(method, path, content, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unavailable(f"{self.url} does not answer ({type(error).__name__}: {error}).") from error
