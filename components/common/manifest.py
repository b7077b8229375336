"""The release manifest: the format that ties towers, index and features together, read by every server.

A release is a directory `<workdir>/releases/<id>/`; `release.json` is written last, so a directory without it is the
leftover of a killed run and never a release. Files are immutable once the manifest is there.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.common.errors import BadInput, NotFound
from components.common.files import read_json, sha256_file, write_json, write_text

FORMAT = 2
"""Counts the layouts of a release, all its files together: towers and index too. Whoever changes what a file of it
holds counts up, so that another layout is refused in a sentence and not found out by a server."""
_ID = re.compile(r"^[a-z0-9][a-z0-9-]{3,62}$")


@dataclass(frozen=True)
class Release:
    """What one successful run produced. `files` maps a path inside the release to the SHA-256 of its content.

    `environment` is the feature store that holds its shoppers: local, redis or cluster.
    """

    release_id: str
    model: str
    simulated: bool
    collection: str
    milvus: dict[str, Any]
    feature_service: str
    log: dict[str, Any]
    code: str
    settings: dict[str, Any]
    evaluation: dict[str, Any]
    boosting: dict[str, Any]
    files: dict[str, str]
    created_at: str
    parent: str | None = None
    directory: Path = field(default=Path(), compare=False)
    environment: str = "local"

    def path(self, *parts: str) -> Path:
        """A path inside the release's directory."""
        return self.directory.joinpath(*parts)

    @property
    def towers_fingerprint(self) -> str:
        """SHA-256 that names this release's towers: every blessing names it too."""
        return self.files["towers/towers.safetensors"]


def new_release_id(moment: datetime | None = None, suffix: str = "") -> str:
    """A sortable id such as `20260102-030405-1a2b3c`; `suffix` (hex) tells apart releases of one second."""
    stamp = (moment or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{suffix}" if suffix else stamp


def releases_directory(workdir: Path) -> Path:
    """Where the releases of a work directory live."""
    return Path(workdir) / "releases"


def rollout_path(workdir: Path) -> Path:
    """Where the canary's share is kept."""
    return releases_directory(workdir) / "rollout.json"


def release_directory(workdir: Path, release_id: str) -> Path:
    """The directory of a release. Raises BadInput when the id could leave the releases directory."""
    if not _ID.match(release_id):
        raise BadInput(f"{release_id!r} is not a release id; `python pipeline.py releases` lists them.")
    return releases_directory(workdir) / release_id


def write_release(release: Release) -> None:
    """Writes `release.json` into the release's directory, as the last file of a release."""
    body = dataclasses.asdict(release)
    body.pop("directory")
    write_json(release.directory / "release.json", {"format": FORMAT, **body})


def read_release(workdir: Path, release_id: str) -> Release:
    """The manifest of a release. Raises NotFound for an unknown id, BadInput for another format or damage."""
    return read_release_directory(release_directory(workdir, release_id))


def read_release_directory(directory: Path) -> Release:
    """The manifest inside a release's directory. Raises NotFound or BadInput."""
    directory = Path(directory)
    if not (directory / "release.json").exists():
        raise NotFound(f"there is no release {directory.name!r}; `python pipeline.py releases` lists them.")
    body = read_json(directory / "release.json")
    found = body.pop("format", None) if isinstance(body, dict) else None
    if isinstance(found, bool) or not isinstance(found, int):
        raise BadInput(f"{directory / 'release.json'} is not a release manifest; restore it or make a new release.")
    if found != FORMAT:
        age, remedy = ("an older", "serve it with that one") if found < FORMAT else ("a newer", "update this one")
        raise BadInput(
            f"release {directory.name} has format {found}, that of {age} Towerline, and this one reads format "
            f"{FORMAT}: {remedy}, or make a new release with `python pipeline.py run`."
        )
    fields = {item.name: item for item in dataclasses.fields(Release) if item.name != "directory"}
    needed = {name for name, item in fields.items() if item.default is dataclasses.MISSING}
    for names, what in ((needed - body.keys(), "lacks"), (body.keys() - fields.keys(), "has, unknown here,")):
        if names:
            raise BadInput(
                f"{directory / 'release.json'} is not a release manifest of this Towerline: it {what} "
                f"{', '.join(sorted(names))}; restore it, or make a new release."
            )
    return Release(**body, directory=directory)


def fingerprint_files(directory: Path) -> dict[str, str]:
    """SHA-256 of every file of a release by its relative path, the manifest and the Milvus data aside.

    A Milvus Lite database rewrites its own files when it is opened; what it holds is verified by reading it back.
    """
    directory = Path(directory)
    names = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return {
        name: sha256_file(directory / name)
        for name in names
        if name != "release.json" and not name.startswith("milvus/") and not Path(name).name.startswith(".")
    }


def check_files(release: Release) -> None:
    """Raises BadInput naming the first file of a release that is missing; their content is not read."""
    for name in release.files:
        if not (release.directory / name).exists():
            raise BadInput(f"release {release.release_id} misses its file {name}; roll back or rebuild it.")


def verify_files(release: Release) -> None:
    """Raises BadInput naming the first file of a release that is missing or changed since the manifest was written."""
    check_files(release)
    for name, expected in release.files.items():
        if sha256_file(release.directory / name) != expected:
            raise BadInput(
                f"release {release.release_id}: {name} was changed after it was made; roll back or rebuild it."
            )


def list_release_ids(workdir: Path) -> list[str]:
    """Ids of all complete releases, oldest first."""
    folder = releases_directory(workdir)
    return sorted(path.parent.name for path in folder.glob("*/release.json") if not path.parent.name.startswith("."))


def current_release_id(workdir: Path) -> str | None:
    """The id of the served release, or None before the first promotion."""
    try:
        text = (Path(workdir) / "current").read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None
    return text or None


def set_current(workdir: Path, release_id: str) -> None:
    """Points `current` at a release, atomically. Raises NotFound if that release is not complete."""
    read_release(workdir, release_id)
    write_text(Path(workdir) / "current", release_id + "\n")
