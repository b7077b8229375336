"""Vectors as an index keeps and asks for them: unit length for cosine, weights appended, mapped from disk."""

from pathlib import Path

import numpy as np

from components.common.errors import BadInput, NotFound


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows [n, d] at unit length; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0.0, norms, 1.0)).astype(np.float32)


def extend_queries(queries: np.ndarray, weights: np.ndarray, cosine: bool) -> np.ndarray:
    """q' = [q; w] (UEPPR, product boosting): unit length first where the score is a cosine. float32 [n, d + f]."""
    if cosine:
        queries = unit(queries)
    if not len(weights):
        return np.ascontiguousarray(queries, dtype=np.float32)
    return np.concatenate([queries, np.broadcast_to(weights, (len(queries), len(weights)))], axis=1, dtype=np.float32)


def load_vectors(path: Path) -> np.ndarray:
    """vectors.npy as a read-only memory map float32 [n, d']. Raises NotFound or BadInput."""
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist; rebuild the release.") from None
    except ValueError as error:
        raise BadInput(f"{path} is not an array of vectors ({error}); rebuild the release.") from error
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise BadInput(f"{path} holds {vectors.dtype} {vectors.shape}, not float32 [n, d]; rebuild the release.")
    return vectors
