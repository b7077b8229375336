"""Which release answers whom: stable, previous, and a canary for a sticky share of the shoppers."""

import hashlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.common.errors import BadInput, NotFound
from components.common.files import read_json
from components.common.manifest import rollout_path
from components.serving.loaded_release import LoadedRelease
from components.serving.requests import SearchRequest
from components.serving.settings import ServingSettings


@dataclass(frozen=True)
class Rollout:
    """The content of `releases/rollout.json`: `percent` of the shoppers see `canary` while `stable` is promoted."""

    stable: str
    canary: str
    percent: float


def read_rollout(workdir: Path) -> Rollout | None:
    """The canary under way, or None. Raises BadInput for a file that does not say what it must."""
    path = rollout_path(workdir)
    if not path.exists():
        return None
    body = read_json(path)
    if not isinstance(body, dict):
        raise BadInput(f"{path} is not a JSON object; delete it to end the canary.")
    stable, canary, percent = body.get("stable"), body.get("canary"), body.get("percent")
    if not canary or not percent:
        return None
    number = isinstance(percent, int | float) and not isinstance(percent, bool)
    if not isinstance(stable, str) or not isinstance(canary, str) or not number or not 0 <= percent <= 100:
        raise BadInput(f'{path} must hold "stable", "canary" (release ids) and "percent" (0 to 100).')
    return Rollout(stable, canary, float(percent))


@dataclass(frozen=True)
class ReleaseTable:
    """The releases loaded at one moment; replaced as a whole, so a request never sees half a change."""

    stable: LoadedRelease
    previous: LoadedRelease | None = None
    canary: LoadedRelease | None = None
    percent: float = 0.0

    def roles(self) -> dict[str, LoadedRelease]:
        """Loaded releases by role."""
        named = {"stable": self.stable, "previous": self.previous, "canary": self.canary}
        return {role: release for role, release in named.items() if release is not None}

    def choose(self, request: SearchRequest) -> LoadedRelease:
        """The release that answers a request: the one it names (id, `stable`, `previous`, `canary`), else by share.

        Raises NotFound when the named release is not loaded.
        """
        if request.release is None:
            return self.canary if self.canary is not None and self._in_share(request) else self.stable
        roles = self.roles()
        for role, release in roles.items():
            if request.release in (role, release.release_id):
                return release
        loaded = ", ".join(f"{release.release_id} ({role})" for role, release in roles.items())
        raise NotFound(f"release {request.release!r} is not loaded; loaded are {loaded}.")

    def _in_share(self, request: SearchRequest) -> bool:
        """Sticky by shopper, else by session, else by query; another canary draws another share of the shoppers."""
        assert self.canary is not None
        who = request.user_id or request.session_id or request.query
        digest = hashlib.blake2b(f"{self.canary.release_id}\0{who}".encode("utf-8", "replace"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % 10_000 < self.percent * 100


class CanaryBudget:
    """Judges a canary on its latest requests: too many failures or too slow, and it must stop."""

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        self._of = ""
        self._latest: deque[tuple[bool, float]] = deque(maxlen=settings.canary_window)
        self._since_check = 0

    def record(self, release_id: str, failed: bool, seconds: float) -> str | None:
        """Takes in one request of the canary; returns the sentence why it must stop, or None."""
        if release_id != self._of:
            self._of, self._since_check = release_id, 0
            self._latest.clear()
        self._latest.append((failed, seconds))
        self._since_check += 1
        enough = self._settings.canary_min_requests
        if len(self._latest) < enough or self._since_check < max(1, enough // 10):
            return None
        self._since_check = 0
        return self._verdict()

    def _verdict(self) -> str | None:
        count = len(self._latest)
        share = sum(failed for failed, _ in self._latest) / count
        if share > self._settings.canary_error_share:
            allowed = self._settings.canary_error_share
            return f"{share:.1%} of its latest {count} requests failed; {allowed:.1%} are allowed."
        times = sorted(seconds for _, seconds in self._latest)
        slow = times[min(count - 1, int(count * 0.99))] * 1000
        if slow > self._settings.canary_p99_ms:
            allowed = self._settings.canary_p99_ms
            return f"its p99 over the latest {count} requests is {slow:.0f} ms; {allowed:.0f} ms are allowed."
        return None


def stopped_rollout(rollout: dict[str, Any], reason: str, moment: str) -> dict[str, Any]:
    """The body of rollout.json after an automatic rollback: the share is 0, and the file says why and when."""
    canary = rollout.get("canary")
    return {**rollout, "percent": 0, "stopped": {"release": canary, "reason": reason, "at": moment}}
