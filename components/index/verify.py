"""The last look before a collection may be released: is everything in it, is it what was computed, is it found?"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from components.common.errors import GateClosed
from components.index.settings import IndexSettings
from components.index.store import SCALARS, Rows, VectorStore


@dataclass(frozen=True)
class Verified:
    """What verification saw: rows counted, rows read back and compared, recall@k of the tuned search."""

    count: int
    compared: int
    recall: float

    def describe(self) -> dict[str, Any]:
        """For search.json and the run's figures."""
        return {"count": self.count, "compared": self.compared, "recall": self.recall}


def verify_collection(
    store: VectorStore, name: str, rows: Rows, recall: float, settings: IndexSettings, float16: bool = False
) -> Verified:
    """Counts the collection, compares a sample of it bit for bit with what was computed, and checks the recall.

    Args:
        store: open, the collection loaded.
        name: the collection.
        rows: everything that was to be written.
        recall: recall@k of the tuned search against exact search, as `tune_collection` measured it.
        settings: sample size, seed, target.
        float16: vectors are compared as float16.

    Raises:
        GateClosed: with the first difference found.
    """
    count = store.count(name)
    if count != len(rows.product_ids):
        raise GateClosed(f"collection {name} holds {count} products instead of {len(rows.product_ids)}; run again.")
    rng = np.random.default_rng(settings.seed)
    sample = np.sort(rng.choice(count, min(count, settings.verify_sample), replace=False))
    stored = store.read(name, [rows.product_ids[row] for row in sample])
    for row in sample:
        key = rows.product_ids[row]
        if key not in stored:
            raise GateClosed(f"collection {name} lacks product {key!r} that was written; run again.")
        expected = rows.vectors[row].astype(np.float16).astype(np.float32) if float16 else rows.vectors[row]
        if not np.array_equal(stored[key]["vector"], expected):
            raise GateClosed(f"collection {name} holds another vector of product {key!r} than was written; run again.")
        for column in SCALARS:
            if stored[key][column] != rows.scalars[column][row].item():
                raise GateClosed(
                    f"collection {name} holds {column} = {stored[key][column]!r} of product {key!r}, written was "
                    f"{rows.scalars[column][row].item()!r}; run again."
                )
    if recall < settings.target_recall:
        raise GateClosed(
            f"collection {name} reaches a recall@{settings.recall_k} of {recall:.4f} against exact search at its most "
            f"thorough search, below {settings.target_recall}; use another index.milvus_index or a lower "
            f"index.target_recall."
        )
    return Verified(count, len(sample), recall)
