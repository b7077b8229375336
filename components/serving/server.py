"""Starts the server: checks what can be checked at once, binds, loads the release, serves until it is told to stop."""

import contextlib
import errno
import gc
import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.common.errors import BadSetting, TowerlineError
from components.common.files import read_json, write_json
from components.common.manifest import read_release
from components.common.served import served_release_id
from components.common.settings import from_overrides, parse_overrides
from components.serving.release_loader import Opener
from components.serving.settings import ServingSettings
from components.serving.structured_logs import configure_logging, log

if TYPE_CHECKING:
    from components.serving.service import OnlineFeatures, Service

ANNOUNCEMENT = "server.json"
_TAKEN = "another process has it; choose another --port"


@dataclass(frozen=True)
class Backends:
    """What a server is built on: how a release is opened, the online store, and who the page offers as shoppers."""

    open_release: Opener
    features: "OnlineFeatures"
    shoppers: Callable[[int], list[dict[str, Any]]]


def serve(
    workdir: Path,
    release: str | None = None,
    host: str | None = None,
    port: int | None = None,
    settings: Mapping[str, str] | str | None = None,
    announce: Path | None = None,
) -> None:
    """Serves the promoted release of `workdir` (or the pinned `release`) until SIGTERM or SIGINT.

    `announce` is where pid and URL are written once requests are accepted, default `<workdir>/server.json`. Raises
    NotFound when there is no release, BadSetting when the port is taken, and what a broken release raises.
    """
    overrides = parse_overrides(settings)
    overrides |= {} if host is None else {"host": host}
    overrides |= {} if port is None else {"port": str(port)}
    chosen = from_overrides(ServingSettings, overrides)
    workdir = Path(workdir).absolute()
    wanted = release or served_release_id(workdir)
    read_release(workdir, wanted)
    with bound_socket(chosen.host, chosen.port) as listener:
        from components.serving.opening import open_backends

        try:
            run(workdir, chosen, listener, open_backends(workdir, chosen, wanted), release, announce)
        finally:
            gc.unfreeze()  # `run` froze what was imported; DuckDB lists at the exit whatever was not freed


def run(
    workdir: Path,
    settings: ServingSettings,
    listener: socket.socket,
    backends: Backends,
    pinned: str | None = None,
    announce: Path | None = None,
) -> None:
    """Serves on a bound socket with the given backends; returns when the server was told to stop and has drained."""
    from components.serving.metrics import Metrics, keep_metrics_in_memory

    configure_logging(settings.log_level)
    keep_metrics_in_memory()
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")  # KServe's own endpoints use it
    with _bare_arguments():
        from components.serving.kserve_server import TowerlineServer
        from components.serving.models import QueryTowerModel, RetrievalModel
    from components.serving.page_data import PageData
    from components.serving.routes import register_events, register_page
    from components.serving.service import Service

    service = Service(
        workdir, settings, Metrics(), backends.open_release, backends.features, pinned
    )  # fmt: skip
    gc.freeze()  # of what was imported nothing goes, and walking it in a full collection takes a tenth of a second
    service.start()
    announcement = announce or workdir / ANNOUNCEMENT

    def routes(app: Any) -> None:
        register_events(app, service)
        if settings.page:
            register_page(app, PageData(service, backends.shoppers), settings)

    kinds = {
        "all": (QueryTowerModel, RetrievalModel),
        "predictor": (QueryTowerModel,),
        "transformer": (RetrievalModel,),
    }
    server = TowerlineServer(
        service, listener, routes, lambda: _announce(announcement, listener, service, announce is not None)
    )
    try:
        server.start([kind(service) for kind in kinds[settings.role]])
    finally:
        service.stop()
        _withdraw(announcement)
    log(logging.INFO, "stopped")


@contextlib.contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A listening address of our own, bound before anything slow is done. Raises BadSetting when it is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise BadSetting(f"the host {host!r} is not known: {error}.") from error
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            taken = port and error.errno == errno.EADDRINUSE
            hint = _TAKEN if taken else "choose another --host or --port"
            raise BadSetting(f"cannot listen on {host}:{port} ({error.strerror}): {hint}.") from error
        yield listener


def check_listening(listener: socket.socket, host: str, port: int) -> None:
    """Raises BadSetting unless connections are accepted: of two that bound an address, one alone gets to listen."""
    try:
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:  # the event loop has closed it
        listening = 0
    if not listening:
        raise BadSetting(f"cannot listen on {host}:{port}: {_TAKEN}.")


def url_of(listener: socket.socket) -> str:
    """The base URL of a bound socket; a server bound to every address is reached over loopback."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(path: Path, listener: socket.socket, service: "Service", asked_for: bool) -> None:
    """Writes pid and URL. A server starts on a full disk too: without an announcement nobody asked for, it serves."""
    release = service.table.stable.release_id
    started = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        write_json(path, {"pid": os.getpid(), "url": url_of(listener), "release": release, "started": started})
    except OSError as error:
        if asked_for:
            raise
        log(logging.WARNING, "`search` will not find this server", path=str(path), error=str(error))
    log(logging.INFO, "ready", url=url_of(listener), release=release)
    if sys.stderr.isatty():
        print(f"serving release {release} at {url_of(listener)}; Ctrl-C stops it.", flush=True)


def _withdraw(path: Path) -> None:
    try:
        if read_json(path).get("pid") == os.getpid():
            path.unlink()
    except (TowerlineError, OSError) as error:
        log(logging.WARNING, "the announcement could not be removed", path=str(path), error=str(error))


@contextlib.contextmanager
def _bare_arguments() -> Iterator[None]:
    """Hides our command line while kserve is imported: it parses sys.argv at import and stops at what it misreads."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = arguments
