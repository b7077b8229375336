"""The folder of trained towers: what is in it, how it is written and read.

model.json            name, dimension, score, settings, sizes, windows, what it was trained on
vocabulary.parquet    numbers of tokens and field values
catalogue.parquet     the products of the training: id row and codes, and title tokens and neighbour queries if needed
towers.safetensors    the weights
query_tower.onnx, item_tower.onnx, training.json
spelling.parquet      the words of titles, where queries are put right by them
text_encoder.onnx, text_encoder.txt, title_vectors/    a pretrained encoder and its vectors of titles, if one is named
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from components.common.errors import NotFound
from components.common.files import read_json, write_json
from components.common.settings import as_overrides, from_overrides
from components.features.settings import FeatureSettings
from components.towers.catalogue import Catalogue
from components.towers.checkpoints import load_model_state, model_state
from components.towers.data import TrainingData, neighbour_queries
from components.towers.interfaces import CODE_FIELDS, Schema
from components.towers.models import model_class
from components.towers.parts.title_vectors import TitleVectors
from components.towers.ragged import Ragged
from components.towers.settings import TEXT_VECTORS, TowerSettings
from components.towers.spelling import Spelling
from components.towers.text_encoder import OnnxTextEncoder, write_text_encoder
from components.towers.vocabulary import Vocabulary

_TITLE_VECTORS, _SPELLING = "title_vectors", "spelling.parquet"
_TITLE_READERS = {"behaviour_titles", "clicked_titles", "bought_titles"}


@dataclass(frozen=True)
class ModelFiles:
    """A folder of trained towers, opened; parts are read when they are asked for.

    Raises:
        NotFound: the folder holds no model.json.
    """

    folder: Path

    @cached_property
    def description(self) -> dict[str, Any]:
        """model.json."""
        path = self.folder / "model.json"
        if not path.is_file():
            raise NotFound(f"there are no trained towers at {self.folder}: model.json is missing; train them first.")
        return read_json(path)

    @cached_property
    def settings(self) -> TowerSettings:
        """Settings of the training, as the model's own class."""
        return from_overrides(model_class(self.description["name"]).Settings, self.description["settings"])

    @cached_property
    def schema(self) -> Schema:
        """Sizes of the tables."""
        stored = self.description["schema"]
        tuples = {name: tuple(stored[name]) for name in ("units", "item_scalars", "query_scalars")}
        return Schema(**{**stored, **tuples})

    @cached_property
    def windows(self) -> FeatureSettings:
        """How behaviour windows are cut."""
        return from_overrides(FeatureSettings, self.description["windows"])

    @cached_property
    def needs(self) -> frozenset[str]:
        """Optional batch fields of this model."""
        return frozenset(self.description["needs"])

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Numbers of tokens and field values."""
        return Vocabulary.load(self.folder / "vocabulary.parquet")

    @cached_property
    def catalogue(self) -> Catalogue:
        """The products of the training: id rows and codes; title tokens and neighbour queries where stored."""
        table = pq.read_table(self.folder / "catalogue.parquet")
        codes = np.stack([table[name].to_numpy() for name in CODE_FIELDS], axis=1).astype(np.int64)
        return Catalogue(
            product_ids=np.array(table["product_id"].to_pylist(), dtype=object),
            ids=torch.from_numpy(table["id_row"].to_numpy().astype(np.int64)),
            codes=torch.from_numpy(codes),
            text={
                name.removeprefix("text:"): _ragged(table[name])
                for name in table.column_names
                if name.startswith("text:")
            },
            token_weights=torch.zeros(self.schema.tokens),
        )

    def neighbour_queries(self) -> dict[str, list[str]] | None:
        """Neighbour queries of each product of the training graph; None for a model that reads no graph."""
        path = self.folder / "graph.parquet"
        return neighbour_queries(pq.read_table(path)) if path.is_file() else None

    @cached_property
    def spelling(self) -> Spelling | None:
        """What puts queries right; None where they are taken as typed."""
        return Spelling.load(self.folder / _SPELLING) if self.settings.spelling else None

    @cached_property
    def text_encoder(self) -> OnnxTextEncoder | None:
        """The pretrained encoder of queries and new titles; None for towers without one."""
        return OnnxTextEncoder(self.folder) if TEXT_VECTORS in self.needs else None

    @cached_property
    def title_vectors(self) -> TitleVectors | None:
        """The same for titles, those of the training's catalogue looked up; None for towers without one."""
        if self.text_encoder is None:
            return None
        encoder = self.text_encoder
        return TitleVectors(self.folder / _TITLE_VECTORS, self.settings.pretrained_text, encoder.width, encoder, False)

    def model(self) -> Any:
        """The trained model on the CPU, in evaluation mode."""
        model = model_class(self.description["name"])(self.settings, self.schema)
        load_model_state(model, load_file(self.folder / "towers.safetensors"))
        return model.eval()


def write_model(folder: Path, model: Any, data: TrainingData, settings: TowerSettings, facts: dict[str, Any]) -> None:
    """Writes everything but the ONNX towers and training.json; `facts` are added to model.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model_state(model).items()}
    weights = folder / "towers.safetensors"
    save_file(tensors, weights, metadata={"model": model.name})
    weights.chmod(0o644)  # it is written for its owner alone; a server may run as somebody else
    data.vocabulary.save(folder / "vocabulary.parquet")
    catalogue = data.catalogue
    columns: dict[str, Any] = {"product_id": pa.array(catalogue.product_ids.tolist(), pa.string())}
    columns["id_row"] = catalogue.ids.numpy().astype(np.int32)
    for place, name in enumerate(CODE_FIELDS):
        columns[name] = catalogue.codes[:, place].numpy().astype(np.int32)
    if data.needs & _TITLE_READERS:
        columns |= {f"text:{unit}": _lists(bags) for unit, bags in catalogue.text.items()}
    pq.write_table(pa.table(columns), folder / "catalogue.parquet", compression="zstd")
    if catalogue.graph is not None:
        _write_graph(folder / "graph.parquet", catalogue, settings.graph_neighbours)
    if data.spelling is not None:
        data.spelling.save(folder / _SPELLING)
    if data.texts is not None:
        write_text_encoder(folder)
        vectors, titles = data.texts
        vectors.save(folder / _TITLE_VECTORS, titles)
    write_json(
        folder / "model.json",
        {
            "name": model.name,
            "score": model.score,
            "settings": as_overrides(settings),
            "windows": as_overrides(data.windows),
            "schema": asdict(data.schema),
            "needs": sorted(data.needs),
            "simulated": bool(data.description.get("simulated", False)),
            "source": data.description.get("source", ""),
            "feature_service": data.description.get("feature_service", ""),
            "window": data.description.get("window"),
            **facts,
        },
    )


def _write_graph(path: Path, catalogue: Catalogue, neighbours: int) -> None:
    """The heaviest neighbour queries of each product; falling weights keep their order."""
    assert catalogue.graph is not None
    heaviest = [catalogue.graph.row(row)[:neighbours].tolist() for row in range(len(catalogue))]
    queries = [[catalogue.graph_queries[query] for query in row] for row in heaviest]
    weights = [[1.0 / (1 + place) for place in range(len(row))] for row in heaviest]
    table = pa.table(
        {
            "product_id": pa.array(catalogue.product_ids.tolist(), pa.string()),
            "queries": pa.array(queries, pa.list_(pa.string())),
            "weights": pa.array(weights, pa.list_(pa.float32())),
        }
    )
    pq.write_table(table, path, compression="zstd")


def _lists(bags: Ragged) -> pa.Array:
    return pa.ListArray.from_arrays(bags.offsets.numpy().astype(np.int32), bags.values.numpy().astype(np.int32))


def _ragged(column: pa.ChunkedArray) -> Ragged:
    array = column.combine_chunks()
    lengths = np.diff(array.offsets.to_numpy())
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return Ragged(torch.from_numpy(array.flatten().to_numpy().copy()), torch.from_numpy(offsets))
