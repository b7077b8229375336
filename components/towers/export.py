"""A trained model as files: safetensors, two ONNX towers, JSON. No pickle.

ONNX has no ragged tensors, so an exported tower takes padded bags (values and mask); its inputs are the tensors of a
`QueryBatch` or `ItemBatch` by name. The exported towers are checked against the trained model before they are released.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.common.errors import TowerlineError
from components.towers.interfaces import ItemBatch, QueryBatch
from components.towers.moving import flatten, padded_bags, unflatten
from components.towers.validation import evaluating

TOLERANCE = 1e-5
"""Largest difference between a number of an exported tower and of the trained one."""

_GROUPS = {
    "past_text.": "past_rows",
    "graph_text.": "graph_rows",
    "behaviour.products": "behaviour_rows",
    "behaviour.titles.": "behaviour_rows",
}
"""Batch fields whose rows are not those of the batch, and what counts them."""


class ExportMismatch(TowerlineError):
    """An exported tower does not compute what the trained one does."""


class _Tower(nn.Module):
    """A tower whose inputs are a batch's tensors one by one."""

    def __init__(self, encode: Callable[[Any], Tensor], template: Any, names: list[str], model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._encode, self._template, self._names = encode, template, names

    def forward(self, *tensors: Tensor) -> Tensor:
        """Vectors [R, d]."""
        return self._encode(unflatten(self._template, dict(zip(self._names, tensors, strict=True))))


def tower_inputs(batch: QueryBatch | ItemBatch) -> dict[str, Tensor]:
    """The named inputs of an exported tower for a batch of any form."""
    if isinstance(batch, ItemBatch):
        batch = replace(batch, rows=None)
    return flatten(padded_bags(batch))


def export_tower(model: Any, side: str, batch: QueryBatch | ItemBatch, path: Path) -> None:
    """Writes one tower as ONNX.

    Args:
        side: "query" or "item". batch: an example with at least two rows and two tokens in each bag; it fixes which
            inputs there are, not their sizes.
    """
    if isinstance(batch, ItemBatch):
        batch = replace(batch, rows=None)
    template = padded_bags(batch)
    inputs = {name: _wide(tensor) for name, tensor in flatten(template).items()}
    encode = model.query if side == "query" else model.item
    with evaluating(model):
        write_onnx(_Tower(encode, template, list(inputs), model), inputs, path)


def write_onnx(module: nn.Module, inputs: dict[str, Tensor], path: Path) -> None:
    """Writes a module that takes these tensors by position as ONNX with their names as inputs and "vectors" as output.

    Args:
        inputs: example tensors, at least two long in every dimension that may change (rows; the T of a bag's "values"
            and "mask").
    """
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=["vectors"],
            dynamic_shapes={"tensors": tuple(_dimensions(inputs))},
            dynamo=True,
            external_data=False,
            optimize=True,
        )
        assert program is not None
    model_proto = program.model_proto
    graph = model_proto.graph
    # Shapes noted while tracing are those of the example in places; ONNX Runtime would plan its memory by them.
    del graph.value_info[:]
    # What no node reads would have to be made for every request all the same: other text units, for instance.
    read = {name for node in graph.node for name in node.input}
    kept = [entry for entry in graph.input if entry.name in read]
    del graph.input[:]
    graph.input.extend(kept)
    path.write_bytes(model_proto.SerializeToString())


def check_export(model: Any, side: str, batch: QueryBatch | ItemBatch, path: Path) -> float:
    """Largest difference between exported and trained tower on a batch. Raises ExportMismatch above TOLERANCE."""
    with evaluating(model):
        trained = (model.query(batch) if side == "query" else model.item(batch)).float().cpu().numpy()
    exported = OnnxTower(path).encode(batch)
    largest = float(np.abs(trained - exported).max()) if trained.size else 0.0
    if not largest <= TOLERANCE:
        raise ExportMismatch(
            f"the exported {side} tower differs from the trained one by {largest:.2g}, more than {TOLERANCE:g}; "
            "nothing was released."
        )
    return largest


class OnnxTower:
    """An exported tower in ONNX Runtime.

    Args:
        threads: threads of one call; one suits a server with a process per core.

    Attributes: names, the inputs the tower takes.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = frozenset(entry.name for entry in self._session.get_inputs())

    def encode(self, batch: QueryBatch | ItemBatch) -> np.ndarray:
        """Vectors float32 [R, d] of a batch of any form."""
        return self.run({name: tensor.numpy() for name, tensor in tower_inputs(batch).items() if name in self.names})

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Vectors float32 [R, d] of the inputs `names`."""
        return np.asarray(self._session.run(["vectors"], inputs)[0], np.float32)


def _dimensions(inputs: dict[str, Tensor]) -> list[dict[int, Any]]:
    """Which dimensions of each input may change; values and mask of one bag change together."""
    dimensions: dict[str, Any] = {}

    def named(name: str) -> Any:
        return dimensions.setdefault(name, torch.export.Dim(name, min=1, max=1_000_000))

    shapes = []
    for name, tensor in inputs.items():
        group = next((rows for prefix, rows in _GROUPS.items() if name.startswith(prefix)), "batch")
        shape = {0: named(group)}
        bag, _, part = name.rpartition(".")
        if part in ("values", "mask") and tensor.dim() > 1:
            shape[1] = named("length_" + bag.replace(".", "_"))
        shapes.append(shape)
    return shapes


def _wide(tensor: Tensor) -> Tensor:
    """Sizes of one are taken for constants when a program is traced: such a dimension is made two wide."""
    repeats = [2 if place < 2 and size == 1 else 1 for place, size in enumerate(tensor.shape)]
    return tensor.repeat(repeats) if 2 in repeats else tensor


@contextmanager
def _quiet():
    """The exporter prints its progress and warns about its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
