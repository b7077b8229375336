"""OpenSearch User Behavior Insights: what shops that already log searches with UBI have, without translation of theirs.

Public form: documents of the indices `ubi_queries` and `ubi_events`, as bulk ndjson (an action line before each
document), as lines of `index<TAB>document`, or one plain document a line; `.ndjson`, `.json` or `.jsonl`, also zipped.
The catalogue is not part of UBI: `products.parquet` or `products/` in the contract's form beside the logs, or else
what events say about the objects they name.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.common.errors import BadInput, NotFound
from components.common.progress import Progress
from components.common.records import TaskRecord
from components.logs.buffer import RowBuffer
from components.logs.settings import LogSettings
from components.logs.sources.text import tidy
from components.logs.sources.ubi_catalogue import Catalogue
from components.logs.writer import LogWriter

ACTIONS = {
    "impression": "impression",
    "click": "click", "item_click": "click", "product_click": "click", "product_view": "click", "view": "click",
    "add_to_cart": "cart", "cart": "cart",
    "add_to_wishlist": "favourite", "favorite": "favourite", "favourite": "favourite", "save": "favourite",
    "purchase": "order", "checkout": "order", "buy": "order", "order": "order",
}  # fmt: skip
"""Action names of UBI's guide and samples; events of other names (filters, hovers, searches) are no behaviour."""
_SUFFIXES = (".ndjson", ".json", ".jsonl", ".zip")


def files(data: Path) -> list[Path]:
    """The log files, and the catalogue's where there is one. Raises NotFound."""
    logs = _logs(data)
    if not logs:
        raise NotFound(f"{data} holds no UBI log ({', '.join(_SUFFIXES)}); give a file or its folder with --data.")
    return logs + (Catalogue.files(data) if data.is_dir() else [])


def load(data: Path, writer: LogWriter, record: TaskRecord, options: LogSettings) -> None:
    """Streams the documents twice: queries and the catalogue first, then the events that answer them.

    The shopper is the user_id where a document has one, else UBI's client_id. An event of a query that was not logged
    keeps its product but no search; an impression of one is left out.
    """
    logs = _logs(data)
    catalogue = Catalogue(data if data.is_dir() else data.parent)
    queries: dict[str, str] = {}
    lowest: int | None = None
    with RowBuffer(writer) as rows:
        for index, item in _documents(logs, "UBI queries"):
            if index == "ubi_queries":
                _load_query(rows, item, queries)
            elif str(item.get("action_name")) in ACTIONS:
                catalogue.notice(_object(item))
                place = _ordinal(item)
                lowest = place if lowest is None else min(lowest, place if place is not None else lowest)
        catalogue.write(writer, rows)
        left: dict[str, int] = {"product": 0, "search": 0}
        for index, item in _documents(logs, "UBI events"):
            if index == "ubi_events":
                # Some collectors count positions from 0; the contract counts from 1.
                _load_event(rows, item, queries, catalogue, 1 if lowest == 0 else 0, left)
    catalogue.report(writer, record)
    if left["product"]:
        record.note(f"{left['product']:,} events name no product of the catalogue and were left out.")
    if left["search"]:
        record.note(f"{left['search']:,} impressions answer no logged query and were left out.")


def _load_query(rows: RowBuffer, item: dict[str, Any], queries: dict[str, str]) -> None:
    text, name = item.get("user_query"), _id(item, "query_id")
    if not text or name is None or name in queries:
        return
    queries[name] = str(text)
    user = _id(item, "user_id", "client_id")
    row = {"search_id": name, "timestamp": _moment(item), "query": tidy(str(text)), "user_id": user}
    rows.add("searches", row)


def _load_event(
    rows: RowBuffer, item: dict[str, Any], queries: dict[str, str], catalogue: Catalogue, shift: int,
    left: dict[str, int],
) -> None:  # fmt: skip
    action = ACTIONS.get(str(item.get("action_name")))
    if action is None:
        return
    product = catalogue.product_id(_object(item))
    if product is None:
        left["product"] += 1
        return
    name = _id(item, "query_id")
    search = name if name in queries else None
    if action == "impression" and search is None:
        left["search"] += 1
        return
    place = _ordinal(item)
    rows.add(
        "events",
        {
            "timestamp": _moment(item),
            "product_id": product,
            "action": action,
            "search_id": search,
            "user_id": _id(item, "user_id", "client_id"),
            "position": place + shift if place is not None and search else None,
        },
    )


def _id(item: dict[str, Any], *fields: str) -> str | None:
    """The first of the fields that holds an id, as text: some collectors write numbers."""
    return next((str(item[name]) for name in fields if item.get(name) not in (None, "")), None)


def _object(item: dict[str, Any]) -> dict[str, Any]:
    attributes = item.get("event_attributes")
    found = attributes.get("object") if isinstance(attributes, dict) else None
    return found if isinstance(found, dict) else {}


def _ordinal(item: dict[str, Any]) -> int | None:
    attributes = item.get("event_attributes")
    position = attributes.get("position") if isinstance(attributes, dict) else None
    ordinal = position.get("ordinal") if isinstance(position, dict) else None
    return int(ordinal) if isinstance(ordinal, int | float) and ordinal >= 0 else None


def _moment(item: dict[str, Any]) -> datetime:
    value = item.get("timestamp")
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value / 1000, UTC)  # epoch milliseconds
        moment = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError) as error:
        raise BadInput(
            f"UBI: the document of query {item.get('query_id')!r} has the timestamp {value!r}, "
            "which is neither ISO 8601 nor epoch milliseconds; write it as one of them or take the document out."
        ) from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _logs(data: Path) -> list[Path]:
    if data.is_file():
        return [data] if data.suffix in _SUFFIXES else []
    return sorted(path for path in data.iterdir() if path.suffix in _SUFFIXES) if data.is_dir() else []


def _documents(paths: list[Path], label: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(index, document) of every document, in file order."""
    with Progress(None, label, "documents") as progress:
        for path in paths:
            index = ""
            for number, line in enumerate(_lines(path)):
                head, tab, body = line.partition("\t")
                try:
                    item = json.loads(body if tab and not head.lstrip().startswith("{") else line)
                except json.JSONDecodeError as error:
                    why = f"{error.msg}, character {error.pos + 1}"
                    raise BadInput(
                        f"{path}: line {number + 1} is not JSON ({why}); mend the line or take it out."
                    ) from error
                if not isinstance(item, dict):
                    raise BadInput(f"{path}: line {number + 1} holds no document: {line[:60]!r}; take it out.")
                action = item.get("index", item.get("create")) if len(item) == 1 else None
                if isinstance(action, dict):
                    index = str(action.get("_index", ""))
                    continue
                own = head if tab and not head.lstrip().startswith("{") else index
                yield own or ("ubi_events" if "action_name" in item else "ubi_queries"), item
                progress.advance()


def _lines(path: Path) -> Iterator[str]:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    with archive.open(name) as file:
                        yield from (line for line in io.TextIOWrapper(file, "utf-8") if line.strip())
            return
        with open(path, encoding="utf-8") as file:
            yield from (line for line in file if line.strip())
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not a UBI log: {error}; export the index again as one document a line.") from error
