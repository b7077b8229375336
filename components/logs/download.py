"""Public sets with a stable address: fetched once, with progress, resumed after an interruption, and checked."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from components.common.errors import BadInput, BadSetting, Unavailable
from components.common.files import sha256_file, write_text
from components.common.progress import Progress

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_TRIES = 3
_GITHUB = "https://github.com"


@dataclass(frozen=True)
class Remote:
    """One file of a set: where it is, and how it must be. Without a published SHA-256 the first download is noted.

    Attributes:
        path: the repository's path at a fixed commit, below the host.
        sha256: hex digest, or "" where the publisher states none.
        size: bytes, or 0 where unknown.
    """

    name: str
    path: str
    sha256: str = ""
    size: int = 0


_WANDS = "wayfair/WANDS/raw/03957285eff502833a50faf4893622ece09903b4/dataset"
_ESCI = "amazon-science/esci-data/raw/7e0e3073f5ca36c0b5ff79e847cf99a74597645d/shopping_queries_dataset"
SETS: dict[str, tuple[Remote, ...]] = {
    "wands": (
        Remote(
            "query.csv",
            f"{_WANDS}/query.csv",
            "63b61660560fecc33ec490804c7e2b81402ee3e7c31a9cbb5e03736639f68e95",
            19_942,
        ),
        Remote("product.csv", f"{_WANDS}/product.csv"),
        Remote("label.csv", f"{_WANDS}/label.csv"),
    ),
    "esci": (
        Remote(
            "shopping_queries_dataset_examples.parquet",
            f"{_ESCI}/shopping_queries_dataset_examples.parquet",
            "4a735b693b4a424a6fc67f5be6e4c811495c488bbf66d02a602d308b2744263a",
            51_286_808,
        ),
        Remote(
            "shopping_queries_dataset_products.parquet",
            f"{_ESCI}/shopping_queries_dataset_products.parquet",
            "25124442d064d64b26f74082d6fa09438d679efc0c183cf28d19064a2b65a265",
            1_108_857_465,
        ),
    ),
}


def cache_folder(source: str) -> Path:
    """Where a set is kept: below TOWERLINE_CACHE, or the user's cache folder."""
    root = os.environ.get("TOWERLINE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "towerline"
    )
    return Path(root) / source


def fetch(source: str, host: str = "", folder: Path | None = None) -> Path:
    """Downloads what is missing of a set and returns its folder.

    A file that is there and passes its check is not fetched again; a part left by an interruption is continued.

    Args:
        host: base address; by default TOWERLINE_MIRROR, where a network keeps the repositories, or else GitHub.
        folder: where to keep the set; `cache_folder` by default.

    Raises:
        BadSetting: the source is not one that is downloaded. Unavailable: the address does not answer.
        BadInput: what came is not the published file.
    """
    if source not in SETS:
        raise BadSetting(f"source {source} has no public address; give its files with --data.")
    folder = folder or cache_folder(source)
    host = (host or os.environ.get("TOWERLINE_MIRROR") or _GITHUB).rstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    for remote in SETS[source]:
        target = folder / remote.name
        if not (target.is_file() and _intact(target, remote)):
            _download(f"{host}/{remote.path}", target, remote, source)
    return folder


def _intact(path: Path, remote: Remote) -> bool:
    note = path.with_name(f"{path.name}.sha256")
    expected = remote.sha256 or (note.read_text(encoding="utf-8").strip() if note.is_file() else "")
    return bool(expected) and sha256_file(path) == expected


def _download(url: str, target: Path, remote: Remote, source: str) -> None:
    part = target.with_name(f"{target.name}.part")
    for attempt in range(_TRIES):
        try:
            _continue(url, part, remote)
            break
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            # A file part that the server will not continue is started over; anything else is tried again.
            if isinstance(error, urllib.error.HTTPError) and error.code == 416:
                part.unlink(missing_ok=True)
            if attempt + 1 == _TRIES:
                raise Unavailable(
                    f"{url} could not be fetched ({getattr(error, 'reason', error)}); check the network and run again "
                    f"(it continues where it stopped), or download it elsewhere and give its folder with --data to "
                    f"--source {source}."
                ) from error
    digest = sha256_file(part)
    if (remote.sha256 and digest != remote.sha256) or (remote.size and part.stat().st_size != remote.size):
        part.unlink()
        raise BadInput(
            f"{url} is not the published file: its SHA-256 is {digest}, expected {remote.sha256}; "
            "run again, or give a copy you trust with --data."
        )
    os.replace(part, target)
    write_text(target.with_name(f"{target.name}.sha256"), digest + "\n")


def _continue(url: str, part: Path, remote: Remote) -> None:
    """Fetches a file from where its part ends. Raises URLError, HTTPException or OSError."""
    have = part.stat().st_size if part.is_file() else 0
    if remote.size and have == remote.size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        resumed = answer.status == 206
        length = int(answer.headers.get("Content-Length") or 0)
        total = (have if resumed else 0) + length
        got = have if resumed else 0
        with open(part, "ab" if resumed else "wb") as file, Progress(total or None, remote.name, "bytes") as progress:
            progress.advance(got)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                got += len(chunk)
                progress.advance(len(chunk))
        if length and got < total:
            raise http.client.IncompleteRead(b"", total - got)
