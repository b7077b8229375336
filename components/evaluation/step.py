"""The step `evaluate_towers`: measures a model beside baselines and the served release, and writes the tables."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.common.errors import TowerlineError
from components.common.files import staged_directory, write_json
from components.common.manifest import read_release
from components.common.progress import Progress
from components.common.records import TaskRecord, task_record
from components.common.settings import from_overrides
from components.evaluation.baselines import (
    BM25,
    CURRENT,
    POPULARITY,
    RANDOM,
    Bm25Scorer,
    PopularityScorer,
    RandomScorer,
)
from components.evaluation.changes import changes
from components.evaluation.encoding import SearchEncoder, encode_catalogue, model_name, towers_fingerprint
from components.evaluation.measure import GOOD_CUTOFFS, measure
from components.evaluation.metrics import good_rate_ceiling
from components.evaluation.recall import Scorer, VectorScorer
from components.evaluation.settings import EvaluationSettings
from components.evaluation.slices import frequency_bands, make_slices, shopper_kinds
from components.evaluation.tables import headline, query_table, rows_and_differences
from components.evaluation.testset import TestSet, Training, read_test_set, read_training


def run(
    examples: Path, towers: Path, truth: str, workdir: str, current_release: str, evaluation: Path, settings: str = "{}"
) -> dict[str, float]:
    """Writes `evaluation.json`, `queries.parquet` and the training curve; returns the model's main figures by name.

    Where the served release was measured beside it, `changes.json` says where the model wins and loses against it.

    Args:
        examples: what the features room wrote; its test split is measured, its training split feeds the baselines.
        towers: the trained towers.
        truth: directory of the generator's truth (marketplace only); empty or absent otherwise.
        workdir: the work directory that holds the current release.
        current_release: id of the served release, empty before the first.
        evaluation: directory to write, replaced as a whole.
        settings: JSON object of overrides of EvaluationSettings.

    Raises:
        BadInput, BadSetting, NotFound: with one sentence each.
    """
    chosen = from_overrides(EvaluationSettings, settings)
    with task_record("evaluate_towers") as record:
        test = read_test_set(examples, chosen)
        training = read_training(examples, test.catalogue)
        for sentence in test.notes:
            record.note(sentence)
        name = model_name(towers)
        scorers = _baselines(test, training, chosen)
        scorers.update(_model(towers, name, test, chosen, record))
        current = _current(Path(workdir), current_release, towers, scorers, name, test, chosen, record)
        body, queries, moved = assess(test, training, scorers, name, read_good(truth, test, record), chosen, record)
        body.update(model=name, towers=towers_fingerprint(towers), current_release=current)
        with staged_directory(evaluation) as staging:
            write_json(staging / "evaluation.json", body)
            pq.write_table(queries, staging / "queries.parquet")
            if moved is not None:
                write_json(staging / "changes.json", moved)
            if (towers / "training.json").is_file():
                shutil.copyfile(towers / "training.json", staging / "training.json")
        figures = headline(body["rows"], name)
        record.figure("simulated", test.simulated)
        record.figure("searches", len(test))
        record.figure("headline", figures)
        return figures


def assess(
    test: TestSet,
    training: Training,
    scorers: dict[str, Scorer],
    model: str,
    good: list[np.ndarray] | None,
    settings: EvaluationSettings,
    record: TaskRecord,
) -> tuple[dict[str, Any], pa.Table, dict[str, Any] | None]:
    """Measures `scorers` by name; returns the bodies of `evaluation.json`, the table of searches and `changes.json`.

    The last is None when no served release is among the scorers.
    """
    masks = frequency_bands(test.queries, training.query_counts, settings.head_share, settings.torso_share)
    masks.update(shopper_kinds(test.known, test.with_history))
    slices, left_out = make_slices(masks, test.targets, training.met)
    for sentence in left_out:
        record.note(sentence)
    products = test.catalogue.num_rows
    for cutoff in settings.cutoffs:
        if cutoff >= products:
            record.note(f"recall@{cutoff} says nothing here: the catalogue has {products:,} products.")
    measured = {}
    with Progress(len(scorers) * len(test), "exact search", "searches") as progress:
        for method, scorer in scorers.items():
            measured[method] = measure(scorer, test, slices, good, settings, progress.advance)
    rows, differences = rows_and_differences(measured, slices, test.clusters, model, settings)
    shown = {
        key: measured[method]
        for key, method in (("model", model), ("bm25", BM25), ("current", CURRENT))
        if method in measured
    }
    body = {
        "simulated": test.simulated,
        "source": test.source,
        "split": test.split,
        "searches": len(test),
        "catalogue": products,
        "cutoffs": list(settings.cutoffs),
        "confidence": settings.confidence,
        "seed": settings.seed,
        "rows": rows,
        "differences": differences,
        "notes": list(record.notes),
    }
    moved = changes(test, measured[model], measured[CURRENT]) if CURRENT in measured else None
    return body, query_table(test, slices, shown), moved


def read_good(truth: str, test: TestSet, record: TaskRecord) -> list[np.ndarray] | None:
    """The truly relevant catalogue rows of every test search, int32, from the marketplace's truth; None without it."""
    folder = Path(truth) if truth else None
    if folder is None or not folder.is_dir() or not any(folder.iterdir()):
        record.note("The good rate is left out: this log comes without the truth about relevance.")
        return None
    from components.logs.marketplace.truth import Truth

    known = Truth.read(folder)
    index = {product: row for row, product in enumerate(test.catalogue["product_id"].to_pylist())}
    by_query: dict[str, np.ndarray] = {}
    for query in set(test.queries):
        rows = [index[product] for product in known.relevant(query) if product in index]
        by_query[query] = np.array(sorted(rows), dtype=np.int32)
    good = [by_query[query] for query in test.queries]
    for cutoff in GOOD_CUTOFFS:
        record.note(f"good_rate@{cutoff} can reach {good_rate_ceiling(good, cutoff):.3f} at most on these searches.")
    return good


def _baselines(test: TestSet, training: Training, settings: EvaluationSettings) -> dict[str, Scorer]:
    titles = [title or "" for title in test.catalogue["title"].to_pylist()]
    return {
        RANDOM: RandomScorer(test.catalogue.num_rows, settings.seed),
        POPULARITY: PopularityScorer(training.engaged),
        BM25: Bm25Scorer(titles, test.queries, settings.bm25_k1, settings.bm25_b, settings.language),
    }


def _model(
    towers: Path, name: str, test: TestSet, settings: EvaluationSettings, record: TaskRecord
) -> dict[str, Scorer]:
    catalogue = encode_catalogue(towers, test.catalogue, settings, name)
    encoder = SearchEncoder(towers, settings, name)
    scorers: dict[str, Scorer] = {name: VectorScorer(encoder.encode(test.rows), catalogue)}
    if test.with_history.any():
        nobody = encoder.encode(test.rows, history=False)
        scorers[f"{name} without history"] = VectorScorer(nobody, catalogue)
    else:
        record.note("No test search has a history, so the model without history has no row of its own.")
    return scorers


def _current(
    workdir: Path,
    release_id: str,
    towers: Path,
    scorers: dict[str, Scorer],
    name: str,
    test: TestSet,
    settings: EvaluationSettings,
    record: TaskRecord,
) -> dict[str, Any] | None:
    """Adds the served release's towers to the methods; says what became of it."""
    if not release_id:
        record.note("There is no current release to compare with; this would be the first.")
        return None
    try:
        release = read_release(workdir, release_id)
        if release.towers_fingerprint == towers_fingerprint(towers):
            scorers[CURRENT] = scorers[name]
        else:
            served = release.path("towers")
            catalogue = encode_catalogue(served, test.catalogue, settings, CURRENT)
            scorers[CURRENT] = VectorScorer(SearchEncoder(served, settings, CURRENT).encode(test.rows), catalogue)
    except (TowerlineError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error) if isinstance(error, TowerlineError) else f"{type(error).__name__}: {error}"
        record.note(f"The current release {release_id} could not be measured: {reason}")
        return {"id": release_id, "measured": False, "reason": reason}
    return {"id": release_id, "measured": True, "reason": ""}
