"""One run of the ablations: a configuration with a seed, trained and measured by exact search, kept on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from bench.ablations.random_walk import RandomWalkScorer
from bench.ablations.tables import Configuration
from bench.ablations.variants import find_model
from components.common.files import read_json, staged_directory, tree_fingerprint, write_json
from components.common.records import TaskRecord
from components.common.settings import from_overrides
from components.evaluation.baselines import Bm25Scorer
from components.evaluation.measure import measure
from components.evaluation.recall import Scorer, VectorScorer
from components.evaluation.settings import EvaluationSettings
from components.evaluation.slices import Slice, frequency_bands, make_slices, shopper_kinds
from components.evaluation.step import read_good
from components.evaluation.testset import TestSet, read_test_set, read_training
from components.index.boosting import tune_boosting
from components.index.quality import Quality
from components.index.settings import IndexSettings
from components.towers.data import TrainingData, load_training_data
from components.towers.examples import Examples, read_examples
from components.towers.trainer import Trainer, pick_device
from components.towers.validation import item_vectors, query_vectors


@dataclass(frozen=True)
class World:
    """The examples, their test searches and what is true of them; the same for every run."""

    examples: Path
    fingerprint: str
    test: TestSet
    slices: list[Slice]
    good: list[np.ndarray] | None
    settings: EvaluationSettings
    notes: list[str] = field(default_factory=list)


def open_world(examples: Path, truth: str, settings: EvaluationSettings) -> World:
    """Reads the test searches once. Raises NotFound or BadInput."""
    test = read_test_set(examples, settings)
    training = read_training(examples, test.catalogue)
    masks = frequency_bands(test.queries, training.query_counts, settings.head_share, settings.torso_share)
    masks |= shopper_kinds(test.known, test.with_history)
    slices, left_out = make_slices(masks, test.targets, training.met)
    record = TaskRecord("ablations")
    good = read_good(truth, test, record)
    notes = [*test.notes, *left_out, *record.notes]
    return World(examples, tree_fingerprint(examples), test, slices, good, settings, notes)


def run(configuration: Configuration, seed: int, world: World, out: Path) -> Path:
    """Trains and measures once, unless `out` holds this very run already; returns the folder of the run.

    The folder holds result.json (settings, curve, seconds, means), searches.parquet (one row a test search and slice, a
    column a metric) and, of trained towers, vectors.safetensors. A row that boosts another one reads its vectors.
    """
    folder = out / configuration.name / f"seed-{seed}"
    made_of = {
        "configuration": configuration.name, "model": configuration.model, "seed": seed, "examples": world.fingerprint,
        "settings": configuration.settings, "searches": len(world.test), "good_rate": world.good is not None,
    }  # fmt: skip
    if (folder / "result.json").is_file():
        before = read_json(folder / "result.json")
        if all(before.get(name) == value for name, value in made_of.items()):
            return folder
    vectors: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"curve": []}
    if configuration.model == "bm25":
        titles = [title or "" for title in world.test.catalogue["title"].to_pylist()]
        scorer: Scorer = Bm25Scorer(titles, world.test.queries)
    elif configuration.model == "random_walk":
        product_ids = world.test.catalogue["product_id"].to_pylist()
        scorer = RandomWalkScorer(world.examples / "graph.parquet", product_ids, world.test.queries)
    elif configuration.boosts:
        scorer, facts["boosting"] = _boosted(out / configuration.boosts / f"seed-{seed}", world)
    else:
        vectors, facts = _trained(configuration, seed, world)
        scorer = VectorScorer(vectors["queries"], vectors["items"])
    measured = measure(scorer, world.test, world.slices, world.good, world.settings)
    with staged_directory(folder) as staging:
        tables = []
        for part in world.slices:
            columns = measured.values[part.name]
            own = {"slice": [part.name] * int(part.mask.sum()), "search": np.flatnonzero(part.mask)}
            tables.append(pa.table(own | {name: np.asarray(values, np.float64) for name, values in columns.items()}))
        pq.write_table(pa.concat_tables(tables, promote_options="default"), staging / "searches.parquet")
        means = {name: _mean(values) for name, values in measured.values["all"].items()}
        if vectors:
            save_file(vectors, staging / "vectors.safetensors")
        write_json(staging / "result.json", {**made_of, "simulated": world.test.simulated, "means": means, **facts})
    return folder


def _trained(configuration: Configuration, seed: int, world: World) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The vectors of the test searches and the products, and of the validation searches that led to a purchase with
    what was bought, as pairs of rows; and what is said of the training."""
    kind = find_model(configuration.model)
    settings = from_overrides(kind.Settings, configuration.settings | {"seed": str(seed)})
    device = pick_device(settings)
    data = load_training_data(world.examples, kind, settings)
    torch.manual_seed(seed)
    model = kind(settings, data.schema)
    model.prepare(data.catalogue, data.train)
    model.to(device)
    state = Trainer(model, data, settings, device).run()
    neighbours = settings.graph_neighbours if "graph" in data.needs else 0
    owner, stages = data.validation.listed.row_of_value, data.validation.stages
    later, search = owner[stages == 4].unique(return_inverse=True)

    def asked(examples: Examples, rows: Tensor) -> np.ndarray:
        return query_vectors(model, examples, data.catalogue, data.needs, rows, device).cpu().numpy()

    vectors = {
        "items": item_vectors(model, data.catalogue, device, neighbours).cpu().numpy(),
        "queries": asked(_test_examples(world.test, data, settings), torch.arange(len(world.test))),
        "later_queries": asked(data.validation, later),
        "later_bought": torch.stack([search, data.validation.listed.values[stages == 4].long()], dim=1).numpy(),
    }
    facts = {"curve": state.curve, "best_step": state.best_step, "steps": state.step, "best_validation": state.best}
    return vectors, facts | {"seconds": round(state.seconds, 1)}


def _test_examples(test: TestSet, data: TrainingData, settings: Any) -> Examples:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "test.parquet"
        pq.write_table(test.rows, path)
        product_ids = data.catalogue.product_ids.tolist()
        encode = data.texts[0] if data.texts else None
        return read_examples(
            path, product_ids, data.vocabulary, settings, data.windows, settings.units, encode, data.spelling
        )


def _boosted(towers: Path, world: World) -> tuple[Scorer, dict[str, Any]]:
    """The vectors of a trained row with quality features appended, their weights found on the purchases of the
    validation searches; and what is said of the search for them."""
    vectors = load_file(towers / "vectors.safetensors")
    queries, items = vectors["queries"], vectors["items"]
    search, product = vectors["later_bought"].T
    bought = [product[search == number] for number in range(len(vectors["later_queries"]))]
    quality = Quality.learn(world.test.catalogue)
    features = quality.features(world.test.catalogue)
    found = tune_boosting(vectors["later_queries"], items, features, quality, bought, IndexSettings())
    if not found.on:
        return VectorScorer(queries, items), found.report
    weights = np.tile(found.weights, (len(queries), 1))
    return VectorScorer(np.hstack([queries, weights]), np.hstack([items, features])), found.report


def read_run(folder: Path) -> tuple[dict[str, Any], pa.Table]:
    """What `run` wrote: result.json and the table of searches."""
    return read_json(folder / "result.json"), pq.read_table(folder / "searches.parquet")


def _mean(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else round(float(np.nanmean(values)), 6)
