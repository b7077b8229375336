"""Turns test searches and the catalogue into vectors with a pair of towers, as serving would."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.common.errors import BadInput
from components.common.files import read_json, sha256_file
from components.common.progress import Progress
from components.evaluation.settings import EvaluationSettings
from components.features.history import History

if TYPE_CHECKING:  # the encoder imports torch
    from components.towers.encoder import Request

_ASKED = ("query", "timestamp", "latitude", "longitude", "country")
_WEIGHTS = "towers.safetensors"


def model_name(towers: Path) -> str:
    """The model's name in `model.json`. Raises NotFound or BadInput."""
    body = read_json(towers / "model.json")
    if not isinstance(body, dict) or not body.get("name"):
        raise BadInput(f"{towers / 'model.json'} does not name its model; train the towers again.")
    return str(body["name"])


def towers_fingerprint(towers: Path) -> str:
    """SHA-256 of the towers' weights, which every blessing names (`Release.towers_fingerprint`)."""
    if not (towers / _WEIGHTS).exists():
        raise BadInput(f"{towers} holds no {_WEIGHTS}; train the towers again.")
    return sha256_file(towers / _WEIGHTS)


def encode_catalogue(towers: Path, catalogue: pa.Table, settings: EvaluationSettings, label: str) -> np.ndarray:
    """Product vectors float32 [products, d] in catalogue order."""
    from components.towers.encoder import ItemEncoder

    encoder = ItemEncoder(towers, engine=settings.engine)
    blocks = []
    with Progress(catalogue.num_rows, f"embed the catalogue ({label})", "products") as progress:
        for start in range(0, catalogue.num_rows, settings.encode_batch):
            block = encoder.encode(catalogue.slice(start, settings.encode_batch))
            blocks.append(block)
            progress.advance(len(block))
    return np.concatenate(blocks)


class SearchEncoder:
    """The query tower over test searches: with the shoppers' histories, or as if nobody had one."""

    def __init__(self, towers: Path, settings: EvaluationSettings, label: str) -> None:
        from components.towers.encoder import QueryEncoder

        self._encoder = QueryEncoder(towers, engine=settings.engine)
        self._batch = settings.encode_batch
        self._label = label

    def encode(self, rows: pa.Table, history: bool = True) -> np.ndarray:
        """Query vectors float32 [searches, d]; each history is the one in the row, all of it before the search."""
        blocks = []
        with Progress(rows.num_rows, f"embed searches ({self._label})", "searches") as progress:
            for start in range(0, rows.num_rows, self._batch):
                requests = list(_requests(rows.slice(start, self._batch), history))
                blocks.append(self._encoder.encode(requests))
                progress.advance(len(requests))
        return np.concatenate(blocks)


def _requests(rows: pa.Table, history: bool) -> "Iterator[Request]":
    from components.towers.encoder import Request

    wanted = [name for name in rows.column_names if name in _ASKED or name.startswith(("history_", "bought_"))]
    chosen = rows.select(wanted if history else [name for name in wanted if name in _ASKED])
    moment = pc.cast(chosen["timestamp"], pa.int64())  # microseconds since the epoch
    chosen = chosen.set_column(chosen.schema.get_field_index("timestamp"), "timestamp", moment)
    for row in chosen.to_pylist():
        yield Request(
            query=row["query"],
            history=History.from_row(row) if history else History.empty(),
            now=row["timestamp"] or 0,
            latitude=row.get("latitude"),
            longitude=row.get("longitude"),
            country=row.get("country"),
        )
