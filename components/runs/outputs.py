"""Keeps kfp's local cache honest and its outputs bounded.

kfp keys a task on its arguments, its code and the *locations* of its inputs. Here every location is written once by one
task and the source is keyed on its content, so a key stands for content as long as nobody changes an output in place;
`forget_changed_outputs` makes sure of that before each run.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from components.common.files import tree_fingerprint, write_json

KEEP_RUNS = 3
KEEP_DAYS = 14
_MARK = "__kfp_artifact__"


def forget_changed_outputs(outputs: Path) -> list[str]:
    """Drops cache entries whose outputs are gone or no longer have the content they had when first seen.

    The first check of an entry records the content's fingerprint beside the entry; later checks compare. An entry that
    cannot be read, as a power cut may leave one, is dropped too. Returns the paths that differed.
    """
    changed = []
    for entry in sorted((outputs / ".kfp_cache").glob("*.json")):
        expected_path = entry.with_suffix(".content")
        try:
            found = {uri: _fingerprint(Path(uri)) for uri in _artifact_uris(entry)}
            expected = json.loads(expected_path.read_text(encoding="utf-8")) if expected_path.exists() else found
            different = [uri for uri, content in found.items() if expected.get(uri) != content or not content]
        except (ValueError, TypeError, KeyError, AttributeError):
            different = [str(entry)]
        if different:
            changed.extend(different)
            entry.unlink()
            expected_path.unlink(missing_ok=True)
        elif not expected_path.exists():
            write_json(expected_path, found)
    return changed


def remove_old_outputs(outputs: Path) -> None:
    """Removes cache entries older than KEEP_DAYS and outputs that neither the cache nor a recent run needs.

    The content of the entries that stay is recorded: call it at the end of the run that made them.
    """
    forget_changed_outputs(outputs)
    cutoff = time.time() - KEEP_DAYS * 86400
    kept: set[str] = set()
    for entry in (outputs / ".kfp_cache").glob("*.json"):
        if entry.stat().st_mtime < cutoff:
            entry.unlink()
            entry.with_suffix(".content").unlink(missing_ok=True)
            continue
        kept.update(Path(uri).relative_to(outputs).parts[0] for uri in _artifact_uris(entry) if _inside(uri, outputs))
    runs = sorted(path for path in outputs.glob("*") if path.is_dir() and path.name != ".kfp_cache")
    for path in runs[:-KEEP_RUNS]:
        if path.name not in kept:
            shutil.rmtree(path)


def _inside(uri: str, outputs: Path) -> bool:
    return Path(uri).is_relative_to(outputs)


def _artifact_uris(entry: Path) -> list[str]:
    def walk(value: Any) -> list[str]:
        if isinstance(value, dict):
            if value.get(_MARK):
                return [value["uri"]]
            return [uri for item in value.values() for uri in walk(item)]
        if isinstance(value, list):
            return [uri for item in value for uri in walk(item)]
        return []

    return walk(json.loads(entry.read_text(encoding="utf-8")))


def _fingerprint(path: Path) -> str:
    return tree_fingerprint(path) if path.exists() else ""
