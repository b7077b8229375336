"""Where vectors are stored: a Milvus Lite directory inside the release, or a Milvus server by URI and token."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.common.errors import BadSetting

URI, TOKEN = "TOWERLINE_MILVUS_URI", "TOWERLINE_MILVUS_TOKEN"
"""Environment variables that name a Milvus server; without the first one the release carries its own Milvus Lite."""

LITE_DATABASE = "towerline.db"

INDEX_TYPES: dict[str, tuple[str, ...]] = {
    # Lite also accepts DISKANN, SCANN, GPU_CAGRA and IVF_PQ, but cannot load such a collection again once reopened.
    "lite": ("FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8"),
    "server": ("FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8", "SCANN"),
}


@dataclass(frozen=True)
class Backend:
    """A Milvus: `kind` is lite (one process at a time, `uri` is a directory) or server. The token is never printed."""

    kind: str
    uri: str
    token: str = field(default="", repr=False)

    @property
    def is_lite(self) -> bool:
        """True for the embedded database."""
        return self.kind == "lite"

    @property
    def label(self) -> str:
        """The URI without user and password, for messages and manifests."""
        scheme, separator, rest = self.uri.partition("://")
        return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else self.uri


def lite_backend(directory: Path) -> Backend:
    """The Lite database inside a directory, e.g. a release's `milvus/`."""
    return Backend("lite", str(Path(directory).absolute() / LITE_DATABASE))


def choose_backend(directory: Path, environment: Mapping[str, str] | None = None) -> Backend:
    """The server named by the environment, else the Lite database in `directory`. Raises BadSetting for a bad URI."""
    environment = os.environ if environment is None else environment
    uri = environment.get(URI, "").strip()
    if not uri:
        return lite_backend(directory)
    if not uri.startswith(("http://", "https://", "tcp://", "unix:")):
        shown = uri.rpartition("@")[2]  # without user and password
        raise BadSetting(
            f"{URI} must be a URI such as http://host:19530, not {shown!r}; leave it empty for Milvus Lite."
        )
    return Backend("server", uri, environment.get(TOKEN, ""))


def choose_index_type(backend: Backend, wanted: str, precision: str) -> str:
    """The index type to build. Raises BadSetting for one this backend cannot build, load and search."""
    if wanted == "auto":
        if backend.is_lite:  # a store there: what a server searches lies in its memory, at the precision
            return "FLAT"
        return "IVF_SQ8" if precision == "int8" else "HNSW"
    name = wanted.upper()
    if name not in INDEX_TYPES[backend.kind]:
        raise BadSetting(
            f"index.milvus_index {wanted!r} is not usable on a Milvus {backend.kind}; "
            f"use auto or one of {', '.join(INDEX_TYPES[backend.kind])}."
        )
    return name


def build_parameters(index_type: str, products: int) -> dict[str, Any]:
    """Parameters of the index build: 16 links a node for graphs, about 4 sqrt(n) lists for inverted files."""
    if index_type.startswith("HNSW"):
        return {"M": 16, "efConstruction": 200} | ({"sq_type": "SQ8"} if index_type == "HNSW_SQ" else {})
    if index_type.startswith("IVF") or index_type == "SCANN":
        return {"nlist": lists(products)}
    return {}


def lists(products: int) -> int:
    """Number of inverted lists: the power of two next above 4 sqrt(n), with at least 39 products each (FAISS' rule)."""
    wanted = 1 << max(0, int(4 * products**0.5) - 1).bit_length()
    return max(1, min(wanted, products // 39, 65_536))


def search_ladder(index_type: str, products: int, k: int) -> list[dict[str, Any]]:
    """Search parameters from the cheapest to the most thorough; the last one is as good as exhaustive for the type."""
    if index_type.startswith("HNSW"):
        return [{"ef": effort} for effort in (k, 2 * k, 4 * k, 8 * k, 16 * k)]
    if index_type.startswith("IVF") or index_type == "SCANN":
        total = lists(products)
        steps = sorted({min(total, step) for step in (4, 8, 16, 32, 64, 128, 256, total)})
        return [{"nprobe": step} | ({"reorder_k": 4 * k} if index_type == "SCANN" else {}) for step in steps]
    return [{}]


def search_parameters(chosen: Mapping[str, Any], k: int) -> dict[str, Any]:
    """The tuned parameters at depth k: a graph's candidate list and a re-ordered list are never shorter than k."""
    raised = {"ef": k, "reorder_k": 4 * k}
    return {name: max(value, raised[name]) if name in raised else value for name, value in chosen.items()}
