"""Latency by stage is read from the server's own metrics."""

from prometheus_client import CollectorRegistry, generate_latest

from components.serving.metrics import Metrics
from components.serving.stages import stage_milliseconds


def exposition(**seconds: list[float]) -> str:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for stage, values in seconds.items():
        for value in values:
            metrics.stage_seconds.labels(stage).observe(value)
    return generate_latest(registry).decode()


def test_quantiles_lie_in_the_bucket_of_their_observation() -> None:
    found = stage_milliseconds(exposition(tower=[0.0025] * 98 + [0.06] * 2, search=[0.0003]))
    assert 2 <= found["tower"]["p50"] <= 3
    assert 50 <= found["tower"]["p99"] <= 75
    assert found["tower"]["mean"] == 3.65
    assert found["search"]["count"] == 1
    assert 0.2 <= found["search"]["p50"] <= 0.5


def test_past_the_last_bound_the_bound_is_given() -> None:
    assert stage_milliseconds(exposition(tower=[60.0]))["tower"]["p99"] == 5000


def test_stages_never_measured_are_left_out() -> None:
    registry = CollectorRegistry()
    Metrics(registry).stage_seconds.labels("tower")
    assert stage_milliseconds(generate_latest(registry).decode()) == {}
