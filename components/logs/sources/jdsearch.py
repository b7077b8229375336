"""JDsearch: one search a shopper with its candidates, and everything that shopper did before; all text as term ids.

Public form: `user_behavior_data*.txt` and `product_meta_data*.txt`, tab-separated with a header; `_` between the items
of a list, the byte 0x18 or the two characters `^X` between the terms of a query.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from components.common.errors import BadInput, NotFound
from components.common.progress import Progress
from components.common.records import TaskRecord
from components.logs.buffer import RowBuffer
from components.logs.settings import LogSettings
from components.logs.writer import LogWriter

NOW = datetime(2020, 1, 1, 12, tzinfo=UTC)
"""The one time of all searches with candidates: the set tells only how long before it each past action was."""
LABELS = {0: None, 1: "click", 2: "cart", 3: "order"}
ACTIONS = {"CLICK": "click", "CART": "cart", "FLW": "favourite", "ORD": "order"}
_BEHAVIOUR, _PRODUCTS = "user_behavior_data*.txt", "product_meta_data*.txt"
_HISTORY = ("history_qry_list", "history_wid_list", "history_type_list")
_MEND = "take the row out, or unpack the published file again."


def files(data: Path) -> list[Path]:
    """The behaviour file and the product file. Raises NotFound for a missing one."""
    found = []
    for pattern in (_BEHAVIOUR, _PRODUCTS):
        paths = sorted(data.glob(pattern))
        if not paths:
            raise NotFound(f"{data} holds no {pattern} of JDsearch; give the folder with both files with --data.")
        found.append(paths[0])
    return found


def load(data: Path, writer: LogWriter, record: TaskRecord, options: LogSettings) -> None:
    """Streams the set into the contract.

    A row is a search of a shopper of its own, at `NOW`; its candidates are impressions, in an order of their own
    because the file puts engaged ones first. A past action is an event as long before `NOW` as the set says; one with
    a query is also a search. Products without metadata are named by their id.
    """
    behaviour, products = files(data)
    with RowBuffer(writer) as rows:
        known = _load_products(products, rows)
        unnamed: set[str] = set()
        with Progress(behaviour.stat().st_size, "JDsearch", "bytes") as progress:
            for number, (line, size) in enumerate(_records(behaviour, 7)):
                unnamed.update(_load_search(rows, number, line, behaviour) - known)
                progress.advance(size)
        for wid in sorted(unnamed):
            rows.add("products", {"product_id": wid, "title": wid})
    note = (
        f"Past actions lie before {NOW.isoformat()}, the one time of all searches with candidates; positions are "
        "not known, so impressions come in an order that says nothing."
    )
    writer.note(note)
    record.note(note)
    if unnamed:
        record.note(f"{len(unnamed):,} products have no metadata; their id stands as their title.")


def _load_products(path: Path, rows: RowBuffer) -> set[str]:
    known: set[str] = set()
    with Progress(path.stat().st_size, "JDsearch products", "bytes") as progress:
        for line, size in _records(path, 13):
            progress.advance(size)
            wid = line["wid"]
            if wid in known:
                continue
            known.add(wid)
            # Parents are missing at some levels; the names are term ids like everything else.
            levels = [_spaced(line[f"cate_name_{level}"]) or line[f"cate_id_{level}"] for level in range(1, 5)]
            path_names = [name for name in dict.fromkeys(levels) if name and name != "-1"]
            rows.add(
                "products",
                {
                    "product_id": wid,
                    "title": _spaced(line["name"]) or wid,
                    "brand": _spaced(line["brand_name"]) or line["brand_id"] or None,
                    "category": " > ".join(path_names) or None,
                    "shop_id": line["shop_id"] or None,
                },
            )
    return known


def _load_search(rows: RowBuffer, number: int, line: dict[str, str], path: Path) -> set[str]:
    """Adds one search with its candidates and its past; returns the products it names."""
    user = f"u{number:07d}"
    search = f"{user}-now"
    wids, labels = _items(line["candidate_wid_list"]), _items(line["candidate_label_list"])
    if len(wids) != len(labels):
        raise BadInput(f"{path}: row {number} has {len(wids)} candidates but {len(labels)} labels; {_MEND}")
    rows.add("searches", {"search_id": search, "timestamp": NOW, "query": _spaced(line["query"]), "user_id": user})
    pairs = sorted(zip(wids, labels, strict=True), key=lambda pair: hashlib.md5((search + pair[0]).encode()).digest())
    for wid, label in dict(pairs).items():
        common = {"product_id": wid, "search_id": search, "user_id": user}
        rows.add("events", {"timestamp": NOW, "action": "impression", **common})
        try:
            action = LABELS[int(float(label))]
        except (KeyError, ValueError) as error:
            raise BadInput(
                f"{path}: row {number} has the unknown candidate label {label!r} (known: 0 to 3); {_MEND}"
            ) from error
        if action:
            rows.add("events", {"timestamp": NOW + timedelta(seconds=1), "action": action, **common})
    queries, products, actions = (_items(line[name]) for name in _HISTORY)
    gaps = _items(line["history_time_list"])
    if products in ([], ["-1"]):
        return set(wids)
    if not len(queries) == len(products) == len(actions) == len(gaps) - 1:
        raise BadInput(f"{path}: row {number} has history lists of different lengths; {_MEND}")
    for place, moment in enumerate(_moments(gaps, path, number)):
        if actions[place] not in ACTIONS:
            raise BadInput(
                f"{path}: row {number} has the unknown action {actions[place]!r} (known: {', '.join(ACTIONS)}); {_MEND}"
            )
        past = None
        if queries[place] != "-1":
            past = f"{user}-{place:05d}"
            asked = {"search_id": past, "timestamp": moment, "query": _spaced(queries[place]), "user_id": user}
            rows.add("searches", asked)
        rows.add(
            "events",
            {
                "timestamp": moment + timedelta(microseconds=1),
                "product_id": products[place],
                "action": ACTIONS[actions[place]],
                "search_id": past,
                "user_id": user,
            },
        )
    return {*wids, *products}


def _moments(gaps: list[str], path: Path, number: int) -> list[datetime]:
    """When each past action was. The gaps go from action to action, oldest first; the last one leads to the search."""
    try:
        seconds = [int(float(gap)) for gap in gaps]
    except ValueError as error:
        raise BadInput(
            f"{path}: row {number} has a gap in history_time_list that is no number ({error}); {_MEND}"
        ) from error
    moments, moment = [], NOW - timedelta(seconds=1)
    for gap in reversed(seconds[1:]):
        moment -= timedelta(seconds=max(gap, 0))
        moments.append(moment)
    return moments[::-1]


def _records(path: Path, columns: int) -> Iterator[tuple[dict[str, str], int]]:
    """Rows as dicts, with the bytes each took."""
    with open(path, encoding="utf-8", newline="\n") as file:
        header = file.readline().rstrip("\r\n").split("\t")
        if len(header) != columns:
            raise BadInput(
                f"{path}: {columns} columns are expected, its header has {len(header)}; give the published file."
            )
        for number, text in enumerate(file):
            fields = text.rstrip("\r\n").split("\t")
            if len(fields) != columns:
                raise BadInput(f"{path}: row {number} has {len(fields)} columns instead of {columns}; {_MEND}")
            yield dict(zip(header, fields, strict=True)), len(text.encode())


def _items(text: str) -> list[str]:
    return text.split("_") if text else []


def _spaced(terms: str) -> str:
    """The term ids of a query or name, with spaces between."""
    return " ".join(terms.replace("^X", " ").replace("\x18", " ").split())
