"""Settings of the towers that all models share; each model adds its own in a subclass beside its code."""

from __future__ import annotations

from dataclasses import dataclass

from components.common.errors import BadSetting
from components.common.settings import setting
from components.towers.text import UNITS

SCORES = ("inner_product", "cosine")
PRETRAINED = ("none", "minilm")
TEXT_VECTORS = "text_vectors"
"""Batch field that models read if a pretrained encoder is named."""
SHARDINGS = ("none", "row", "torchrec")


@dataclass(frozen=True)
class TowerSettings:
    """What the data becomes and how training runs. The defaults suit a catalogue of thousands on two CPU cores."""

    # The towers
    dimension: int = setting(64, "width of both towers; 128 in MGDSPR, half of it trains a sample in minutes")
    score: str = setting("cosine", "inner_product (MGDSPR) or cosine; cosine trains steadily on small logs")
    temperature: float = setting(0.05, "softmax temperature; of a cosine 1/30 to 1/20, of an inner product 2 (MGDSPR)")

    # Text
    word_unit: str = setting("stems", "unit of segments: words, stems (English plurals) or segments (CJK)")
    token_weights: str = setting("idf", "idf: learned weight per token, starting at its IDF; uniform: plain means")
    idf_power: float = setting(1.0, "first weights are IDF to this power; .5: a shared word counts one IDF, as in BM25")
    min_token_count: int = setting(2, "a token in fewer titles and training queries goes to a hash bucket")
    hash_buckets: int = setting(5_000, "rows for tokens outside the vocabulary, shared by all units")
    max_tokens: int = setting(500_000, "at most this many known tokens, the most frequent ones")
    max_query_tokens: int = setting(32, "tokens of one unit kept of a query; longer ones are pasted text")
    max_title_tokens: int = setting(128, "tokens of one unit kept of a title")
    title_repeats: bool = setting(True, "a token counts as often as the title repeats it; off: once, nearly as in BM25")
    pretrained_text: str = setting(
        "none",
        "encoder whose similarity of query and title stands beside the towers' own: none, or minilm (extra text)",
    )
    pretrained_weight: float = setting(1.0, "weight of that similarity, in units of the towers' own score")
    pretrained_steps: int = setting(150, "steps of fitting a linear map of the encoder's vectors to the log; 0: none")
    spelling: bool = setting(False, "put words of a query right that no title has, by the nearest words of the titles")

    # Products
    min_item_count: int = setting(1, "a product engaged less often in training has no id vector, only its text")
    id_dropout: float = setting(0.3, "share of products that train without their id vector, so that text stands alone")
    title_queries: int = setting(1, "searches made from each title's words and mixed into training; 0: none")
    title_query_typos: float = setting(0.3, "share of them with a slip of the keyboard, so that typos land near")

    # History (lengths of MGDSPR; the windows themselves are a matter of the feature settings)
    past_queries: int = setting(10, "recent searches a query attends to; the paper names no number")
    graph_neighbours: int = setting(8, "neighbour queries drawn per product by models that read the graph")

    # Training
    seed: int = setting(17, "everything random follows from it")
    epochs: int = setting(5, "at most; early stopping may end before")
    batch_size: int = setting(512, "examples a step over all processes; 256 in MGDSPR, at double the cost")
    learning_rate: float = setting(0.03, "rate of Adagrad; 0.1 in MGDSPR, whose start of 0.1 makes first steps short")
    adagrad_initial: float = setting(1e-4, "first sum of squares of Adagrad; TensorFlow: 0.1; inner products want 1e-7")
    optimiser: str = setting("adagrad", "adagrad (MGDSPR), or adam with lazy updates of embedding rows")
    clip_norm: float = setting(3.0, "gradient norm above which gradients are scaled down; MGDSPR's value")
    negatives: int = setting(2_048, "random products that all examples of a batch share as negatives")
    log_q_correction: bool = setting(False, "correct scores for how often the sampler draws a product; off in MGDSPR")
    order_weight: float = setting(1.0, "weight of an order among positives, a click being 1; stages between are linear")
    patience: int = setting(3, "validations without a better recall before training stops")
    validations_per_epoch: int = setting(1, "how often validation recall is measured")
    validation_examples: int = setting(2_000, "validation searches used for early stopping, drawn once by the seed")
    validation_cutoff: int = setting(10, "K of the recall@K that early stopping watches")
    checkpoint_seconds: float = setting(60.0, "a killed training loses at most this much work")
    device: str = setting("auto", "cpu, cuda, or auto: cuda where there is one")
    precision: str = setting("auto", "float32, bfloat16, or auto: bfloat16 on cuda")
    threads: int = setting(0, "torch threads; 0 leaves torch's own choice")
    sparse_gradients: bool = setting(True, "update only the embedding rows of the batch")
    table_sharding: str = setting(
        "none", "id table over the processes of torchrun: none, row, or torchrec (by TorchRec)"
    )
    shard_above_megabytes: float = setting(1_024.0, "a smaller id table stays whole in every process")

    def __post_init__(self) -> None:
        self.require(self.score in SCORES, "score", f"one of {', '.join(SCORES)}")
        self.require(self.word_unit in UNITS, "word_unit", f"one of {', '.join(UNITS)}")
        self.require(self.pretrained_text in PRETRAINED, "pretrained_text", f"one of {', '.join(PRETRAINED)}")
        self.require(self.token_weights in ("idf", "uniform"), "token_weights", "idf or uniform")
        self.require(self.optimiser in ("adagrad", "adam"), "optimiser", "adagrad or adam")
        self.require(self.precision in ("auto", "float32", "bfloat16"), "precision", "auto, float32 or bfloat16")
        self.require(self.table_sharding in SHARDINGS, "table_sharding", f"one of {', '.join(SHARDINGS)}")
        self.require(
            self.table_sharding == "none" or self.sparse_gradients, "sparse_gradients", "true with table_sharding"
        )
        self.require(self.device.split(":")[0] in ("auto", "cpu", "cuda"), "device", "cpu, cuda or auto")
        self.require(0 <= self.id_dropout < 1, "id_dropout", "in [0, 1)")
        self.require(0 <= self.title_query_typos <= 1, "title_query_typos", "in [0, 1]")
        for name in (
            "dimension", "epochs", "batch_size", "negatives", "hash_buckets", "max_query_tokens", "max_title_tokens",
            "min_token_count", "min_item_count", "patience", "validations_per_epoch", "validation_examples",
            "validation_cutoff", "max_tokens",
        ):  # fmt: skip
            self.require(getattr(self, name) >= 1, name, "1 or more")
        for name in ("temperature", "learning_rate", "clip_norm", "order_weight", "idf_power", "pretrained_weight"):
            self.require(getattr(self, name) > 0, name, "above 0")
        for name in (
            "title_queries", "pretrained_steps", "past_queries", "graph_neighbours", "threads", "checkpoint_seconds",
            "seed", "shard_above_megabytes",
        ):  # fmt: skip
            self.require(getattr(self, name) >= 0, name, "0 or more")

    def require(self, holds: bool, name: str, expected: str) -> None:
        """Raises BadSetting naming the setting, what is expected and what was given."""
        if not holds:
            raise BadSetting(f"setting towers.{name} must be {expected}, not {getattr(self, name)!r}.")

    @property
    def units(self) -> tuple[str, ...]:
        """Text units that are tokenised for queries and titles; a model overrides it with the ones it reads."""
        return (self.word_unit,)

    @property
    def query_units(self) -> tuple[str, ...]:
        """Those of `units` of which the query tower reads queries; a training step prepares no others."""
        return self.units

    @property
    def product_units(self) -> tuple[str, ...]:
        """Those of `units` of which the towers read titles; a training step prepares no others."""
        return self.units

    @property
    def unread(self) -> frozenset[str]:
        """Of the batch fields in the model's `needs`, those that these settings switch off."""
        return frozenset() if self.pretrained_text != "none" else frozenset({TEXT_VECTORS})
