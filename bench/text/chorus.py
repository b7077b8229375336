"""Towers on a catalogue they have never seen: the 135 graded queries of Chorus, every one of them a test query."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.common.files import read_json
from components.evaluation.baselines import BM25, RANDOM, Bm25Scorer, RandomScorer
from components.evaluation.encoding import SearchEncoder, encode_catalogue
from components.evaluation.measure import measure
from components.evaluation.recall import Scorer, VectorScorer
from components.evaluation.settings import EvaluationSettings
from components.evaluation.slices import ALL, Slice
from components.evaluation.tables import rows_and_differences
from components.evaluation.targets import Targets
from components.evaluation.testset import TestSet
from components.logs.step import load_log


def assess_chorus(data: Path, towers: Path, minilm: Any, settings: EvaluationSettings) -> list[dict[str, Any]]:
    """Rows (method, slice, n, metrics) as in `evaluation.json`, of the towers and what stands beside them.

    Args:
        data: folder of the public files. towers: trained on another shop. minilm: texts -> vectors, or None.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        load_log("chorus", str(data), "{}", log, Path(folder) / "truth")
        test = graded(log)
    titles = [title or "" for title in test.catalogue["title"].to_pylist()]
    scorers: dict[str, Scorer] = {
        RANDOM: RandomScorer(len(titles), settings.seed),
        BM25: Bm25Scorer(titles, test.queries, settings.bm25_k1, settings.bm25_b, settings.language),
        "towers": VectorScorer(
            SearchEncoder(towers, settings, "towers").encode(test.rows, history=False),
            encode_catalogue(towers, test.catalogue, settings, "towers"),
        ),
    }
    if minilm is not None:
        scorers["minilm untuned"] = VectorScorer(minilm(test.queries), minilm(titles))
    everything = [Slice(ALL, np.ones(len(test), dtype=bool))]
    measured = {name: measure(scorer, test, everything, None, settings) for name, scorer in scorers.items()}
    return rows_and_differences(measured, everything, test.clusters, "towers", settings)[0]


def graded(log: Path) -> TestSet:
    """Every graded query of a log with judgements, measured on products graded as relevant or better."""
    description = read_json(log / "log.json")
    catalogue = pq.read_table(log / "products")
    judgements = pq.read_table(log / "judgements.parquet").sort_by("query")
    index = {product: row for row, product in enumerate(catalogue["product_id"].to_pylist())}
    names, codes = np.unique(judgements["query"].to_numpy(zero_copy_only=False), return_inverse=True)
    products = np.array([index.get(product, -1) for product in judgements["product_id"].to_pylist()])
    grades = judgements["grade"].to_numpy().astype(np.float32)
    known = products >= 0
    judged = Targets.of_entries(len(names), codes[known], products[known], np.exp2(grades[known].astype(float)) - 1)
    count = len(names)
    rows = pa.table(
        {
            "search_id": [f"judged-{number}" for number in range(count)],
            "query": names.tolist(),
            "user_id": pa.nulls(count, pa.string()),
            "timestamp": pa.array([0] * count, pa.timestamp("us", "UTC")),
            "latitude": pa.nulls(count, pa.float64()),
            "longitude": pa.nulls(count, pa.float64()),
            "country": pa.nulls(count, pa.string()),
        }
    )
    return TestSet(
        rows=rows,
        targets=judged.where(grades[known] >= description["grades"]["positive_from"]),
        purchased=None,
        judged=judged,
        clusters=np.arange(count),
        split="query",
        simulated=False,
        source="chorus",
        catalogue=catalogue,
    )
