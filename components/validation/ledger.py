"""What was found in each partition, kept beside its statistics, so that an unchanged partition is not read again.

`statistics/`::

    statistics.json                  window, rules, and the outcome of every partition with its files' fingerprints
    products/                        summary, and the catalogue's ids, categories and words (.npy, names.json)
    searches/dt=YYYY-MM-DD/          summary, and the day's search ids, times and users (searches.npy)
    events/dt=YYYY-MM-DD/            summary, and the products that occur (products.npy)
    kept/, quarantined/              good and bad rows of files that had bad ones (linked into checked/, quarantine/)
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from components.common.errors import BadInput, TowerlineError
from components.common.files import read_json, sha256_file
from components.validation.alarms import Finding

FORMAT = 3


@dataclass
class Outcome:
    """The result of checking one partition: `products`, `searches/dt=...`, `events/dt=...` or `judgements`.

    `files`: path in the log -> {"size", "mtime", "sha256"}. `checks`: bad rows by check. `examples`: one sentence with
    its origin by check. `rewritten`: SHA-256 of the good rows in `kept/`, of files with bad rows or converted columns.
    `dropped`: files without any good row. `unreadable`: file -> {"reason", "rows" or null}. `other_days`: days whose
    searches these events answer. `figures`: what a report shows of the partition's day. `empty`: optional columns that
    hold nothing in any good row.
    """

    key: str
    table: str
    day: str | None
    files: dict[str, dict[str, Any]]
    rules: str = ""
    rows: int = 0
    good: int = 0
    checks: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    rewritten: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    unreadable: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    other_days: list[str] = field(default_factory=list)
    first: int | None = None
    last: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)

    @property
    def bad(self) -> int:
        return self.rows - self.good

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over the contents of the partition's files, whatever they are called."""
        body = "\n".join(sorted(str(mark["sha256"]) for mark in self.files.values()))
        return hashlib.sha256(body.encode()).hexdigest()

    def add_finding(self, finding: Finding) -> None:
        self.findings.append({"name": finding.name, "sentence": finding.sentence, "severity": finding.severity})

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


class Store:
    """An earlier run's statistics folder with the content of its statistics.json; `Store(None)` has nothing."""

    def __init__(self, path: Path | None, body: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.path = path
        self.outcomes = {key: Outcome(**value) for key, value in body.get("partitions", {}).items()}
        self.accepted = [(str(name), str(scope)) for name, scope in body.get("accepted", [])]
        self.source = str(body.get("source", ""))
        self.newest: str | None = body.get("newest_day")

    def __bool__(self) -> bool:
        return self.path is not None

    def folder(self, key: str) -> Path:
        """Where a partition's summary lies. Only of a store that has one."""
        if self.path is None:
            raise LookupError(f"There are no earlier statistics to hold {key}.")
        return self.path / key


def open_store(text: str) -> tuple[Store, str]:
    """The newest statistics folder at a path: the folder itself, or the newest of its children; and a remark.

    No folder, or one in another format, is an empty store: the run then reads everything and compares with nothing.
    """
    if not text:
        return Store(None), ""
    path = Path(text)
    folders = [path] if (path / "statistics.json").is_file() else []
    folders = folders or sorted(path.glob("*/statistics.json"), key=lambda p: (p.stat().st_mtime_ns, p))[-1:]
    folder = folders[-1] if folders else None
    if folder is None:
        return Store(None), ""
    folder = folder if folder.is_dir() else folder.parent
    try:
        body = read_json(folder / "statistics.json")
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            return Store(None), f"The statistics in {folder} have another format; nothing is compared with them."
        return Store(folder, body), ""
    except (TowerlineError, TypeError, OSError) as error:
        return Store(None), f"The statistics in {folder} can't be read ({error}); nothing is compared with them."


def untouched(root: Path, paths: Iterable[Path], earlier: Outcome) -> bool:
    """True when these files are those of `earlier`, by their names, sizes and modification times."""
    found = {}
    for path in paths:
        state = path.stat()
        found[path.relative_to(root).as_posix()] = (state.st_size, state.st_mtime_ns)
    return found == {name: (mark["size"], mark["mtime"]) for name, mark in earlier.files.items()}


def mark_files(root: Path, paths: Iterable[Path], earlier: Outcome | None) -> dict[str, dict[str, Any]]:
    """Size, time and SHA-256 of files, by their path below `root`.

    The content is not read again when size and modification time are those that `earlier` recorded, as git and rsync
    do; a copied or regenerated file has another time and is read. Raises BadInput for a file that may not be read.
    """
    known = earlier.files if earlier is not None else {}
    marks = {}
    for path in paths:
        name = path.relative_to(root).as_posix()
        before = known.get(name, {})
        try:
            state = path.stat()
            mark: dict[str, Any] = {"size": state.st_size, "mtime": state.st_mtime_ns}
            same = before.get("size") == mark["size"] and before.get("mtime") == mark["mtime"]
            mark["sha256"] = before["sha256"] if same else sha256_file(path)
        except OSError as error:
            text = f"The file {name} of the log can't be read: {error.strerror}; check its permissions."
            raise BadInput(text) from error
        marks[name] = mark
    return marks
