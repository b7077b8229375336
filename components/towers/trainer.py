"""Training: seeded, resumable, early-stopped, data parallel. One step is a pure function of (state, seed, step)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.common.errors import TowerlineError
from components.common.progress import Progress
from components.towers.batches import Batches
from components.towers.checkpoints import (
    load_model_state,
    load_optimiser_state,
    model_state,
    optimiser_state,
)
from components.towers.data import TrainingData
from components.towers.interfaces import ItemBatch, StepContext, TrainingBatch
from components.towers.moving import to_device
from components.towers.optimisers import build_optimiser, clip_gradients, coalesce
from components.towers.parallel import World, same_everywhere, sum_gradients
from components.towers.repeatable import repeatable
from components.towers.settings import TowerSettings
from components.towers.sharded_checkpoints import load_state, save_state
from components.towers.sharding import ShardedTable, sharded_tables
from components.towers.validation import recall, validation_rows


class TrainingDiverged(TowerlineError):
    """The loss or a gradient became NaN or infinite; the message names the step and the searches of its batch."""


@dataclass
class TrainingState:
    """Where a training stands; everything else follows from seed and settings.

    step: steps done. best: best validation recall, best_step: where. waiting: validations since then. seconds: time in
    steps. curve: a point per validation.
    """

    step: int = 0
    best: float = -1.0
    best_step: int = 0
    waiting: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains one model.

    Args:
        model: a `TwoTowerModel`, prepared. device: where it lives.
        checkpoints: folder of this very training (same data, same settings), or None to keep nothing on disk.

    `run` returns the state; the model then holds the weights of the best validation.
    """

    def __init__(
        self,
        model: Any,
        data: TrainingData,
        settings: TowerSettings,
        device: torch.device,
        checkpoints: Path | None = None,
        processes: World | None = None,
    ) -> None:
        self.model, self.data, self.settings, self.device = model, data, settings, device
        self.processes = processes or World()
        # A unit of text that the towers do not read is not cut out for each batch.
        queries = {unit: data.train.query_text[unit] for unit in settings.query_units}
        titles = {unit: data.catalogue.text[unit] for unit in settings.product_units}
        self.catalogue = replace(data.catalogue, text=titles)
        self.batches = Batches(
            replace(data.train, query_text=queries), self.catalogue, data.needs, model.unit, settings, data.query_index,
            self.processes.rank, self.processes.size,
        )  # fmt: skip
        self.optimiser = build_optimiser(
            settings.optimiser, model.parameter_groups(), settings.learning_rate, settings.adagrad_initial
        )
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.tables = sharded_tables(model)
        own = {id(table.weight) for table in self.tables.values()}
        self.shards = [p for p in parameters if id(p) in own]
        self.parameters = [p for p in parameters if id(p) not in own]  # those that every process holds whole
        self.total_steps = settings.epochs * self.batches.steps
        self.checkpoints = checkpoints
        self.state = TrainingState()
        self.best_weights: dict[str, Tensor] = {}
        self.validation = validation_rows(data.validation, settings.validation_examples, settings.seed)
        self._unfinished = torch.full((), -1, dtype=torch.int64, device=device)
        self._flag_steps = 20 if device.type == "cuda" else 1
        self._losses: list[Tensor] = []

    def run(self) -> TrainingState:
        """Trains to the end or to the early stop. Raises TrainingDiverged."""
        with repeatable(self.device):
            self._run()
        return self.state

    def _run(self) -> None:
        self._resume()
        # A position in the code where all processes look at the same clock: the leader's.
        saved = time.monotonic()
        every = max(1, self.batches.steps // self.settings.validations_per_epoch)
        with Progress(self.total_steps * self.batches.size, "train", "examples") as progress:
            progress.advance(self.state.step * self.batches.size)
            while self.state.step < self.total_steps and self.state.waiting < self.settings.patience:
                started = time.monotonic()
                batch = self._batch(self.state.step)
                self._losses.append(self._step(batch))
                self.state.step += 1
                self.state.seconds += time.monotonic() - started
                validates = self.state.step % every == 0 or self.state.step == self.total_steps
                keeps = validates or self._due(saved)
                self._stop_if_diverged(keeps)
                if validates:
                    self._validate()
                if keeps:
                    self._save()
                    saved = time.monotonic()
                progress.advance(self.batches.size, self._note())
        if self.best_weights:
            load_model_state(self.model, self.best_weights)

    def _batch(self, step: int) -> TrainingBatch:
        return self.batches.batch(step // self.batches.steps, step % self.batches.steps)

    def _step(self, batch: TrainingBatch) -> Tensor:
        """One update; returns the loss, a detached scalar."""
        self.model.train()
        step = self.state.step
        _seed_dropout(_mixed(self.settings.seed, step, self.processes.rank), self.device)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=uses_bfloat16(self.settings, self.device)):
            loss = self.model.loss(to_device(batch, self.device), self._context(step)).total
        # Each process's loss is a mean over its part: weighed by the part, the sum is the mean over the whole batch.
        (loss * batch.share).backward()
        for table in self.tables.values():
            table.return_gradients()
        coalesce([*self.parameters, *self.shards])
        sum_gradients(self.parameters, self.processes)
        norm = clip_gradients(self.parameters, self.settings.clip_norm, self.shards)
        good = torch.isfinite(loss.detach()) & torch.isfinite(norm)
        self._unfinished = torch.where(good | (self._unfinished >= 0), self._unfinished, step)
        self.optimiser.step()
        return loss.detach().float()

    def _context(self, step: int) -> StepContext:
        generator = torch.Generator().manual_seed(_mixed(self.settings.seed, step, -1))
        # Behind the seeds of the dropouts: of one seed, both would draw the same numbers.
        rank = self.processes.size + self.processes.rank
        own = torch.Generator(self.device).manual_seed(_mixed(self.settings.seed, step, rank))
        neighbours = self.settings.graph_neighbours if "graph" in self.data.needs else 0

        def items(rows: Tensor, exclude_queries: Tensor | None = None) -> ItemBatch:
            exclude = None if exclude_queries is None else exclude_queries.cpu()
            return to_device(self.catalogue.batch(rows.cpu(), neighbours, exclude, generator), self.device)

        return StepContext(
            items, len(self.data.catalogue), self.data.counts, generator, own, step, self.total_steps,
            self.processes.size,
        )  # fmt: skip

    def _stop_if_diverged(self, keeps: bool) -> None:
        # Reading the flag waits for the device, so on a GPU it is read only now and then, and before weights are kept.
        if not keeps and self.state.step % self._flag_steps:
            return
        step = int(self._unfinished)
        if step < 0:
            return
        examples = self._batch(step).example[:5].tolist()
        named = ", ".join(str(self.data.train.search_ids[row]) for row in examples)
        raise TrainingDiverged(
            f"the loss became NaN or infinite at step {step}, in the batch with the searches {named}, ...; lower "
            "towers.learning_rate or towers.clip_norm, or look for broken values in these searches."
        )

    def _validate(self) -> None:
        loss = torch.stack(self._losses).mean() if self._losses else torch.zeros(())
        self._losses = []
        cutoffs = tuple(sorted({self.settings.validation_cutoff, 10, 100}))
        measured: dict[str, float] = {}
        # A lookup in a sharded table needs every process.
        if (self.processes.leads or self.tables) and len(self.validation):
            measured = recall(
                self.model, self.data.validation, self.data.catalogue, self.data.needs, self.validation, cutoffs,
                self.device, self.settings.graph_neighbours if "graph" in self.data.needs else 0,
            )  # fmt: skip
        # Without validation searches the last weights are the best ones.
        value = measured.get(f"recall@{self.settings.validation_cutoff}", self.state.best + 1.0)
        value = same_everywhere(value, self.processes)
        rate = self.state.step * self.batches.size / max(self.state.seconds, 1e-9)
        self.state.curve.append(
            {
                "step": self.state.step,
                "epoch": round(self.state.step / self.batches.steps, 3),
                "loss": float(loss),
                "examples_per_second": round(rate, 1),
                "validation": measured,
            }
        )
        if value > self.state.best:
            self.state.best, self.state.best_step, self.state.waiting = value, self.state.step, 0
            self.best_weights = {name: tensor.detach().clone() for name, tensor in model_state(self.model).items()}
            if self.checkpoints:
                facts = {"step": self.state.step}
                save_state(self.checkpoints / "best.safetensors", self.best_weights, facts, self.tables, self.processes)
        else:
            self.state.waiting += 1

    def _note(self) -> str:
        if not self.state.curve:
            return ""
        last = self.state.curve[-1]
        shown = "".join(f", {name} {value:.3f}" for name, value in last["validation"].items())
        return f"loss {last['loss']:.3f}{shown}"

    def _due(self, saved: float) -> bool:
        """Whether the leader's clock says that it is time for a checkpoint; with sharded tables all write theirs."""
        due = self.processes.leads and time.monotonic() - saved > self.settings.checkpoint_seconds
        return bool(same_everywhere(float(due), self.processes)) if self.tables else due

    def _save(self) -> None:
        if not self.checkpoints:
            return
        tensors = {f"model.{name}": tensor for name, tensor in model_state(self.model).items()}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in optimiser_state(self.optimiser).items()}
        # Losses since the last validation belong to the state: the curve of a resumed training is the same.
        tensors["losses"] = torch.stack(self._losses) if self._losses else torch.zeros(0)
        save_state(
            self.checkpoints / "state.safetensors", tensors, vars(self.state), self._sharded(tensors), self.processes
        )

    def _sharded(self, tensors: dict[str, Tensor]) -> dict[str, ShardedTable]:
        """Of the tensors of a checkpoint that are rows of a sharded table, the table."""
        tables = {f"model.{name}": table for name, table in self.tables.items()}
        numbers = [id(parameter) for group in self.optimiser.param_groups for parameter in group["params"]]
        for table in self.tables.values():
            state = f"optimiser.{numbers.index(id(table.weight))}."
            tables |= {name: table for name in tensors if name.startswith(state)}
        return tables

    def _resume(self) -> None:
        if not self.checkpoints or not (self.checkpoints / "state.safetensors").is_file():
            return
        tensors, progress = self._loaded("state.safetensors")
        load_model_state(self.model, dict(_part(tensors, "model.")))
        load_optimiser_state(self.optimiser, dict(_part(tensors, "optimiser.")))
        self._losses = list(tensors["losses"].to(self.device))  # later ones come from the device
        self.state = TrainingState(**progress)
        if self.state.best_step:
            self.best_weights = self._loaded("best.safetensors")[0]

    def _loaded(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        assert self.checkpoints is not None
        tensors, progress = load_state(self.checkpoints / name, self.processes)
        for key, table in (self.tables | self._sharded(tensors)).items():
            if key in tensors and tensors[key].shape[0] == table.rows:  # of a process that trained alone
                tensors[key] = tensors[key][table.first : table.last].clone()
        return tensors, progress


def pick_device(settings: TowerSettings) -> torch.device:
    """The device of the settings; "auto" is cuda where there is one."""
    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def uses_bfloat16(settings: TowerSettings, device: torch.device) -> bool:
    """Whether steps run in mixed precision: "auto" does on cuda."""
    return settings.precision == "bfloat16" or (settings.precision == "auto" and device.type == "cuda")


def _seed_dropout(seed: int, device: torch.device) -> None:
    """`torch.manual_seed`, without its search for other devices where the model lives on the processor."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _mixed(seed: int, step: int, rank: int) -> int:
    return (seed * 1_000_003 + step) * 4_099 + rank + 1


def _part(tensors: dict[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    return ((name.removeprefix(prefix), tensor) for name, tensor in tensors.items() if name.startswith(prefix))
