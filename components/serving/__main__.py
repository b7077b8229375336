"""`python -m components.serving --workdir DIR`: the server as a process of its own, as a container starts it."""

import argparse
import sys
from pathlib import Path

from components.common.errors import BadSetting, TowerlineError
from components.common.processes import end_with_owner
from components.serving.server import serve


def main(arguments: list[str] | None = None) -> int:
    """Serves until stopped; returns the exit code. An expected error is one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m components.serving", description=__doc__)
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"), help="state of the shop")
    parser.add_argument("--release", help="serve this release instead of following the promoted one")
    parser.add_argument("--host", default=None, help="address to bind to (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=None, help="port to bind to (default 8080, 0: any free one)")
    parser.add_argument("--announce", type=Path, help="where pid and URL are written (default WORKDIR/server.json)")
    parser.add_argument("--set", action="append", default=[], metavar="serving.KEY=VALUE", help="a setting")
    options = parser.parse_args(arguments)
    end_with_owner()  # before anything is loaded: that takes seconds in which a run may be killed
    try:
        serve(
            options.workdir, options.release, options.host, options.port, assignments(options.set), options.announce
        )  # fmt: skip
    except TowerlineError as error:
        print(f"serve: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def assignments(texts: list[str]) -> dict[str, str]:
    """`serving.KEY=VALUE` texts as overrides. Raises BadSetting."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.startswith("serving."):
            raise BadSetting(f"--set takes serving.KEY=VALUE, not {text!r}.")
        found[name.removeprefix("serving.")] = value
    return found


if __name__ == "__main__":
    sys.exit(main())
