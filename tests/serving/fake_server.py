"""A real server process on fake towers, index and store: `python -m tests.serving.fake_server --workdir DIR ...`."""

import sys
from pathlib import Path

from components.common.errors import TowerlineError
from components.common.manifest import current_release_id, read_release
from components.common.settings import from_overrides
from components.serving import __main__ as command
from components.serving import server
from components.serving.settings import ServingSettings
from tests.serving.fakes import FakeStore, clicks, faults_of, open_fake


def serve(workdir, release, host, port, settings, announce) -> None:
    """As `components.serving.server.serve`, on fakes."""
    overrides = {**settings, **({"host": host} if host else {}), **({} if port is None else {"port": str(port)})}
    chosen = from_overrides(ServingSettings, overrides)
    first = read_release(workdir, release or current_release_id(workdir)).release_id
    store = FakeStore({"u1": clicks("p3", "p4", "p5")})
    faults = faults_of(workdir, first)
    store.error = RuntimeError("gone") if faults.get("store_down") else None
    backends = server.Backends(open_fake, store, lambda limit: [{"user_id": "u1", "behaviours": 3}])
    with server.bound_socket(chosen.host, chosen.port) as listener:
        server.run(Path(workdir), chosen, listener, backends, release, announce)
    if faults.get("exit_code"):
        sys.exit(faults["exit_code"])


if __name__ == "__main__":
    command.serve = serve
    try:
        sys.exit(command.main())
    except TowerlineError as error:
        sys.exit(str(error))
