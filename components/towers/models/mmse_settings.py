"""Settings of MMSE: mining, the two losses and the fusion. Only the paper's abstract is known, none of its values."""

from __future__ import annotations

from dataclasses import dataclass

from components.common.settings import setting
from components.towers.fields import TOKEN_GROUPS
from components.towers.losses.stage_ranking import PAIRS
from components.towers.settings import TowerSettings
from components.towers.text import ONE_OR_MORE_UNITS, UNITS

FUSIONS = ("concatenate", "multi_vector", "none")


@dataclass(frozen=True)
class MmseSettings(TowerSettings):
    """The margin is that of a sibling paper of MMSE's authors; the rest is ours, for logs of thousands of clicks."""

    temperature: float = setting(0.05, "softmax temperature of the retrieval loss; 1/30 in JD's EMNLP 2023 paper")
    post_fusion: str = setting(
        "concatenate",
        "concatenate: query-item plus shopper-item similarity as one inner product; multi_vector: several query "
        "vectors, soft maximum; none: query and shopper become one vector before scoring",
    )
    shopper_dimension: int = setting(16, "width of the shopper-item similarity behind the dimension, if concatenated")
    shopper_weight: float = setting(0.3, "first weight of the shopper-item similarity; it is learned")
    soft_maximum: float = setting(0.1, "beta of the soft maximum over query vectors, if multi_vector")
    ranking_weight: float = setting(0.5, "weight of the ranking loss beside the retrieval loss; 0 leaves it out")
    ranking: str = setting("hinge", "hinge or bpr")
    margin: float = setting(0.1, "margin of the hinge; that of JD's EMNLP 2023 paper")
    pairs: tuple[str, ...] = setting(PAIRS, "stage pairs that the ranking loss compares")
    mined_ordered: int = setting(2, "ordered items mined of a request")
    mined_clicked: int = setting(3, "clicked items mined of a request; favourites and carts count as clicked")
    mined_shown: int = setting(4, "shown but not clicked items mined of a request")
    ordered_weight: float = setting(2.0, "weight of an ordered item among a request's positives, a clicked being 1")
    shown_in_softmax: bool = setting(False, "shown items as negatives of the retrieval loss; they are mostly relevant")
    gram_1: str = setting("character_3grams", "first unit of the query; characters for Chinese")
    gram_2: str = setting("stem_bigrams", "second unit of the query; character_2grams for Chinese")
    title_units: tuple[str, ...] = setting(("stems",), "units of the title")
    title_groups: tuple[str, ...] = setting((), "further token groups of a product: category, brand, attributes")
    heads: int = setting(8, "attention heads")
    item_side: bool = setting(True, "category, brand, shop, price level in what a query is compared with")
    dense_rate: float = setting(1.0, "rate of attention and projections, as a share of the tables' rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.score == "cosine", "score", "cosine for mmse: its similarities are normalised before fusion")
        self.require(self.post_fusion in FUSIONS, "post_fusion", f"one of {', '.join(FUSIONS)}")
        self.require(self.ranking in ("hinge", "bpr"), "ranking", "hinge or bpr")
        self.require(set(self.pairs) <= set(PAIRS), "pairs", f"of {', '.join(PAIRS)}")
        for name in ("gram_1", "gram_2"):
            self.require(getattr(self, name) in UNITS, name, f"one of {', '.join(UNITS)}")
        self.require(bool(self.title_units) and set(self.title_units) <= set(UNITS), "title_units", ONE_OR_MORE_UNITS)
        self.require(set(self.title_groups) <= set(TOKEN_GROUPS), "title_groups", f"of {', '.join(TOKEN_GROUPS)}")
        self.require(self.dimension % self.heads == 0, "heads", f"a divisor of the dimension {self.dimension}")
        self.require(self.ranking_weight >= 0, "ranking_weight", "0 or more")
        for name in ("soft_maximum", "shopper_weight", "margin", "ordered_weight", "dense_rate"):
            self.require(getattr(self, name) > 0, name, "above 0")
        for name in ("mined_ordered", "mined_clicked", "mined_shown"):
            self.require(getattr(self, name) >= 0, name, "0 or more")
        self.require(self.shopper_dimension >= 1, "shopper_dimension", "1 or more")

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.gram_1, self.gram_2, self.word_unit, *self.title_units)))

    @property
    def query_units(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.gram_1, self.gram_2, self.word_unit)))

    @property
    def product_units(self) -> tuple[str, ...]:
        return self.title_units

    @property
    def unread(self) -> frozenset[str]:
        return super().unread | (frozenset(TOKEN_GROUPS) - set(self.title_groups))
