"""A fingerprint of the code a task calls: part of its cache key, so that changed code is never reused."""

import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

ROOMS = ("common", "logs", "validation", "features", "towers", "evaluation", "index", "serving", "releases", "runs")
_ROOT = Path(__file__).resolve().parents[1]
_LIBRARIES = {
    "validation": ("great-expectations", "tfx-bsl"),
    "features": ("feast", "duckdb"),
    "towers": ("torch", "onnx", "onnxruntime"),
    "evaluation": ("bm25s",),
}


@cache
def code_fingerprint(room: str) -> str:
    """Hex SHA-256 (16 digits) over the source of a room, of every room above it, and of their libraries' versions."""
    digest = hashlib.sha256()
    for name in ROOMS[: ROOMS.index(room) + 1]:
        digest.update(source_fingerprint(name).encode())
        for library in _LIBRARIES.get(name, ()):
            digest.update(f"{library}=={importlib.metadata.version(library)}\0".encode())
        if name == "features":
            for path in sorted((_ROOT.parent / "feature_repo").rglob("*.py")):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def source_fingerprint(room: str) -> str:
    """Hex SHA-256 (16 digits) over the source of one room, which needs no library of any room to be installed."""
    digest = hashlib.sha256()
    files = (path for path in (_ROOT / room).rglob("*") if path.suffix in {".py", ".json", ".yaml"})
    for path in sorted(files):
        digest.update(f"{path.relative_to(_ROOT).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
