"""Settings of the index room: how a catalogue is embedded, stored, tuned, verified and searched."""

from dataclasses import dataclass

from components.common.errors import BadSetting
from components.common.settings import setting

ENGINES = ("exact", "ivf_flat", "hnsw", "ivf_pq")
PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class IndexSettings:
    """Every choice of the index; the defaults suit a catalogue of a few thousand to a few hundred thousand products."""

    # Embedding
    embed_batch: int = setting(2048, "products a batch through the item tower; bounds memory, larger is no faster")

    encoder: str = setting("onnx", "runs the towers as they will be served; torch runs them as they were trained")

    # Milvus
    upsert_batch: int = setting(4000, "rows an upsert; below Milvus' 64 MB message limit up to 1,024 dimensions")
    milvus_index: str = setting("auto", "index type in Milvus; auto: FLAT in Lite, HNSW (IVF_SQ8 for int8) on a server")
    milvus_timeout: float = setting(60.0, "seconds for one administrative Milvus call before it counts as unavailable")

    # Search
    search: str = setting("auto", "resident, milvus, or auto: milvus when the release lies on a Milvus server")
    search_timeout: float = setting(1.0, "seconds for one search on a Milvus server before it counts as unavailable")
    precision: str = setting("float32", "how vectors are held for search; float16 and int8 are re-ranked by float32")
    engines: tuple[str, ...] = setting(("exact", "ivf_flat", "hnsw"), "resident engines that tuning may choose from")
    exact_up_to: int = setting(200_000, "products up to which exact search is preferred: it stays below 10 ms")
    latency_ms: float = setting(10.0, "p50 of one search that exact search must keep to be preferred")

    # Tuning and verification
    recall_k: int = setting(100, "depth at which an index is compared with exact search")
    target_recall: float = setting(0.99, "least recall@recall_k against exact search; less stops the run")
    tuning_queries: int = setting(256, "real queries, by their vectors, on which index parameters are searched for")
    verify_sample: int = setting(512, "products read back from the store and compared bit for bit")

    # Relevance control
    relevance: str = setting("inside", "off, after (filter the found list) or inside (search only what matches)")
    key_support: int = setting(3, "products that must have a value before it can become a key term")
    key_precision: float = setting(0.5, "share of titles with the value's words that really have the value")
    key_agreement: float = setting(
        0.9, "share of engaged products that must carry a kind's key terms for it to be used"
    )
    relevance_minimum: int = setting(10, "survivors below which the least reliable key term is given up")
    relevance_fetch: int = setting(3, "times k that is searched when key terms will filter the list")

    # Product boosting
    boosting: str = setting("auto", "on, off, or auto: on for the model ueppr, whose paper it is from")
    boosting_trials: int = setting(60, "trials of the weight search; about 10 ms each on a small catalogue")
    boosting_queries: int = setting(1000, "purchasing searches the weights are tuned and checked on")

    # Release
    relevance_searches: int = setting(2000, "searches of the log on which key terms are checked and survival measured")
    golden_requests: int = setting(24, "requests stored with vectors and products, replayed before promotion")
    seed: int = setting(17, "of every random choice here")

    def __post_init__(self) -> None:
        choices = {
            "encoder": ("onnx", "torch"),
            "search": ("auto", "resident", "milvus"),
            "precision": PRECISIONS,
            "relevance": ("off", "after", "inside"),
            "boosting": ("auto", "on", "off"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise BadSetting(f"index.{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}.")
        unknown = [name for name in self.engines if name not in ENGINES]
        if unknown or not self.engines:
            given = ", ".join(unknown) or "none"
            raise BadSetting(f"index.engines must name some of {', '.join(ENGINES)}, not {given}.")
        counts = ("embed_batch upsert_batch recall_k tuning_queries verify_sample key_support relevance_minimum "
                  "relevance_fetch boosting_trials boosting_queries exact_up_to relevance_searches")  # fmt: skip
        for name in counts.split():
            if getattr(self, name) < 1:
                raise BadSetting(f"index.{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("target_recall", "key_precision", "key_agreement"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise BadSetting(f"index.{name} is a share between 0 and 1, not {getattr(self, name)}.")
        for name in ("milvus_timeout", "search_timeout", "latency_ms"):
            if not getattr(self, name) > 0.0:
                raise BadSetting(f"index.{name} must be above 0, not {getattr(self, name)}.")
        if self.seed < 0:
            raise BadSetting(f"index.seed must not be negative, not {self.seed}.")
        if self.golden_requests < 20:
            raise BadSetting(f"index.golden_requests must be at least 20, not {self.golden_requests}.")
