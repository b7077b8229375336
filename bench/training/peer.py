"""TensorFlow Recommenders' two towers of the widths, tables, batches and negatives of the bare towers beside them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.training.towers import WARM, Watch, peak_megabytes
from components.common.settings import from_overrides
from components.towers.batches import Batches
from components.towers.data import load_training_data
from components.towers.models import model_class
from components.towers.ragged import Ragged

BARE = {
    "mgs": "false", "trm": "false", "history": "false", "token_weights": "uniform", "id_dropout": "0",
}  # fmt: skip
"""MGDSPR's settings for bare towers: mean of the query's words; id plus tanh of a layer over that of the title."""


def measure(examples: Path, installed: str, rows: int, steps: int) -> dict[str, float]:
    """Trains `steps` steps; returns what `towers.measure` does.

    Args:
        installed: folder that holds tensorflow_recommenders and tf_keras; "" where they are importable.
    """
    if installed:
        sys.path.append(installed)
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TensorFlow Recommenders is written for Keras 2
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    kind = model_class("mgdspr")
    settings = from_overrides(kind.Settings, {**BARE, "hash_buckets": str(rows)})
    data = load_training_data(examples, kind, settings)
    titles = _matrix(data.catalogue.text[settings.word_unit])  # [P, T]
    queries = _matrix(data.train.query_text[settings.word_unit])  # [Q, T]
    ids = data.catalogue.ids.numpy()
    batches = Batches(data.train, data.catalogue, frozenset(), "positive", settings, data.query_index)
    before = peak_megabytes()

    def arrays() -> Iterator[dict[str, np.ndarray]]:
        random = np.random.default_rng(settings.seed)
        for step in range(WARM + steps):
            batch = batches.batch(0, step)
            drawn = random.choice(len(ids), min(settings.negatives, len(ids)), replace=False)
            products = np.concatenate([batch.positive_rows.numpy(), drawn])  # [B + M]
            asked = queries[data.train.query[batch.example].numpy()]  # [B, T]
            yield {"query": asked, "id": ids[products], "title": titles[products]}

    model = _model(tf, tfrs, settings, data.schema.tokens, max(rows, data.schema.items))
    model.compile(optimizer=tf.keras.optimizers.Adagrad(settings.learning_rate, settings.adagrad_initial))
    kinds = {"query": queries, "id": ids, "title": titles}
    signature = {
        name: tf.TensorSpec((None, *values.shape[1:]), tf.as_dtype(values.dtype)) for name, values in kinds.items()
    }
    source = iter(tf.data.Dataset.from_generator(arrays, output_signature=signature).prefetch(2))
    step = tf.function(model.train_step)
    for _ in range(WARM):
        step(next(source))
    watch = Watch()
    for _ in range(steps):
        step(next(source))
    rates = watch.rates(steps * batches.size)
    tables = (data.schema.tokens + max(rows, data.schema.items)) * settings.dimension * 4
    return {
        **rates,
        "table_megabytes": tables / 2**20,
        "memory_megabytes": peak_megabytes() - before,
    }


def _model(tf: Any, tfrs: Any, settings: Any, tokens: int, items: int) -> Any:
    width = settings.dimension

    class TwoTowers(tfrs.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tokens = tf.keras.layers.Embedding(tokens, width, mask_zero=True)
            self.ids = tf.keras.layers.Embedding(items, width)
            self.mean = tf.keras.layers.GlobalAveragePooling1D()
            self.title = tf.keras.layers.Dense(width, activation="tanh")
            self.task = tfrs.tasks.Retrieval(temperature=settings.temperature)

        def compute_loss(self, features: dict[str, Any], training: bool = False) -> Any:
            query = self._mean(features["query"])  # [B, d]
            item = self.ids(features["id"]) + self.title(self._mean(features["title"]))  # [B + M, d]
            query, item = tf.math.l2_normalize(query, 1), tf.math.l2_normalize(item, 1)
            return self.task(query, item, compute_metrics=False)

        def _mean(self, values: Any) -> Any:
            return self.mean(self.tokens(values), mask=self.tokens.compute_mask(values))

    return TwoTowers()


def _matrix(bags: Ragged) -> np.ndarray:
    return bags.pad().values.numpy()
