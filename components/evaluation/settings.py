"""The one place for what evaluation and the quality gate can be told."""

from dataclasses import dataclass

from components.common.errors import BadSetting
from components.common.settings import setting

FIXED_METRICS = ("ndcg@10", "judged_ndcg@10", "good_rate@10", "good_rate@100")
"""What is measured beside recall@K and purchase_recall@K, whose K are settings."""


def check_language(name: str) -> None:
    """Raises BadSetting for a language of BM25 that has no stemmer, with those that have one."""
    if name == "english" or name.lower() == "none":
        return
    import Stemmer

    if name not in (known := Stemmer.algorithms()):
        raise BadSetting(f"evaluation.language {name!r} has no stemmer; known: none, {', '.join(known)}.")


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings of evaluation and of the quality gate, with the reason for each default."""

    seed: int = setting(17, "orders equal scores, samples searches and draws the bootstrap; kept in the result")
    cutoffs: tuple[int, ...] = setting((1, 10, 100, 1000), "K of recall@K: first product, first page, UEPPR, MGDSPR")
    max_searches: int = setting(4000, "test searches measured; more narrows the intervals little and costs time")
    positive_from: float | None = setting(None, "smallest grade that counts as relevant; none takes the log's own")
    engine: str = setting("onnx", "runs the towers as they will be served; torch runs them as they were trained")
    encode_batch: int = setting(1024, "requests or products encoded at once")
    memory_mb: int = setting(256, "memory of one block of exact search")
    bootstrap_samples: int = setting(1000, "resamples behind each interval; enough for two digits of a 95 % interval")
    confidence: float = setting(0.95, "probability mass inside each interval")
    bm25_k1: float = setting(1.5, "saturation of repeated words, the default of the bm25s library")
    bm25_b: float = setting(0.75, "strength of length normalisation, the default of the bm25s library")
    language: str = setting("english", "language of stemming and stop words; none takes words as they are")
    head_share: float = setting(1 / 3, "head: the most frequent queries that make up this share of training searches")
    torso_share: float = setting(1 / 3, "torso: the next queries that make up this share; the rest is tail")

    gate_metrics: tuple[str, ...] = setting(
        ("recall@10", "recall@100"), "what the gate compares: the page and the list"
    )
    tolerance: float = setting(0.01, "points all searches may lose against the current release")
    slice_tolerance: float = setting(0.03, "points one slice may lose against the current release")
    lexical_margin: float = setting(0.1, "points the model may lie below BM25, which a shop runs beside it")
    minimum_searches: int = setting(30, "fewer test searches cannot open the gate")
    minimum_slice: int = setting(100, "a smaller slice is shown but not judged: its interval says little")
    require_current: bool = setting(True, "closed when the current release could not be measured")

    def __post_init__(self) -> None:
        if not self.cutoffs or min(self.cutoffs) < 1 or list(self.cutoffs) != sorted(set(self.cutoffs)):
            raise BadSetting(f"evaluation.cutoffs must be rising numbers from 1, not {self.cutoffs}.")
        for name in ("max_searches", "encode_batch", "memory_mb", "minimum_searches", "minimum_slice"):
            if getattr(self, name) < 1:
                raise BadSetting(f"evaluation.{name} must be at least 1, not {getattr(self, name)}.")
        if self.bootstrap_samples < 100:
            raise BadSetting(f"evaluation.bootstrap_samples must be at least 100, not {self.bootstrap_samples}.")
        if not 0.5 <= self.confidence < 1:
            raise BadSetting(f"evaluation.confidence must lie in [0.5, 1), not {self.confidence}.")
        for name in ("tolerance", "slice_tolerance", "lexical_margin"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadSetting(f"evaluation.{name} must lie in [0, 1] (points of recall), not {getattr(self, name)}.")
        if not (self.head_share > 0 and self.torso_share > 0 and self.head_share + self.torso_share < 1):
            raise BadSetting("evaluation.head_share and torso_share must be positive and sum to less than 1.")
        if self.engine not in ("onnx", "torch"):
            raise BadSetting(f"evaluation.engine must be onnx or torch, not {self.engine!r}.")
        if not self.bm25_k1 > 0 or not 0 <= self.bm25_b <= 1:
            raise BadSetting("evaluation.bm25_k1 must be above 0 and bm25_b in [0, 1].")
        check_language(self.language)
        if self.seed < 0:
            raise BadSetting(f"evaluation.seed must not be negative, not {self.seed}.")
        if not self.gate_metrics:
            raise BadSetting("evaluation.gate_metrics must name at least one metric, such as recall@10.")
        recalls = [f"{kind}@{cutoff}" for kind in ("recall", "purchase_recall") for cutoff in self.cutoffs]
        for metric in self.gate_metrics:
            if metric not in (*recalls, *FIXED_METRICS):
                known = ", ".join((*recalls, *FIXED_METRICS))
                raise BadSetting(f"evaluation.gate_metrics names {metric!r}, which is not measured; known: {known}.")
