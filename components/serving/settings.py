"""Every setting of the endpoint in one place, with the reason for its default."""

from dataclasses import dataclass, fields

from components.common.errors import BadSetting
from components.common.settings import setting

ROLES = ("all", "transformer", "predictor")
ENVIRONMENTS = ("auto", "local", "redis", "cluster")
CACHES = ("off", "session", "features", "both")
_MAY_BE_ZERO = ("batch_window_ms", "drain_seconds", "canary_error_share", "smoke_overlap")


@dataclass(frozen=True)
class ServingSettings:
    """Settings of one server process. Names say the unit: milliseconds, seconds, bytes or entries."""

    host: str = setting("127.0.0.1", "loopback: nothing is offered to a network unless asked for")
    port: int = setting(8080, "KServe's own default; 0 lets the system choose a free one")
    grpc_port: int = setting(0, "Open Inference over gRPC; 0 leaves it off, 8081 is KServe's default")
    role: str = setting("all", "all in one process; on a cluster `transformer` calls a `predictor` for the query tower")
    predictor_url: str = setting("", "base URL of the predictor's server, needed by the role `transformer`")
    environment: str = setting("auto", "the feature store: local, redis, cluster, or auto: that of the release")
    clock: str = setting("auto", "auto, wall, or log: go on from the log's end (auto: for simulated and old logs)")
    page: bool = setting(True, "the search page and the look-ups that only the page needs")

    feature_budget_ms: float = setting(100.0, "a store takes 1 to 7 ms; past this a shopper is anonymous")
    tower_budget_ms: float = setting(1000.0, "a full batch takes 60 ms on a quiet core; past this the tower hangs")
    search_budget_ms: float = setting(500.0, "one search takes 1 to 10 ms, a full batch 150; a Milvus server more")
    queue_budget_ms: float = setting(1000.0, "a request that waited longer is refused: its client has given up")
    event_budget_ms: float = setting(1000.0, "a push takes 10 to 100 ms; past this the client gets 503")
    breaker_failures: int = setting(5, "failures in a row after which a dependency is left alone for a while")
    breaker_seconds: float = setting(2.0, "how long it is left alone before one request tries it again")
    dependency_threads: int = setting(4, "calls under way per dependency; a hanging one blocks no more than these")

    capacity: int = setting(256, "instances waiting or in work; past it the server answers 503 at once")
    retry_after_seconds: int = setting(1, "what a 503 tells the client to wait")
    max_batch: int = setting(32, "instances per call of the tower and the index")
    batch_window_ms: float = setting(0.0, "extra wait to fill a batch; 0: whatever queued while the last batch ran")
    parallel_batches: int = setting(2, "batches in work at once; one per core")

    cache: str = setting("both", "off, session (by session id, short), features (by their content, long) or both")
    session_cache_seconds: float = setting(10.0, "paging and going back; short, as behaviours may arrive elsewhere")
    feature_cache_seconds: float = setting(600.0, "long is safe: the key holds everything the tower sees")
    cache_entries: int = setting(5000, "replies kept per design; one reply of 100 products takes about 4 kB")
    last_good_entries: int = setting(2000, "queries whose last good result is kept for when the index is down")

    default_k: int = setting(100, "products returned when a request names no k")
    max_k: int = setting(1000, "the deepest list a request may ask for")
    relevance: bool = setting(True, "key terms of the query filter the result (relevance control of MGDSPR)")
    max_query_bytes: int = setting(1024, "longer text is no query")
    max_id_bytes: int = setting(256, "longest user id, session id or filter value")
    max_instances: int = setting(64, "searches in one HTTP request")
    max_events: int = setting(100, "behaviours in one request of /v1/events")
    max_history: int = setting(1000, "behaviours a request may bring with it")
    max_body_bytes: int = setting(1 << 20, "longest request body")

    keep_previous: bool = setting(True, "the release served before stays in memory: a rollback is one assignment")
    watch_seconds: float = setting(0.5, "how often `current` and rollout.json are looked at")
    canary_window: int = setting(1000, "latest requests of a canary that its budget is judged on")
    canary_min_requests: int = setting(100, "fewer than this prove nothing")
    canary_error_share: float = setting(0.02, "failed or degraded by tower or index; past it the canary is stopped")
    canary_p99_ms: float = setting(500.0, "99th percentile of its request time; past it the canary is stopped")

    record_searches: bool = setting(True, "a shopper's search joins the history the next one is answered with")
    record_share: float = setting(0.1, "share of one core that writing them may take; what comes faster is dropped")
    record_waiting: int = setting(1000, "searches that may wait to be written")
    record_again_seconds: float = setting(60.0, "the same query of the same shopper within this time is paging")

    drain_seconds: float = setting(0.0, "not ready but still answering after SIGTERM, for a load balancer to notice")
    grace_seconds: int = setting(20, "requests under way at shutdown may take this long to finish")
    access_log: bool = setting(True, "one JSON line per request on stderr")
    log_level: str = setting("INFO", "DEBUG, INFO, WARNING or ERROR")

    smoke_start_seconds: float = setting(120.0, "start to ready takes 10 s quiet, several times that on a busy machine")
    smoke_requests: int = setting(200, "latency sample of the smoke test; golden queries are repeated up to it")
    smoke_p99_ms: float = setting(500.0, "99th percentile allowed on one connection, without cache")
    smoke_vector_tolerance: float = setting(1e-4, "largest difference of any vector component to the stored vector")
    smoke_overlap: float = setting(0.99, "mean share of the stored products that come back")

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise BadSetting(f"serving.role must be one of {', '.join(ROLES)}, not {self.role!r}.")
        if self.cache not in CACHES:
            raise BadSetting(f"serving.cache must be one of {', '.join(CACHES)}, not {self.cache!r}.")
        if self.environment not in ENVIRONMENTS:
            known = ", ".join(ENVIRONMENTS)
            raise BadSetting(f"serving.environment must be one of {known}, not {self.environment!r}.")
        if self.clock not in ("auto", "wall", "log"):
            raise BadSetting(f"serving.clock must be auto, wall or log, not {self.clock!r}.")
        if self.role == "transformer" and not self.predictor_url.startswith(("http://", "https://")):
            raise BadSetting("serving.predictor_url must be an http(s) URL when serving.role is transformer.")
        for name in ("port", "grpc_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise BadSetting(f"serving.{name} must be between 0 and 65535, not {getattr(self, name)}.")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str | bool) or field.name in ("port", "grpc_port"):
                continue
            if value < 0 or (value == 0 and field.name not in _MAY_BE_ZERO):
                raise BadSetting(f"serving.{field.name} must be more than 0, not {value}.")
        if self.dependency_threads <= self.parallel_batches:
            raise BadSetting(
                f"serving.dependency_threads ({self.dependency_threads}) must be more than serving.parallel_batches "
                f"({self.parallel_batches}), or batches would refuse each other."
            )
        if self.record_share > 1:
            raise BadSetting(f"serving.record_share is a share between 0 and 1, not {self.record_share}.")
        if self.default_k > self.max_k:
            raise BadSetting(f"serving.default_k ({self.default_k}) is more than serving.max_k ({self.max_k}).")
        if self.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise BadSetting(f"serving.log_level must be DEBUG, INFO, WARNING or ERROR, not {self.log_level!r}.")
