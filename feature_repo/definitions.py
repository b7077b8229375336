"""What Feast stores and serves: one view of shoppers' histories.

Feast's own command line reads this file too:

    export TOWERLINE_FEATURE_STORE=.towerline/feature_store TOWERLINE_FEATURE_SOURCES=/path/of/sources/shopper_history
    feast -c feature_repo -f feature_repo/environments/local/feature_store.yaml feature-views list

`TOWERLINE_SOURCE_KIND=spark` reads the snapshots through Spark, as the cluster environment does. The names carry the
schema's version: a release keeps the service it was trained with, so a changed schema is a new version beside the old
one, never a new meaning of an old name.
"""

import os
from dataclasses import dataclass

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.types import Array, Int32, Int64, String
from feast.value_type import ValueType

from components.features.schema import HISTORY_VIEW, PUSH_SOURCE, SERVICE, SHOPPER, SNAPSHOT_TIME


@dataclass(frozen=True)
class Definitions:
    """The objects of one repository, all reading the same snapshots."""

    shopper: Entity
    snapshots: DataSource
    push: PushSource
    view: FeatureView
    service: FeatureService

    def objects(self) -> list:
        """Everything `FeatureStore.apply` takes."""
        return [self.shopper, self.snapshots, self.push, self.view, self.service]


def define(path: str, kind: str = "file") -> Definitions:
    """The definitions over snapshots at `path` (a Parquet file or a folder of them), read by `kind`: file or spark."""
    # A shopper is whoever searches under one user id.
    shopper = Entity(name="shopper", join_keys=[SHOPPER], value_type=ValueType.STRING)

    # Snapshots hold a shopper's history as it was at the moments that matter: just before a search, and last of all.
    snapshots = _source(path, kind)

    # Real-time events enter the online store under this name as soon as they happen; the log brings them offline.
    push = PushSource(name=PUSH_SOURCE, batch_source=snapshots)

    # The history of a shopper: latest behaviours, recent searches, products bought, each with its time, oldest first.
    view = FeatureView(
        name=HISTORY_VIEW,
        entities=[shopper],
        schema=[
            Field(name=SHOPPER, dtype=String),
            Field(name="product_ids", dtype=Array(String)),
            Field(name="actions", dtype=Array(Int32)),
            Field(name="timestamps", dtype=Array(Int64)),
            Field(name="queries", dtype=Array(String)),
            Field(name="query_timestamps", dtype=Array(Int64)),
            Field(name="bought_product_ids", dtype=Array(String)),
            Field(name="bought_timestamps", dtype=Array(Int64)),
            Field(name="available_at", dtype=Int64),
        ],
        source=push,
        online=True,
    )

    # What a model of this version reads, in training and in serving alike.
    service = FeatureService(name=SERVICE, features=[view])
    return Definitions(shopper, snapshots, push, view, service)


def _source(path: str, kind: str) -> DataSource:
    if kind == "spark":
        from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

        return SparkSource(name="snapshots", path=path, file_format="parquet", timestamp_field=SNAPSHOT_TIME)
    files = path if path.endswith(".parquet") else f"{path}/*.parquet"
    return FileSource(name="snapshots", path=files, file_format=ParquetFormat(), timestamp_field=SNAPSHOT_TIME)


# Feast's own command line looks for objects at the top of this file.
shopper, snapshots, push, view, service = define(
    os.environ.get("TOWERLINE_FEATURE_SOURCES", "sources/shopper_history"),
    os.environ.get("TOWERLINE_SOURCE_KIND", "file"),
).objects()
