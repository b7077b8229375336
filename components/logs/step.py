"""The tasks of this room: look at what a run starts from, and bring a source into the contract."""

from __future__ import annotations

import hashlib
import importlib
from collections import namedtuple
from pathlib import Path
from typing import Any

from components.common.code import code_fingerprint
from components.common.errors import BadSetting, NotFound
from components.common.files import sha256_file, staged_directory
from components.common.manifest import current_release_id
from components.common.records import task_record
from components.common.settings import as_overrides, from_overrides
from components.logs.contract import OWN_DATA
from components.logs.settings import LogSettings
from components.logs.writer import LogWriter

MARKETPLACE = "marketplace"
SOURCES = {
    "parquet": "time",
    "home-depot": "query",
    "chorus": "query",
    "wands": "query",
    "esci": "query",
    "jdsearch": "query",
    "ubi": "time",
}
"""Sources by name, with the split their logs usually have; `marketplace` is generated."""
DOWNLOADED = ("wands", "esci")

Inputs = namedtuple("Inputs", ["fingerprint", "current_release"])


def check_source(source: str, data: str) -> None:
    """Raises BadSetting for an unknown source or data that none reads, NotFound when it lacks its data."""
    if source == MARKETPLACE:
        if data:
            raise BadSetting(
                f"--data {data} needs the --source that reads it, for a log of your own `--source parquet`; "
                "without one the log is simulated."
            )
        return
    if source not in SOURCES:
        raise BadSetting(
            f"unknown source {source!r}; known: {', '.join((MARKETPLACE, *SOURCES))}. "
            f"A log in another form is translated for parquet: {OWN_DATA}."
        )
    if data:
        _module(source).files(Path(data))
    elif source not in DOWNLOADED:
        raise NotFound(f"source {source} needs --data PATH.")


def inspect(source: str, data: str, settings: str, workdir: str) -> Inputs:
    """The content fingerprint of a source and the id of the served release ("" before the first)."""
    with task_record("inspect_inputs") as record:
        check_source(source, data)
        found = Inputs(fingerprint_source(source, data, settings), current_release_id(Path(workdir)) or "")
        record.figure("fingerprint", found.fingerprint)
        record.figure("served_before", found.current_release)
        record.figure("simulated", source == MARKETPLACE)
    return found


def fingerprint_source(source: str, data: str, settings: str) -> str:
    """SHA-256 over a source's name, settings and files; for the marketplace, over the generator's code."""
    digest = hashlib.sha256(f"{source}\0{as_overrides(from_overrides(LogSettings, settings))}\0".encode())
    digest.update(code_fingerprint("logs").encode())
    if source != MARKETPLACE and data:
        root = Path(data)
        for path in _module(source).files(root):
            digest.update(f"{path.relative_to(root) if path != root else path.name}\0{sha256_file(path)}\0".encode())
    return digest.hexdigest()


def load_log(source: str, data: str, settings: str, out: Path, truth: Path) -> dict[str, Any]:
    """Writes the log of a source to `out` in the contract, and what only a generator knows to `truth`.

    Returns figures: rows a table, split, whether the log is simulated. Raises BadInput, BadSetting, NotFound.
    """
    options = from_overrides(LogSettings, settings)
    with task_record("load_log") as record, staged_directory(Path(out)) as log, staged_directory(Path(truth)) as known:
        check_source(source, data)
        if source == MARKETPLACE:
            from components.logs.marketplace.generate import generate

            description = generate(options, log, known)
            record.note("Simulated data: products, shoppers and searches come from the built-in marketplace.")
        else:
            with LogWriter(log, source, simulated=False, split=SOURCES[source]) as writer:
                _module(source).load(_downloaded(source, data), writer, record, options)
            description = writer.description
        for name, count in description["counts"].items():
            record.figure(name, count)
        record.figure("simulated", description["simulated"])
        if description["split"] == "query":
            why = "has no times" if not description["has"]["times"] else "has no common clock"
            record.note(f"This log {why}: it is split by query, and test queries never occur in training.")
    return {"simulated": description["simulated"], "split": description["split"], **description["counts"]}


def _downloaded(source: str, data: str) -> Path:
    if data:
        return Path(data)
    from components.logs.download import fetch

    return fetch(source)


def _module(source: str) -> Any:
    return importlib.import_module(f"components.logs.sources.{source.replace('-', '_')}")
