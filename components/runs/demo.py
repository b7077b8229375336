"""Three searches against the served release of the sample marketplace: nobody, and two shoppers of opposite taste."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.common.errors import NotFound, Unavailable
from components.common.manifest import read_release
from components.common.processes import OWNER
from components.common.served import served_release_id

_START_SECONDS = 120.0


def demo_searches(workdir: Path, k: int) -> list[tuple[str, str | None, dict[str, Any]]]:
    """(query, shopper or None, answer) of the three searches, answered by a real server over HTTP.

    A running server is asked; without one a server is started for the three and stopped again. Raises NotFound when
    the served release was not made from the sample marketplace.
    """
    from components.logs.marketplace.demo import demo_shoppers
    from components.serving.client import search

    release_id = served_release_id(workdir)
    truths = sorted((workdir / "outputs").glob("*/load-log/truth/truth.json"))
    if read_release(workdir, release_id).log.get("source") != "marketplace" or not truths:
        raise NotFound(
            "the demo needs a release of the sample marketplace; use `python pipeline.py search` for others."
        )
    one, other, query = demo_shoppers(truths[-1].parent)
    with server_of(workdir) as url:
        return [(query, user, search(workdir, query, user, k, url)) for user in (None, one, other)]


@contextmanager
def server_of(workdir: Path, *settings: str) -> Iterator[str]:
    """The URL of a work directory's server: the running one, else one of its own that ends with the block.

    `settings` ("serving.name=value") are those of its own server. Raises Unavailable when it does not become ready.
    """
    from components.serving.client import running_server

    url = running_server(workdir)
    if url is not None:
        yield url
        return
    words = [sys.executable, "-m", "components.serving", "--workdir", str(workdir), "--port", "0"]
    words += [f"--set={setting}" for setting in settings]
    environment = {**os.environ, OWNER: str(os.getpid())}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while (url := running_server(workdir)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("the server did not start; `python pipeline.py serve` shows why.")
            threading.Event().wait(0.2)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
