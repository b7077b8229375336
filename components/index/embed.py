"""Catalogue -> item vectors, in batches, whole or one shard of several (a task each on a cluster)."""

from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from components.common.errors import BadInput, BadSetting
from components.common.progress import Progress
from components.index.store import check_finite

_UNIT_TOLERANCE = 1e-3


class ItemEncoder(Protocol):
    """The item tower: products (contract columns) -> vectors float32 [n, d]."""

    def encode(self, products: pa.Table) -> np.ndarray: ...


def shard_rows(products: int, shard: int, shards: int) -> slice:
    """The rows of one shard: contiguous, disjoint, together all, sizes differing by at most one. Raises BadSetting."""
    if shards < 1 or not 0 <= shard < shards:
        raise BadSetting(f"shard {shard} of {shards} does not exist; shards count from 0.")
    return slice(shard * products // shards, (shard + 1) * products // shards)


def parse_part(text: str) -> tuple[int, int]:
    """ "2/8" -> (1, 8): which shard, counting from 0, of how many. Raises BadSetting."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise BadSetting(f"{text!r} is no part of a catalogue; parts are 1/1, or 1/2 and 2/2, and so on.")
    return int(number) - 1, int(count)


def embed(encoder: ItemEncoder, products: pa.Table, batch: int, cosine: bool, label: str = "products") -> np.ndarray:
    """Item vectors float32 [n, d] in the order of the rows, checked.

    Raises BadInput, naming the product, for vectors of another shape, NaN or infinite values, a zero vector, and for
    vectors that are not of unit length although the towers score by cosine.
    """
    blocks: list[np.ndarray] = []
    with Progress(products.num_rows, f"embed {label}", "products") as progress:
        for start in range(0, products.num_rows, batch):
            part = products.slice(start, batch)
            vectors = np.asarray(encoder.encode(part), dtype=np.float32)
            width = blocks[0].shape[1] if blocks else vectors.shape[-1]
            if vectors.shape != (part.num_rows, width):
                raise BadInput(f"the item tower gave vectors of shape {vectors.shape} for {part.num_rows} products.")
            check_vectors(vectors, part.column("product_id").to_pylist(), cosine)
            blocks.append(vectors)
            progress.advance(part.num_rows)
    return np.concatenate(blocks)


def check_vectors(vectors: np.ndarray, product_ids: list[str], cosine: bool) -> None:
    """Raises BadInput for a vector [n, d] that is not finite, is zero, or is not of unit length where it must be."""
    check_finite(vectors, product_ids)
    norms = np.linalg.norm(vectors, axis=1)
    wrong = np.abs(norms - 1.0) > _UNIT_TOLERANCE if cosine else norms == 0.0
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        expected = "1, as the score is a cosine" if cosine else "above 0"
        raise BadInput(
            f"the vector of product {product_ids[row]!r} has the length {norms[row]:.6g}, not {expected} "
            f"({int(wrong.sum())} of {len(norms)} are so); the item tower is broken, train it again."
        )


def write_shard(directory: Path, vectors: np.ndarray, shard: int, shards: int) -> None:
    """Writes one shard's vectors so that `join_shards` finds them."""
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / f"vectors-{shard:05d}-of-{shards:05d}.npy", vectors)


def join_shards(directories: list[Path], products: int) -> np.ndarray:
    """All shards' vectors float32 [n, d] in catalogue order. Raises BadInput when one is missing or does not fit."""
    files = sorted((path for folder in directories for path in Path(folder).glob("vectors-*-of-*.npy")), key=_name)
    names = [path.name for path in files]
    shards = int(names[0][-9:-4]) if names else 0
    if not names or names != [f"vectors-{shard:05d}-of-{shards:05d}.npy" for shard in range(shards)]:
        raise BadInput(f"the shards {', '.join(names) or 'none'} are not one whole set; embed the missing ones again.")
    parts = [np.load(path, allow_pickle=False) for path in files]
    for shard, part in enumerate(parts):
        rows = shard_rows(products, shard, shards)
        if len(part) != rows.stop - rows.start:
            raise BadInput(
                f"{names[shard]} holds {len(part)} vectors, the catalogue has {rows.stop - rows.start} there."
            )
    return np.concatenate(parts).astype(np.float32, copy=False)


def _name(path: Path) -> str:
    return path.name
