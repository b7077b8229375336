"""One set of definitions, one configuration per environment; a server in a cluster needs no Spark."""

import os
import shutil
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadSetting
from components.features.history import History
from components.features.repository import ENVIRONMENTS, apply_definitions, load_config, open_store, store_directory
from components.features.schema import (
    EXAMPLE_HISTORY,
    FEATURES,
    HISTORY_VIEW,
    PROJECT,
    PUSH_SOURCE,
    SERVICE,
    SHOPPER,
    SNAPSHOT_TIME,
    SPLITS,
    VERSION,
)
from components.features.step import build, materialise
from components.features.store import FeatureStoreClient
from tests.features.logs import three_days, write_log

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cluster(tmp_path, redis_server, monkeypatch) -> Path:
    """A log's sources, and the variables of the cluster environment: a database for the registry, one local Spark."""
    monkeypatch.setenv("TOWERLINE_REDIS", redis_server.address)
    monkeypatch.setenv("TOWERLINE_REGISTRY", f"sqlite:///{tmp_path}/registry.sqlite")
    monkeypatch.setenv("TOWERLINE_SPARK_MASTER", "local[1]")
    build(write_log(tmp_path / "log", *three_days()), tmp_path / "examples", tmp_path / "sources")
    return tmp_path / "sources"


def test_every_environment_has_a_configuration_of_the_same_project(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERLINE_REDIS", "10.0.0.5:6379,db=1")
    monkeypatch.setenv("TOWERLINE_REGISTRY", "sqlite:///registry.sqlite")
    monkeypatch.setenv("TOWERLINE_SPARK_MASTER", "local[1]")
    online = {}
    for environment in ENVIRONMENTS:
        config = load_config(environment, tmp_path)
        assert config.project == PROJECT
        online[environment] = config.online_store
    assert online["local"].path == str(tmp_path / "online.db")
    for environment in ("redis", "cluster"):
        assert online[environment].connection_string.startswith("10.0.0.5:6379,db=1,socket_timeout=")


def test_a_missing_variable_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("TOWERLINE_REGISTRY", raising=False)
    with pytest.raises(BadSetting, match="'cluster' needs the variable TOWERLINE_REGISTRY"):
        load_config("cluster", tmp_path)


def test_the_definitions_are_the_schema_under_versioned_names():
    from feature_repo.definitions import define

    definitions = define("sources")
    assert {feature.name for feature in definitions.view.features} == set(FEATURES)
    assert (definitions.view.name, definitions.service.name, definitions.push.name) == (
        HISTORY_VIEW,
        SERVICE,
        PUSH_SOURCE,
    )
    assert SERVICE.endswith(f"_v{VERSION}")


def test_feasts_own_command_line_finds_the_definitions(monkeypatch):
    from feast.repo_operations import parse_repo

    monkeypatch.chdir(ROOT)
    found = parse_repo(ROOT / "feature_repo")
    assert [view.name for view in found.feature_views] == [HISTORY_VIEW]
    assert [service.name for service in found.feature_services] == [SERVICE]
    assert PUSH_SOURCE in [source.name for source in found.data_sources]


def test_a_cluster_without_spark_at_hand_still_serves(cluster, tmp_path, monkeypatch):
    """The store is filled through Redis by another environment; the cluster's server then reads it."""
    materialise(cluster, tmp_path, "redis")
    apply_definitions("cluster", store_directory(tmp_path), cluster / "shopper_history")
    client = FeatureStoreClient(tmp_path, "cluster")
    client.warm()
    assert client.history("u1") == FeatureStoreClient(tmp_path, "redis").history("u1")


@pytest.fixture
def spark(monkeypatch) -> None:
    """Spark in this process; skips where it is not installed."""
    pytest.importorskip("pyspark", reason="pyspark is not installed (pip install towerline[spark])")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, which is not installed (Debian: apt-get install default-jre-headless)")
    for name in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):
        monkeypatch.setenv(name, sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))


def test_spark_joins_searches_to_the_histories_of_the_examples(cluster, tmp_path, spark):
    directory = store_directory(tmp_path)
    apply_definitions("cluster", directory, cluster / "shopper_history")
    store = open_store(load_config("cluster", directory, with_engine=True))
    examples = pa.concat_tables([pq.read_table(tmp_path / "examples" / f"{name}.parquet") for name in SPLITS])
    asked = examples.select(["user_id", "timestamp"]).rename_columns([SHOPPER, SNAPSHOT_TIME]).to_pandas()
    joined = store.get_historical_features(asked, store.get_feature_service(SERVICE)).to_df()
    found = {(row[SHOPPER], row[SNAPSHOT_TIME].value): row for row in joined.to_dict("records")}
    for row in examples.to_pylist():
        features = found[row["user_id"], pd.Timestamp(row["timestamp"]).value]
        for name, (feature, _) in EXAMPLE_HISTORY.items():
            value = features[feature]
            assert list(() if value is None else value) == row[name], name


def test_spark_fills_an_empty_store_and_changes_are_merged(cluster, tmp_path, spark):
    assert materialise(cluster, tmp_path, "cluster")["written"] == 4
    client = FeatureStoreClient(tmp_path, "cluster")
    names = list(History.empty().as_lists())
    for row in pq.read_table(cluster / "shopper_history" / "latest-00000.parquet").to_pylist():
        assert client.history(row["user_id"]) == History(**{name: row[name] for name in names})
    assert materialise(cluster, tmp_path, "cluster")["written"] == 0
