"""What the files of a folder are made of: the keys of JSON objects, the columns and metadata of Parquet files."""

import json
from pathlib import Path

import pyarrow.parquet as pq

ADVICE = (
    "What a release holds has changed. Count FORMAT in components/common/manifest.py up, so that code and release of "
    "different layouts refuse each other in a sentence, and bring the table of this test up to date."
)


def layout_of(folder: Path) -> dict[str, list[str]]:
    """Names of files, each with its keys (those of the first entry of a list) or columns; empty for other files."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path(folder).iterdir()):
        if path.suffix == ".json":
            body = json.loads(path.read_text(encoding="utf-8"))
            found[path.name] = sorted(body if isinstance(body, dict) else body[0])
        elif path.suffix == ".parquet":
            schema = pq.read_schema(path)
            found[path.name] = [*schema.names, *sorted(key.decode() for key in schema.metadata or {})]
        elif path.is_file():
            found[path.name] = []
    return found
