"""What the index is made of: vectors, boosting, codes, key terms, and real searches to tune on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.common.errors import BadInput
from components.common.records import TaskRecord
from components.index.agreement import learn_agreement, survival
from components.index.assemble import Content, extend_items, item_vectors
from components.index.boosting import LEAST_SEARCHES, Boosting, compare_boosting, tune_boosting
from components.index.codes import Codes
from components.index.embed import embed, join_shards
from components.index.quality import Quality
from components.index.relevance import RelevanceControl
from components.index.searches import ORDER, Searches, sample_searches
from components.index.settings import IndexSettings
from components.index.terms import learn_terms
from components.index.tuning import exact_results
from components.index.vectors import extend_queries, unit

HELD_OUT = ("validation", "test", "train")


def is_cosine(model: dict[str, Any]) -> bool:
    """Whether the towers of a model.json score by cosine."""
    return bool(model["score"] == "cosine")


def item_encoder(towers: Path, settings: IndexSettings) -> Any:
    """The item tower."""
    from components.towers.encoder import ItemEncoder

    return ItemEncoder(towers, engine=settings.encoder)


def encode_searches(towers: Path, searches: Searches, settings: IndexSettings, label: str) -> np.ndarray:
    """Query vectors float32 [m, d] of real searches with their shoppers' histories, as evaluation makes them."""
    from components.evaluation.encoding import SearchEncoder
    from components.evaluation.settings import EvaluationSettings

    return SearchEncoder(towers, EvaluationSettings(engine=settings.encoder), label).encode(searches.rows)


def make_content(
    examples: Path,
    towers: Path,
    products: pa.Table,
    model: dict[str, Any],
    shards: Sequence[Path],
    settings: IndexSettings,
    record: TaskRecord,
) -> tuple[Content, dict[str, Any]]:
    """Everything the index is made of, and the survival figures of relevance control."""
    cosine = is_cosine(model)
    if shards:
        vectors = join_shards(list(shards), products.num_rows)
    else:
        vectors = embed(item_encoder(towers, settings), products, settings.embed_batch, cosine)
    least, median, largest = np.quantile(np.linalg.norm(vectors, axis=1), (0.0, 0.5, 1.0)).tolist()
    record.figure("norms", {"least": least, "median": median, "largest": largest})
    vectors = item_vectors(vectors, cosine)
    row_of = {key: row for row, key in enumerate(products.column("product_id").to_pylist())}
    searches = sample_searches(examples, HELD_OUT, settings.tuning_queries, row_of, settings.seed)
    if not len(searches):
        raise BadInput(f"{examples} holds no search in any split; there is nothing to tune and check the index on.")
    queries = encode_searches(towers, searches, settings, "tuning")
    boosting = _boosting(examples, towers, products, vectors, row_of, model, settings, record)
    terms, postings = learn_terms(products, settings)
    asked = sample_searches(
        examples, ("train",), settings.relevance_searches, row_of, settings.seed, least_stage=1, columns=()
    )
    terms = learn_agreement(terms, postings, asked.queries, asked.engaged, settings)
    content = Content(products, vectors, queries, cosine, boosting, Codes.learn(products), terms, postings)
    items = extend_items(vectors, boosting, products)
    found = exact_results(items, extend_queries(queries, boosting.weights, cosine), settings.recall_k)
    control = RelevanceControl(terms, postings, settings)
    return content, {"kinds": terms.kinds, **survival(control, searches.queries, found, searches.engaged)}


def _boosting(
    examples: Path,
    towers: Path,
    products: pa.Table,
    vectors: np.ndarray,
    row_of: dict[str, int],
    model: dict[str, Any],
    settings: IndexSettings,
    record: TaskRecord,
) -> Boosting:
    if settings.boosting == "off" or (settings.boosting == "auto" and model["name"] != "ueppr"):
        return Boosting.off(f"index.boosting is {settings.boosting} and the model {model['name']}")

    def bought(split: str) -> tuple[str, Searches, list[np.ndarray]]:
        found = sample_searches(examples, (split,), settings.boosting_queries, row_of, settings.seed, ORDER)
        if len(found) >= LEAST_SEARCHES:
            return "purchases", found, found.bought
        found = sample_searches(examples, (split,), settings.boosting_queries, row_of, settings.seed, 1)
        return "products engaged with", found, found.engaged

    def encoded(searches: Searches) -> np.ndarray:
        queries = encode_searches(towers, searches, settings, "boosting")
        return unit(queries) if is_cosine(model) else queries

    quality = Quality.learn(products)
    what, searches, positives = bought("validation")
    enough = quality.names and len(searches) >= LEAST_SEARCHES
    queries = encoded(searches) if enough else np.zeros((len(searches), vectors.shape[1]), dtype=np.float32)
    features = quality.features(products)
    boosting = tune_boosting(queries, vectors, features, quality, positives, settings, what)
    if not boosting.on:
        record.note(f"Products are not boosted: {boosting.report['reason']}.")
        return boosting
    what, searches, positives = bought("test")
    if len(searches) >= LEAST_SEARCHES:  # the evaluation measures the towers alone, so boosting is measured here
        measured = compare_boosting(encoded(searches), vectors, features, positives, boosting, settings)
        boosting.report["test"] = {"metric": what, **measured}
        record.note(
            f"The evaluation measures the towers alone; boosting moves their recall@{measured['k']} of {what} in the "
            f"test split from {measured['without']:.3f} to {measured['with']:.3f}."
        )
    return boosting
