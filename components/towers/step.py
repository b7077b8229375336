"""What the pipeline's task calls: examples in, trained and exported towers out."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from components.common.code import source_fingerprint
from components.common.errors import BadInput
from components.common.files import staged_directory, tree_fingerprint, write_json
from components.common.records import task_record
from components.common.settings import as_overrides, from_overrides
from components.towers.batches import query_batch
from components.towers.checkpoints import load_model_state
from components.towers.data import TrainingData, load_training_data
from components.towers.export import check_export, export_tower
from components.towers.interfaces import ItemBatch, QueryBatch
from components.towers.modelfiles import write_model
from components.towers.models import model_class
from components.towers.parallel import world
from components.towers.repeatable import repeatable
from components.towers.settings import TowerSettings
from components.towers.sharding import block_of, whole_state
from components.towers.trainer import Trainer, TrainingState, pick_device

_ROOMS = ("common", "features", "towers")
"""Rooms whose code a training's state depends on: what a token, a window and a weight mean."""
_IDENTITY = re.compile("[0-9a-f]{16}")
_ABANDONED_SECONDS = 7 * 86_400.0
_GOLDEN = 64
"""Searches and products on which an exported tower must equal the trained one."""


def run(examples: Path, out: Path, model: str, settings: str = "", checkpoints: str = "") -> dict[str, Any]:
    """Trains both towers and writes them to `out`.

    Args:
        examples: what build_features wrote. model: a name of `models.NAMES`. settings: JSON object of overrides.
        checkpoints: folder that outlives a killed run. A training of the same examples, model, settings and code goes
            on from its last state there and ends as if it had not been interrupted; its state is removed at the end.

    Returns:
        A few facts for the artifact: model, dimension, score, best recall, examples per second, simulated.

    Raises:
        BadSetting, BadInput: settings or examples don't fit. TrainingDiverged: the loss became NaN.
        ExportMismatch: an exported tower differs from the trained one.
    """
    kind = model_class(model)
    chosen: TowerSettings = from_overrides(kind.Settings, settings)
    if not (Path(examples) / "features.json").is_file():
        raise BadInput(f"{examples} holds no training examples (features.json is missing); build the features first.")
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    device = pick_device(chosen)
    with task_record("train_towers") as record, world(device.type) as processes, repeatable(device):
        if device.type == "cuda" and processes.size > 1:
            device = torch.device("cuda", processes.local_rank)
        texts = Path(checkpoints) / "title_vectors" if checkpoints else None
        data = load_training_data(Path(examples), kind, chosen, texts)
        for sentence in _left_out(kind, data):
            record.note(sentence)
        torch.manual_seed(chosen.seed)
        towers = kind(chosen, data.schema)
        towers.prepare(data.catalogue, data.train)
        towers.to(device)
        folder = Path(checkpoints) / _identity(Path(examples), model, chosen) if checkpoints else None
        trainer = Trainer(towers, data, chosen, device, folder, processes)
        state = trainer.run()
        for name, table in trainer.tables.items():
            record.note(
                f"The table {name} of {table.rows} rows lies over {processes.size} processes, in each at most "
                f"{block_of(table.rows, 0, processes.size)[1]} rows."
            )
        whole = whole_state(towers) if trainer.tables else {}
        if not processes.leads:
            return {"model": model}
        if whole:  # in main memory: ONNX files hold whole tables
            towers = kind(replace(chosen, table_sharding="none"), data.schema)
            load_model_state(towers, whole)
        facts = _write(Path(out), towers.cpu(), data, chosen, state, trainer)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            remove_abandoned(folder.parent)
        for name, value in facts.items():
            record.figure(name, value)
        return facts


def _write(
    out: Path, model: Any, data: TrainingData, settings: TowerSettings, state: TrainingState, trainer: Trainer
) -> dict[str, Any]:
    queries, items = golden_batches(data, settings)
    with staged_directory(out) as folder:
        first_query, first_item = golden_batches(data, settings, count=1)
        for side, batch, one in (("query", queries, first_query), ("item", items, first_item)):
            path = folder / f"{side}_tower.onnx"
            export_tower(model, side, batch, path)
            for rows in (batch, one):
                check_export(model, side, rows, path)
        with torch.no_grad():
            dimension = model.eval().item(items).shape[1]
        rate = state.curve[-1]["examples_per_second"] if state.curve else 0.0
        facts = {
            "model": model.name,
            "dimension": dimension,
            "score": model.score,
            "simulated": bool(data.description.get("simulated", False)),
            f"validation_recall@{settings.validation_cutoff}": round(max(state.best, 0.0), 6),
            "best_step": state.best_step,
            "steps": state.step,
            "examples_per_second": rate,
            "training_seconds": round(state.seconds, 1),
        }
        write_model(folder, model, data, settings, {"dimension": dimension, "trained": facts})
        write_json(
            folder / "training.json",
            {
                "curve": state.curve,
                "best_step": state.best_step,
                "stopped_early": state.step < trainer.total_steps,
                "examples": trainer.batches.count,
                "processes": trainer.processes.size,
                "device": trainer.device.type,
            },
        )
    return facts


def golden_batches(data: TrainingData, settings: TowerSettings, count: int = _GOLDEN) -> tuple[QueryBatch, ItemBatch]:
    """The first validation (else training) searches and the first products, as batches."""
    source = data.validation if len(data.validation) else data.train
    rows = torch.arange(min(count, len(source)))
    neighbours = settings.graph_neighbours if "graph" in data.needs else 0
    products = torch.arange(min(count, len(data.catalogue)))
    return query_batch(source, data.catalogue, rows, data.needs), data.catalogue.batch(products, neighbours)


def _left_out(kind: Any, data: TrainingData) -> list[str]:
    has = data.schema.has
    sentences = []
    if kind.needs & {"behaviour", "past"} and not has.get("users"):
        sentences.append("The log has no shoppers: the parts of the towers that read behaviours are left out.")
    if "location" in kind.needs and not has.get("locations"):
        sentences.append("The log has no locations: the location parts of the towers are left out.")
    if "graph" in kind.needs and not has.get("graph"):
        sentences.append("There is no query-product graph: the graph branch of the item tower is left out.")
    return sentences


def training_identity(examples: Path, model: str, settings: str) -> str:
    """Hex name (16 digits) of a training: it is the same for the same examples, model, settings and code."""
    return _identity(Path(examples), model, from_overrides(model_class(model).Settings, settings))


def remove_abandoned(folder: Path) -> None:
    """Removes what lies in `folder` of killed trainings, by their identity, that nobody went on with for a week."""
    latest = time.time() - _ABANDONED_SECONDS
    for path in folder.iterdir() if folder.is_dir() else ():
        if _IDENTITY.fullmatch(path.name) and path.stat().st_mtime < latest:
            shutil.rmtree(path, ignore_errors=True)


def _identity(examples: Path, model: str, settings: TowerSettings) -> str:
    code = [source_fingerprint(room) for room in _ROOMS]
    parts = [tree_fingerprint(examples), model, *code, *sorted(f"{k}={v}" for k, v in as_overrides(settings).items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
