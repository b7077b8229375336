"""The vector store: one Milvus collection per release, the same code on Milvus Lite and on a server.

A collection holds the product id, the vector and the integer codes, price and stock that filters use. Rows are always
upserted, never inserted: an insert of a repeated key keeps duplicates on a server. Nothing that is not finite gets in:
Milvus stores NaN silently and then ranks at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from components.common.errors import BadInput, BadSetting, NotFound
from components.common.progress import Progress
from components.index.backends import INDEX_TYPES, Backend, search_parameters
from components.index.codes import CODE_COLUMNS
from components.index.milvus_errors import milvus_errors, quieten_driver

PREFIX = "towerline_"
SCALARS = (*CODE_COLUMNS, "price", "in_stock")
_VECTOR, _KEY = "vector", "product_id"
_OWNER = "towerline owner="


def collection_name(release_id: str) -> str:
    """The collection of a release: `towerline_` and the id, with underscores because Milvus allows no dashes."""
    return PREFIX + release_id.replace("-", "_")


@dataclass(frozen=True)
class Rows:
    """A batch to upsert: product ids [n], vectors float32 [n, d], and the scalar columns of `SCALARS` [n]."""

    product_ids: Sequence[str]
    vectors: np.ndarray
    scalars: dict[str, np.ndarray]


def check_finite(vectors: np.ndarray, product_ids: Sequence[str]) -> None:
    """Raises BadInput naming the first product whose vector [d] holds a NaN or infinite value."""
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise BadInput(
            f"the vector of product {product_ids[int(broken[0])]!r} holds a NaN or infinite value "
            f"({len(broken)} of {len(vectors)} do); the item tower is broken, train it again."
        )


class VectorStore:
    """A connection to one Milvus; a context manager, so that a Lite directory is free for the next process.

    Args:
        backend: where it lies.
        owner: written into every collection made here; only collections of the same owner are ever collected.
        timeout: seconds for one administrative call.

    Raises:
        Unavailable: Milvus does not answer, or another process holds the Lite directory.
    """

    def __init__(self, backend: Backend, owner: str = "", timeout: float = 60.0) -> None:
        from pymilvus import MilvusClient

        quieten_driver()
        self.backend, self._owner, self._timeout = backend, owner, timeout
        if backend.is_lite:
            Path(backend.uri).parent.mkdir(parents=True, exist_ok=True)
        with milvus_errors(self.backend, "be opened"):
            self._client = MilvusClient(backend.uri, token=backend.token, timeout=timeout)

    def __enter__(self) -> "VectorStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; a Lite directory is then free for another process."""
        self._client.close()
        if self.backend.is_lite:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.backend.uri)

    def create(self, name: str, dimension: int, float16: bool = False) -> None:
        """A new, empty collection; an existing one of that name is the leftover of a killed run and is dropped first.

        Raises BadSetting where the backend has no float16 vectors (Lite, servers before 2.4).
        """
        from pymilvus import DataType

        if float16 and not self.holds_float16:
            raise BadSetting(f"{self.version} has no float16 vectors; use index.precision=float32 or int8 there.")
        self.drop(name)
        schema = self._client.create_schema(
            auto_id=False, enable_dynamic_field=False, description=f"{_OWNER}{self._owner}"
        )
        schema.add_field(_KEY, DataType.VARCHAR, is_primary=True, max_length=512)
        schema.add_field(_VECTOR, DataType.FLOAT16_VECTOR if float16 else DataType.FLOAT_VECTOR, dim=dimension)
        for column in CODE_COLUMNS:
            schema.add_field(column, DataType.INT32)
        schema.add_field("price", DataType.DOUBLE)
        schema.add_field("in_stock", DataType.BOOL)
        with milvus_errors(self.backend, f"create {name}"):
            self._client.create_collection(name, schema=schema, consistency_level="Strong", timeout=self._timeout)

    @property
    def version(self) -> str:
        """What answers, e.g. `milvus_lite-3.2.2` or `v2.3.5-lite`."""
        with milvus_errors(self.backend, "tell its version"):
            return str(self._client.get_server_version(timeout=self._timeout))

    @property
    def holds_float16(self) -> bool:
        """Whether a field of float16 vectors can be created: on servers from 2.4."""
        numbers = self.version.removeprefix("v").split("-")[0].split(".")
        if self.backend.is_lite or not all(part.isdigit() for part in numbers[:2]):
            return False
        return (int(numbers[0]), int(numbers[1])) >= (2, 4)

    def upsert(self, name: str, rows: Rows, batch: int = 4000, float16: bool = False) -> int:
        """Writes rows, replacing those with the same product id; returns how many. Raises BadInput for a NaN vector."""
        check_finite(rows.vectors, rows.product_ids)
        vectors = rows.vectors.astype(np.float16 if float16 else np.float32)
        with Progress(len(vectors), f"upsert into {name}", "products") as progress:
            for start in range(0, len(vectors), batch):
                chunk = slice(start, start + batch)
                columns = {column: rows.scalars[column][chunk].tolist() for column in SCALARS}
                data: list[dict[str, Any]] = [
                    {_KEY: key, _VECTOR: vector, **dict(zip(columns, values, strict=True))}
                    for key, vector, *values in zip(
                        rows.product_ids[chunk], vectors[chunk], *columns.values(), strict=True
                    )
                ]
                with milvus_errors(self.backend, f"upsert into {name}"):
                    self._client.upsert(name, data, timeout=self._timeout)
                progress.advance(len(data))
        return len(vectors)

    def delete(self, name: str, product_ids: Sequence[str], batch: int = 1000) -> None:
        """Removes products by id; unknown ids are ignored. Ids are sent as keys, never as an expression."""
        for start in range(0, len(product_ids), batch):
            with milvus_errors(self.backend, f"delete from {name}"):
                self._client.delete(name, ids=list(product_ids[start : start + batch]), timeout=self._timeout)

    def flush(self, name: str, timeout: float | None = None) -> None:
        """Makes all rows durable and searchable: Lite replays unflushed rows for minutes after a kill."""
        with milvus_errors(self.backend, f"flush {name}"):
            self._client.flush(name, timeout=timeout or self._timeout)

    def build_index(self, name: str, index_type: str, parameters: dict[str, Any], timeout: int = 3600) -> None:
        """Builds the vector index (metric: inner product), replacing an older one. Raises BadSetting off the list."""
        if index_type not in INDEX_TYPES[self.backend.kind]:
            raise BadSetting(f"index type {index_type!r} is not usable on a Milvus {self.backend.kind}.")
        with milvus_errors(self.backend, f"index {name} as {index_type}"):
            if self._client.list_indexes(name, timeout=self._timeout):
                self._client.release_collection(name, timeout=self._timeout)
                self._client.drop_index(name, _VECTOR, timeout=self._timeout)
            index = self._client.prepare_index_params()
            index.add_index(_VECTOR, index_type=index_type, metric_type="IP", params=parameters)
            self._client.create_index(name, index, timeout=int(timeout))  # a float is ignored: it would wait forever

    def load(self, name: str, timeout: float = 600.0) -> None:
        """Loads a collection into memory for searches."""
        with milvus_errors(self.backend, f"load {name}"):
            self._client.load_collection(name, timeout=timeout)

    def count(self, name: str) -> int:
        """Live rows of a loaded collection."""
        with milvus_errors(self.backend, f"count {name}"):
            found = self._client.query(name, output_fields=["count(*)"], timeout=self._timeout)
        return int(found[0]["count(*)"])

    def read(self, name: str, product_ids: Sequence[str], batch: int = 1000) -> dict[str, dict[str, Any]]:
        """Stored rows by product id (vector as float32 [d], scalars as Python values); absent ids are absent."""
        stored: dict[str, dict[str, Any]] = {}
        for start in range(0, len(product_ids), batch):
            with milvus_errors(self.backend, f"read {name}"):
                found = self._client.get(
                    name, ids=list(product_ids[start : start + batch]),
                    output_fields=[_KEY, _VECTOR, *SCALARS], timeout=self._timeout,
                )  # fmt: skip
            for row in found:
                vector = row[_VECTOR]
                if isinstance(vector, (bytes, list)) and vector and isinstance(vector[0], bytes):
                    vector = vector[0]
                row[_VECTOR] = (
                    np.frombuffer(vector, dtype=np.float16) if isinstance(vector, bytes) else np.asarray(vector)
                ).astype(np.float32)
                stored[row[_KEY]] = row
        return stored

    def search(
        self,
        name: str,
        vectors: np.ndarray,
        k: int,
        expression: str = "",
        parameters: dict[str, Any] | None = None,
        timeout: float | None = None,
        float16: bool = False,
    ) -> list[list[tuple[str, float]]]:
        """The best k (product id, inner product) per query vector float32 [n, d], best first.

        `expression` comes from `codes.Resolved.expression` and nowhere else.
        """
        with milvus_errors(self.backend, f"search {name}"):
            found = self._client.search(
                name, data=list(vectors.astype(np.float16 if float16 else np.float32)), anns_field=_VECTOR, limit=k,
                filter=expression, output_fields=[_KEY], timeout=timeout or self._timeout,
                search_params={"metric_type": "IP", "params": search_parameters(parameters or {}, k)},
            )  # fmt: skip
        return [[(hit.get(_KEY, hit.get("id")), float(hit["distance"])) for hit in hits] for hits in found]

    def exists(self, name: str) -> bool:
        """Whether the collection exists."""
        with milvus_errors(self.backend, f"look for {name}"):
            return bool(self._client.has_collection(name, timeout=self._timeout))

    def rename(self, old: str, new: str) -> None:
        """Renames a collection. Raises NotFound when there is none of the old name."""
        if not self.exists(old):
            raise NotFound(f"there is no collection {old} in {self.backend.label}.")
        with milvus_errors(self.backend, f"rename {old}"):
            self._client.rename_collection(old, new, timeout=self._timeout)

    def collections(self) -> list[str]:
        """Collections of this project, whoever owns them, by name."""
        with milvus_errors(self.backend, "list its collections"):
            names = self._client.list_collections(timeout=self._timeout)
        return sorted(name for name in names if name.startswith(PREFIX))

    def owner(self, name: str) -> str | None:
        """The owner written into a collection, None when it is not one of this project (Lite keeps no description)."""
        with milvus_errors(self.backend, f"describe {name}"):
            text = str(self._client.describe_collection(name, timeout=self._timeout).get("description", ""))
        return text.removeprefix(_OWNER) if text.startswith(_OWNER) else None

    def drop(self, name: str) -> None:
        """Drops a collection if it exists."""
        if self.exists(name):
            with milvus_errors(self.backend, f"drop {name}"):
                self._client.drop_collection(name, timeout=self._timeout)
