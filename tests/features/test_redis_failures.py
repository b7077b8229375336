"""A Redis that is gone or hangs is `Unavailable` soon, and comes back without a restart of the server."""

import os
import signal
import time

import pytest

from components.common.errors import Unavailable
from components.features.history import Behaviour
from components.features.step import build, materialise
from components.features.store import FeatureStoreClient
from tests.features.logs import START_US, three_days, write_log


@pytest.fixture
def client(tmp_path, redis_server, monkeypatch) -> FeatureStoreClient:
    monkeypatch.setenv("TOWERLINE_REDIS", redis_server.address)
    log = write_log(tmp_path / "log", *three_days())
    build(log, tmp_path / "examples", tmp_path / "sources")
    materialise(tmp_path / "sources", tmp_path / "work", "redis")
    client = FeatureStoreClient(tmp_path / "work", "redis")
    client.warm()
    return client


def test_a_hanging_redis_is_unavailable_within_its_timeout_and_recovers(client, redis_server):
    before = client.history("u1")
    os.kill(redis_server.process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            client.history("u1")
        assert time.monotonic() - started < 2
    finally:
        os.kill(redis_server.process.pid, signal.SIGCONT)
    assert client.history("u1") == before


def test_a_redis_that_is_gone_is_unavailable_to_readers_and_writers(client, redis_server):
    redis_server.process.kill()
    redis_server.process.wait()
    with pytest.raises(Unavailable, match="gives no answer"):
        client.history("u1")
    with pytest.raises(Unavailable):
        client.push("u1", Behaviour(START_US, "p1", "click"))


def test_a_redis_that_is_not_there_stops_materialisation_with_a_sentence(client, redis_server, tmp_path):
    redis_server.process.kill()
    redis_server.process.wait()
    with pytest.raises(Unavailable, match=r"the online feature store \(redis"):
        materialise(tmp_path / "sources", tmp_path / "work", "redis")
