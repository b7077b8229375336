"""What a request can fail with; each carries the HTTP status it is answered with and one sentence."""

from components.common.errors import BadInput, NotFound, TowerlineError, Unavailable


class BadRequest(BadInput):
    """The request itself is wrong: 400, or the 4xx given."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Overloaded(Unavailable):
    """The server is past its capacity or draining: 503 at once, with the seconds after which to try again."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DependencyDown(Unavailable):
    """A dependency (features, tower or search) failed; `raised` tells an error of its own from no answer in time."""

    def __init__(self, message: str, raised: bool = False) -> None:
        super().__init__(message)
        self.raised = raised


def http_status(error: TowerlineError) -> int:
    """The HTTP status of an expected failure: 4xx for what the client can mend, 503 for what it can only retry."""
    if isinstance(error, BadRequest):
        return error.status
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, BadInput):
        return 400
    return 503
