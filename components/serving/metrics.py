"""Prometheus metrics of the server, with buckets fine enough to see a tenth of a millisecond."""

import os
from typing import Any

SECONDS = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2,
    0.3, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip


def keep_metrics_in_memory() -> None:
    """Makes prometheus_client count in this process's memory: a server is one process.

    Importing Feast, here or in the process that started this one, switches it to files shared between processes through
    an environment variable that is read when prometheus_client is first imported.
    """
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    import prometheus_client  # noqa: F401


class Metrics:
    """All metrics of one server, registered with `registry` (the process-wide one when None).

    `stage_seconds{stage}`: features, tower, search, control, queue, request. `requests_total{model,outcome}`: ok,
    degraded, bad, overloaded, failed. `degraded_total{dependency}`, `cache_total{design,result}`, `batch_size`,
    `waiting`, `controlled_share` (share of fetched products that relevance control removed), `release_info{release,
    role}`, `release_events_total{event}`: loaded, load_failed, canary_stopped. `events_total{action}`: behaviours.
    `recorded_searches_total{outcome}`: searches for the shopper's history: written, repeated, dropped, failed.
    `http_responses_total{status}`: answers of every path.
    """

    def __init__(self, registry: Any = None) -> None:
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram

        kept: dict[str, Any] = {"registry": registry or REGISTRY, "namespace": "towerline"}
        self.stage_seconds = Histogram("stage_seconds", "Time of each stage", ["stage"], buckets=SECONDS, **kept)
        self.requests = Counter("requests_total", "Instances answered", ["model", "outcome"], **kept)
        self.degraded = Counter("degraded_total", "Instances degraded", ["dependency"], **kept)
        self.cache = Counter("cache_total", "Cache look-ups", ["design", "result"], **kept)
        self.batch_size = Histogram(
            "batch_size", "Instances per batch", buckets=(1, 2, 4, 8, 16, 24, 32, 48, 64), **kept
        )
        self.waiting = Gauge("waiting", "Instances waiting or in work", **kept)
        self.controlled_share = Histogram(
            "controlled_share", "Share of fetched products that relevance control removed",
            buckets=(0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 0.9, 1.0), **kept,
        )  # fmt: skip
        self.release_info = Gauge("release_info", "1 for a loaded release", ["release", "role"], **kept)
        self.release_events = Counter("release_events_total", "Changes of releases", ["event"], **kept)
        self.responses = Counter("http_responses_total", "HTTP answers", ["status"], **kept)
        self.recorded = Counter("recorded_searches_total", "Searches for the history", ["outcome"], **kept)
        self.events = Counter("events_total", "Behaviours taken in", ["action"], **kept)

    def show_releases(self, roles: dict[str, str]) -> None:
        """Makes `release_info` hold exactly these roles (stable, canary, previous) and their release ids."""
        self.release_info.clear()
        for role, release_id in roles.items():
            self.release_info.labels(release=release_id, role=role).set(1)
