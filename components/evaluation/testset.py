"""The test searches of a run: what was asked, by whom, and which products answer it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.common.errors import BadInput, NotFound
from components.common.files import read_json
from components.evaluation.settings import EvaluationSettings
from components.evaluation.slices import normalised
from components.evaluation.targets import Targets

ORDERED = 4
_HISTORY = ("history_product_ids", "history_queries", "bought_product_ids")


@dataclass(frozen=True)
class TestSet:
    """n test searches in one order for all methods.

    rows: the searches as `test.parquet` has them (histories included). targets: what recall is measured on, gains
    2^stage - 1 or 2^grade - 1. purchased: the ordered ones among them (UEPPR's T). judged: all graded products, gains
    2^grade - 1, or None without judgements. clusters int64 [n]: those of one shopper, or of one query, share one.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    rows: pa.Table
    targets: Targets
    purchased: Targets | None
    judged: Targets | None
    clusters: np.ndarray
    split: str
    simulated: bool
    source: str
    catalogue: pa.Table
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return self.rows.num_rows

    @property
    def queries(self) -> list[str]:
        """The query texts, as typed."""
        return self.rows["query"].to_pylist()

    @property
    def known(self) -> np.ndarray:
        """Whether the shopper of each search has an id, bool [n]."""
        return ~_is_null(self.rows["user_id"])

    @property
    def with_history(self) -> np.ndarray:
        """Whether anything is known of what the shopper did before, bool [n]."""
        lengths = [pc.fill_null(pc.list_value_length(self.rows[name]), 0).to_numpy() for name in _HISTORY]
        return np.sum(lengths, axis=0) > 0


@dataclass(frozen=True)
class Training:
    """What baselines and slices need of the training window.

    query_counts: searches per normalised query. engaged int64 [products]: searches that engaged each product.
    met bool [products]: whether training met the product, as an engaged one or in a history.
    """

    query_counts: Counter[str]
    engaged: np.ndarray
    met: np.ndarray


def read_test_set(examples: Path, settings: EvaluationSettings) -> TestSet:
    """Reads the test searches of `examples`, a seeded sample of at most `settings.max_searches`.

    With judgements and a split by query the searches are the distinct test queries, measured on graded products;
    otherwise they are the searches of the test split, measured on engaged ones. Raises NotFound or BadInput.
    """
    features = read_json(examples / "features.json")
    for key in ("split", "simulated"):
        if key not in features:
            raise BadInput(f"{examples / 'features.json'} lacks {key!r}; build the features again.")
    catalogue = _read(examples / "products.parquet")
    if catalogue.num_rows == 0:
        raise BadInput(f"{examples / 'products.parquet'} holds no product; there is nothing to search.")
    index = catalogue["product_id"].combine_chunks()
    rows = _read(examples / "test.parquet")
    split = str(features["split"])
    notes: list[str] = []
    purchased = judged = None
    if split == "query" and (examples / "judgements.parquet").exists():
        rows, judged, grades = _judged_queries(rows, _read(examples / "judgements.parquet"), index, settings, notes)
        least = _positive_from(features, settings)
        targets = judged.where(grades >= np.float32(least))  # grades are float32: 2.33 is below the double 2.33
        notes.append(f"Relevant are products graded {least:g} or better; ungraded ones count as not relevant.")
    else:
        rows, targets, stages = _engaged_searches(rows, index, settings, notes)
        if (stages == ORDERED).any():
            purchased = targets.where(stages == ORDERED)
    return TestSet(
        rows=rows,
        targets=targets,
        purchased=purchased,
        judged=judged,
        clusters=_clusters(rows["query" if split == "query" else "user_id"]),
        split=split,
        simulated=bool(features["simulated"]),
        source=str(features.get("source", "")),
        catalogue=catalogue,
        notes=notes,
    )


def read_training(examples: Path, catalogue: pa.Table) -> Training:
    """Counts the training window in one pass over `train.parquet`, batch by batch. Raises NotFound."""
    path = examples / "train.parquet"
    if not path.exists():
        raise NotFound(f"{path} does not exist; build the features first.")
    index = catalogue["product_id"].combine_chunks()
    queries: Counter[str] = Counter()
    engaged = np.zeros(catalogue.num_rows, dtype=np.int64)
    met = np.zeros(catalogue.num_rows, dtype=bool)
    columns = ["query", "product_ids", "stages", "history_product_ids"]
    for batch in pq.ParquetFile(path).iter_batches(columns=columns, batch_size=8192):
        queries.update(map(normalised, batch["query"].to_pylist()))
        strong = pc.greater_equal(pc.list_flatten(batch["stages"]), 1)
        chosen = _lookup(pc.list_flatten(batch["product_ids"]).filter(strong), index)
        engaged += np.bincount(chosen[chosen >= 0], minlength=len(engaged))
        seen = _lookup(pc.unique(pc.list_flatten(batch["history_product_ids"])), index)
        met[seen[seen >= 0]] = True
    return Training(queries, engaged, met | (engaged > 0))


def _engaged_searches(
    rows: pa.Table, index: pa.Array, settings: EvaluationSettings, notes: list[str]
) -> tuple[pa.Table, Targets, np.ndarray]:
    """A sample of the searches that engaged a product, their targets (gain 2^stage - 1) and each target's stage."""
    searches, products, stages = _shown(rows, index)
    lost = int(((stages >= 1) & (products < 0)).sum())
    if lost:
        notes.append(f"{lost} engaged products of the test searches are not in the catalogue and were left out.")
    measurable = np.unique(searches[(stages >= 1) & (products >= 0)])
    if len(measurable) == 0:
        raise BadInput("no test search engaged a product of the catalogue; there is nothing to measure recall on.")
    rows = rows.take(pa.array(_sample(measurable, settings, notes)))
    searches, products, stages = _shown(rows, index)
    keep = (stages >= 1) & (products >= 0)
    stages = stages[keep]
    return rows, Targets.of_entries(len(rows), searches[keep], products[keep], _gain(stages)), stages


def _judged_queries(
    rows: pa.Table, judgements: pa.Table, index: pa.Array, settings: EvaluationSettings, notes: list[str]
) -> tuple[pa.Table, Targets, np.ndarray]:
    """A sample of the judged test queries as anonymous searches, all their graded products, and the grades."""
    if "split" not in judgements.column_names:
        raise BadInput("judgements.parquet of the examples lacks the column 'split'; build the features again.")
    test = judgements.filter(pc.equal(judgements["split"], "test"))
    test = test.group_by(["query", "product_id"]).aggregate([("grade", "max")]).sort_by("query")
    products = _lookup(test["product_id"], index)
    if (products < 0).any():
        notes.append(f"{int((products < 0).sum())} graded products are not in the catalogue and were left out.")
        test, products = test.filter(pa.array(products >= 0)), products[products >= 0]
    if test.num_rows == 0:
        raise BadInput("no judgement belongs to a test query; there is nothing to measure recall on.")
    names, codes = np.unique(test["query"].to_numpy(zero_copy_only=False), return_inverse=True)
    chosen = _sample(np.arange(len(names)), settings, notes)
    keep = np.isin(codes, chosen)
    grades = test["grade_max"].to_numpy()[keep].astype(np.float32)
    judged = Targets.of_entries(len(chosen), np.searchsorted(chosen, codes[keep]), products[keep], _gain(grades))
    moment = pc.max(rows["timestamp"])
    ids = [f"judged-{code}" for code in chosen]
    asked = {"search_id": ids, "query": names[chosen], "timestamp": [moment] * len(chosen)}
    columns = []
    for column in rows.schema:
        values = asked.get(column.name, [[] if pa.types.is_list(column.type) else None] * len(chosen))
        columns.append(pa.array(values, type=column.type))
    return pa.table(columns, schema=rows.schema), judged, grades


def _shown(rows: pa.Table, index: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every (search, catalogue row or -1, stage) of the searches, flat."""
    rows = rows.combine_chunks()
    lists = rows["product_ids"].combine_chunks()
    searches = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    stages = pc.list_flatten(rows["stages"].combine_chunks()).to_numpy(zero_copy_only=False)
    return searches, _lookup(pc.list_flatten(lists), index), stages


def _lookup(ids: pa.Array | pa.ChunkedArray, index: pa.Array) -> np.ndarray:
    """The catalogue row of each product id, -1 for an unknown one."""
    return pc.fill_null(pc.index_in(ids, value_set=index), -1).to_numpy().astype(np.int32)


def _gain(grades: np.ndarray) -> np.ndarray:
    return np.exp2(grades.astype(np.float64)) - 1


def _sample(numbers: np.ndarray, settings: EvaluationSettings, notes: list[str]) -> np.ndarray:
    if len(numbers) <= settings.max_searches:
        return numbers
    count, seed = settings.max_searches, settings.seed
    notes.append(f"{count:,} of {len(numbers):,} test searches were measured, drawn with seed {seed}.")
    return np.sort(np.random.default_rng(seed).choice(numbers, count, replace=False))


def _positive_from(features: dict[str, Any], settings: EvaluationSettings) -> float:
    if settings.positive_from is not None:
        return settings.positive_from
    grades = features.get("grades")
    if not isinstance(grades, dict) or "positive_from" not in grades:
        raise BadInput(
            "the log has judgements but does not say which grade is relevant (grades.positive_from); "
            "set evaluation.positive_from."
        )
    return float(grades["positive_from"])


def _clusters(names: pa.ChunkedArray) -> np.ndarray:
    """One number per distinct name; every null is somebody of its own."""
    codes = pc.fill_null(names.combine_chunks().dictionary_encode().indices, -1).to_numpy().astype(np.int64)
    nobody = codes < 0
    codes[nobody] = codes.max(initial=-1) + 1 + np.arange(int(nobody.sum()))
    return codes


def _is_null(column: pa.ChunkedArray) -> np.ndarray:
    return column.is_null().to_numpy()


def _read(path: Path) -> pa.Table:
    if not path.exists():
        raise NotFound(f"{path} does not exist; build the features first.")
    return pq.read_table(path)
