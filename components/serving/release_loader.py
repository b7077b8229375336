"""Keeps the promoted release in memory: watches `current`, loads in the background, swaps in one assignment."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from components.common.errors import BadInput, NotFound, TowerlineError
from components.common.files import read_json, write_json
from components.common.manifest import (
    current_release_id,
    read_release,
    release_directory,
    releases_directory,
    rollout_path,
)
from components.common.served import served_release_id
from components.serving.loaded_release import LoadedRelease
from components.serving.metrics import Metrics
from components.serving.rollout import CanaryBudget, ReleaseTable, read_rollout, stopped_rollout
from components.serving.settings import ServingSettings
from components.serving.structured_logs import log

Opener = Callable[[Path, str], LoadedRelease]
Stamp = tuple[int, int]
_NO_FILE: Stamp = (0, 0)


class ReleaseLoader:
    """Holds the `ReleaseTable` of a work directory up to date.

    `open_release(workdir, release_id)` loads and verifies one release. With `pinned`, only that release is served and
    nothing is watched. A release that fails to load leaves the served one in place; it is tried again when its files or
    the pointer change.
    """

    def __init__(
        self,
        workdir: Path,
        open_release: Opener,
        settings: ServingSettings,
        metrics: Metrics,
        pinned: str | None = None,
        on_swap: Callable[[ReleaseTable], None] = lambda table: None,
    ) -> None:
        self.workdir = Path(workdir)
        self._open, self._settings, self._metrics, self._pinned = open_release, settings, metrics, pinned
        self._on_swap = on_swap
        self._table: ReleaseTable | None = None
        self._stamps: dict[str, Stamp] = {}
        self._failed: set[tuple[str, Stamp]] = set()
        self._stopped: str | None = None
        self._budget = CanaryBudget(settings)
        self._checking = threading.Lock()
        self._swapping = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def table(self) -> ReleaseTable:
        """The releases loaded now. Raises NotFound before the first one is."""
        if self._table is None:
            raise NotFound("no release is loaded.")
        return self._table

    @property
    def loaded(self) -> bool:
        """True from the first successful load on."""
        return self._table is not None

    def start(self) -> None:
        """Loads the release to serve and begins to watch. Raises NotFound if there is none, or what the load raises."""
        self._swap(ReleaseTable(self._load(self._pinned or served_release_id(self.workdir))))
        if self._pinned is None:
            self._thread = threading.Thread(target=self._watch, name="release-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the watching and retires every loaded release."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        if self._table is not None:
            for release in self._table.roles().values():
                release.retire()

    def check(self) -> None:
        """Looks once at `current` and rollout.json and brings the table up to date; never raises."""
        with self._checking:
            try:
                self._follow()
            except Exception as error:  # noqa: BLE001 - whatever lies in the work directory, serving goes on
                log(logging.ERROR, "the releases could not be read; serving goes on", error=str(error))

    def record(self, release_id: str, failed: bool, seconds: float) -> None:
        """Takes in the outcome of one request; stops the canary when its budget is broken."""
        table = self._table
        if table is None or table.canary is None or table.canary.release_id != release_id:
            return
        reason = self._budget.record(release_id, failed, seconds)
        if reason is not None:
            self._stop_canary(release_id, reason)

    def load_previous(self) -> None:
        """Loads the release served before, so that a rollback is one assignment; never raises."""
        with self._checking:
            try:
                wanted = earlier_release(self.workdir, self.table.stable.release_id)
                if self.table.previous is None and wanted is not None:
                    previous = self._loaded_or_new(wanted, self.table)
                    self._swap(ReleaseTable(self.table.stable, previous, self.table.canary, self.table.percent))
            except Exception as error:  # noqa: BLE001 - it is only wanted for speed
                log(logging.WARNING, "the previous release could not be found; serving goes on", error=str(error))

    def _watch(self) -> None:
        if self._settings.keep_previous:
            self.load_previous()
        while not self._stop.wait(self._settings.watch_seconds):
            self.check()

    def _follow(self) -> None:
        table = self.table
        wanted = current_release_id(self.workdir) or table.stable.release_id
        stable = self._loaded_or_new(wanted, table) or table.stable
        canary, percent = None, 0.0
        rollout = read_rollout(self.workdir)
        if rollout is None or rollout.canary != self._stopped:
            self._stopped = None
        if rollout is not None and rollout.stable == stable.release_id != rollout.canary != self._stopped:
            canary, percent = self._loaded_or_new(rollout.canary, table), rollout.percent
        previous = table.previous if stable is table.stable else table.stable
        if previous is not None and previous.release_id == stable.release_id:
            previous = table.previous if table.previous is not stable else None
        new = ReleaseTable(stable, previous, canary, percent if canary else 0.0)
        if new != table:
            self._swap(new)

    def _loaded_or_new(self, release_id: str, table: ReleaseTable) -> LoadedRelease | None:
        """The release as loaded, or loaded now when it is new or its manifest was rewritten; None when that fails."""
        stamp = self._stamp(release_id)
        for release in table.roles().values():
            if release.release_id == release_id and self._stamps.get(release_id) == stamp:
                return release
        if (release_id, stamp) in self._failed:
            return None
        try:
            return self._load(release_id)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a new release, the served one goes on
            self._failed.add((release_id, stamp))
            self._metrics.release_events.labels("load_failed").inc()
            log(logging.ERROR, "a release failed to load; serving goes on", release=release_id, error=str(error))
            return None

    def _load(self, release_id: str) -> LoadedRelease:
        stamp = self._stamp(release_id)
        read_release(self.workdir, release_id)
        release = self._open(self.workdir, release_id)
        self._stamps[release_id] = stamp
        self._metrics.release_events.labels("loaded").inc()
        return release

    def _stamp(self, release_id: str) -> Stamp:
        try:
            status = (release_directory(self.workdir, release_id) / "release.json").stat()
        except (FileNotFoundError, BadInput):
            return _NO_FILE
        return (status.st_mtime_ns, status.st_ino)

    def _swap(self, table: ReleaseTable) -> None:
        with self._swapping:
            if table.canary is not None and table.canary.release_id == self._stopped:
                table.canary.retire()
                table = ReleaseTable(table.stable, table.previous)
            old, self._table = self._table, table
        kept = list(table.roles().values())
        names = {role: release.release_id for role, release in table.roles().items()}
        self._metrics.show_releases(names)
        log(logging.INFO, "releases changed", **names, percent=table.percent)
        self._on_swap(table)
        for release in old.roles().values() if old else ():
            if not any(release is other for other in kept):
                release.retire()

    def _stop_canary(self, release_id: str, reason: str) -> None:
        self._stopped = release_id
        self._swap(ReleaseTable(self.table.stable, self.table.previous))
        self._metrics.release_events.labels("canary_stopped").inc()
        log(logging.ERROR, "the canary was stopped", release=release_id, reason=reason)
        path = rollout_path(self.workdir)
        try:
            body = read_json(path)
            if isinstance(body, dict) and body.get("canary") == release_id:
                write_json(path, stopped_rollout(body, reason, datetime.now(UTC).isoformat(timespec="seconds")))
        except (TowerlineError, OSError) as error:
            log(logging.ERROR, "rollout.json could not be rewritten; the canary stays off here", error=str(error))


def earlier_release(workdir: Path, served: str) -> str | None:
    """The last promoted release beside the served one, by the record of promotions; None when there is none."""
    path = releases_directory(workdir) / "promoted.json"
    if not path.exists():
        return None
    entries = [entry for entry in read_json(path) if isinstance(entry, dict) and entry.get("withdrawn") is None]
    return next(
        (str(entry["release"]) for entry in reversed(entries) if entry.get("release") not in (None, served)), None
    )
