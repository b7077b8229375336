"""Feast's repository: which environment, where its registry lies, and the point-in-time join.

Feast is imported inside the functions: it takes seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from components.common.errors import BadSetting
from components.common.files import fsync_directory, read_json
from components.common.settings import from_overrides
from components.features.schema import FEATURES, HISTORY_VIEW, PROJECT, SERVICE, SHOPPER, SNAPSHOT_TIME
from components.features.settings import FeatureSettings

if TYPE_CHECKING:
    import duckdb
    from feast import FeatureStore, RepoConfig

SETTINGS_FILE = "settings.json"
"""In the feature store's folder: the FeatureSettings of what was materialised last."""
ENVIRONMENTS = ("local", "redis", "cluster")
"""Where features live: files and SQLite; files and one Redis; an object store, Spark and Redis."""


def import_feast() -> Any:
    """The feast package. Feast and ibis warn about their own insides; nothing in that is for the reader of a run."""
    for package in ("feast", "ibis"):
        warnings.filterwarnings("ignore", module=rf"{package}\b")
    import feast
    import feast.repo_config

    return feast


def store_directory(workdir: Path) -> Path:
    """Where a work directory keeps its registry, its SQLite store and the record of what is online."""
    return Path(workdir).resolve() / "feature_store"


def kept_settings(directory: Path) -> FeatureSettings:
    """The settings that histories in this store are kept by; the defaults where nothing was materialised here."""
    path = directory / SETTINGS_FILE
    return from_overrides(FeatureSettings, read_json(path) if path.is_file() else None)


def load_config(
    environment: str, directory: Path, registry: Path | None = None, with_engine: bool = False
) -> RepoConfig:
    """The configuration in `feature_repo/environments/<environment>/feature_store.yaml`.

    `${NAME}` in it is replaced by `directory` for TOWERLINE_FEATURE_STORE and by environment variables otherwise;
    `registry` replaces a file registry's path. Without `with_engine` the offline store and compute engine are left
    out, so that a server needs no Spark. Raises BadSetting for an unknown environment or an unset variable.
    """
    if environment not in ENVIRONMENTS:
        raise BadSetting(f"unknown feature environment {environment!r}; use one of {', '.join(ENVIRONMENTS)}.")
    import yaml

    import feature_repo

    path = Path(str(feature_repo.__file__)).parent / "environments" / environment / "feature_store.yaml"
    values = {**os.environ, "TOWERLINE_FEATURE_STORE": str(directory)}

    def value(match: re.Match[str]) -> str:
        if not values.get(match[1]):
            raise BadSetting(
                f"the feature environment {environment!r} needs the variable {match[1]}: set it (see the comments in "
                f"{path}) or use --environment local."
            )
        return values[match[1]]

    text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    raw = yaml.safe_load(re.sub(r"\$\{(\w+)\}", value, text))
    if not with_engine:
        raw.pop("batch_engine", None)
        raw["offline_store"] = {"type": "duckdb"}
    if registry is not None and raw["registry"].get("registry_type", "file") == "file":
        raw["registry"]["path"] = str(registry)
    return import_feast().repo_config.RepoConfig(repo_path=directory, **raw)


def open_store(config: RepoConfig) -> FeatureStore:
    """A Feast store of its own: its connections are shared with no other."""
    return import_feast().FeatureStore(config=config)


def apply_definitions(environment: str, directory: Path, snapshots: Path) -> None:
    """Makes the registry say what `feature_repo` says, over the snapshots in this folder.

    Feast rewrites a file registry in place, so a kill could tear it and a reader could see half of it. Here it is made
    beside the old one and renamed over it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    final = directory / "registry.db"
    staged = directory / f".registry.{uuid.uuid4().hex[:8]}.tmp"
    config = load_config(environment, directory, registry=staged)
    kind = "spark" if has_engine(environment) else "file"
    from feature_repo.definitions import define

    try:
        if final.exists():
            shutil.copyfile(final, staged)
        open_store(config).apply(define(str(snapshots), kind).objects())
        if staged.exists():
            os.replace(staged, final)
            fsync_directory(directory)
    finally:
        staged.unlink(missing_ok=True)


def has_engine(environment: str) -> bool:
    """Whether an environment has a compute engine of its own to fill its online store."""
    return environment == "cluster"


def fill_with_engine(environment: str, directory: Path, start_us: int, end_us: int) -> None:
    """Lets the environment's compute engine write every shopper's latest snapshot of a time range online.

    Redis keeps whatever is newer there, so an event pushed meanwhile is not undone.
    """
    moments = [datetime.fromtimestamp(us // 1_000_000, tz=UTC) for us in (start_us, end_us + 1_000_000)]
    store = open_store(load_config(environment, directory, with_engine=True))
    store.materialize(moments[0], moments[1], feature_views=[HISTORY_VIEW])


class PointInTimeJoin:
    """Feast's join of searches to the snapshots available at their time, bucket by bucket, in a registry of its own."""

    def __init__(self, work: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self._work, self._connection = work, connection
        work.mkdir(parents=True, exist_ok=True)

    def __call__(self, snapshots: Path, shoppers: pa.ChunkedArray, times: pa.ChunkedArray, rows: pa.Array) -> pa.Table:
        """FEATURES and `row` of each (shopper, time) that has a shopper; features are null where there is no snapshot.

        Args: snapshots: one Parquet file. shoppers: string [n], null unknown. times: timestamp us UTC [n]. rows: int64
        [n], a number for each, since Feast does not keep the order of rows.

        Feast's DuckDB store reads through the process-wide ibis connection, which is replaced by this room's, with its
        memory limit, for as long as the call takes.
        """
        feast = import_feast()
        import ibis
        import pandas as pd

        from feature_repo.definitions import define

        config = feast.repo_config.RepoConfig(
            project=PROJECT,
            provider="local",
            registry={"path": str(self._work / f"{snapshots.stem}.registry.db"), "cache_ttl_seconds": 0},
            offline_store={"type": "duckdb"},
            online_store=None,
            entity_key_serialization_version=3,
        )
        asked = pa.table({SHOPPER: shoppers, SNAPSHOT_TIME: times, "row": rows}).filter(pc.is_valid(shoppers))
        previous = ibis.options.default_backend
        try:
            ibis.set_backend(ibis.duckdb.from_connection(self._connection))
            store = open_store(config)
            store.apply(define(str(snapshots)).objects())
            strings = {pa.string(): pd.ArrowDtype(pa.string())}
            frame = asked.to_pandas(types_mapper=strings.get)
            joined = store.get_historical_features(frame, store.get_feature_service(SERVICE)).to_arrow()
        finally:
            ibis.options.default_backend = previous
        return joined.select(["row", *FEATURES])
