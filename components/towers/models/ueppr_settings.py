"""Settings of UEPPR: the switches of its ablations (Tables I to III) and the sizes of its parts."""

from __future__ import annotations

from dataclasses import dataclass

from components.common.settings import setting
from components.towers.fields import TOKEN_GROUPS
from components.towers.parts.location import CELLS
from components.towers.settings import TowerSettings
from components.towers.text import ONE_OR_MORE_UNITS, UNITS


@dataclass(frozen=True)
class UepprSettings(TowerSettings):
    """Where the paper names no value, the value is ours and the reason says so."""

    optimiser: str = setting("adam", "adam, because the hinge's gradients are small and Adagrad's steps with them")
    learning_rate: float = setting(0.005, "initial rate of the tables; the paper names none")
    dense_rate: float = setting(0.2, "rate of the feed-forward and attention layers, as a share of the tables' rate")
    negatives: int = setting(1_024, "random products that all examples of a batch share as negatives")
    hidden: int = setting(256, "width of the feed-forward layers; the paper names none")
    heads: int = setting(4, "attention heads of the transformers; the paper names none")
    text_units: tuple[str, ...] = setting(
        ("stems", "stem_bigrams", "character_3grams"), "units of queries and titles; UEPPR: words, bigrams, trigrams"
    )
    groups: tuple[str, ...] = setting(TOKEN_GROUPS, "token groups of a product beside its title")
    codes: bool = setting(True, "a learned vector for each leaf category, brand and shop")
    history_layers: int = setting(1, "layers of the event transformer; UEPPR's value, 0 leaves the shopper out")
    graph: bool = setting(True, "queries that led to a product, as a feature of it")
    graph_gradient: bool = setting(False, "train through the graph; UEPPR stops the gradient, or it over-fits")
    graph_dropout: float = setting(0.3, "share of products that train without their graph, as new ones are")
    location: bool = setting(True, "location cells and country of shoppers and products")
    location_cells: tuple[int, ...] = setting(CELLS, "numbers of K-means cells; fewer suit a log of few places")
    location_width: int = setting(16, "width of a location vector; the paper names none")
    scalars: bool = setting(True, "quantiles of price, rating, reviews and sales, and of the shopper's numbers")
    text_encoder: str = setting("none", "transformer over the title: none or transformer; +0.6 % of recall for UEPPR")
    text_layers: int = setting(2, "layers of the title transformer; UEPPR takes T5-small")
    pretrain_steps: int = setting(0, "steps of pre-training the title transformer by generating queries; 0: none")
    thresholds: tuple[float, ...] = setting(
        (0.6, 0.7, 0.8, 0.9), "score wanted of a click, favourite, cart, order; Amazon has 0.9 for a purchase"
    )
    negative_threshold: float = setting(0.2, "score above which a negative costs; Amazon's value")
    hardest_in_batch: int = setting(8, "other queries' positives an example trains on, the most similar; 0: all")
    dynamic_pool: int = setting(1_024, "products scored without gradient to find dynamic hard negatives")
    dynamic_per_query: int = setting(2, "dynamic hard negatives an example trains on")
    start_weights: tuple[float, ...] = setting((1.0, 0.0, 0.0), "weights of uniform, in-batch, dynamic hard at first")
    end_weights: tuple[float, ...] = setting((0.2, 0.4, 0.4), "the same at the end; equal to the start: no schedule")
    schedule_end: float = setting(0.5, "share of the epochs after which the weights stay; early stopping comes later")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.score == "cosine", "score", "cosine for ueppr, whose thresholds are cosines")
        self.require(bool(self.text_units) and set(self.text_units) <= set(UNITS), "text_units", ONE_OR_MORE_UNITS)
        self.require(set(self.groups) <= set(TOKEN_GROUPS), "groups", f"of {', '.join(TOKEN_GROUPS)}")
        self.require(self.text_encoder in ("none", "transformer"), "text_encoder", "none or transformer")
        self.require(self.dimension % self.heads == 0, "heads", f"a divisor of the dimension {self.dimension}")
        self.require(len(self.thresholds) == 4, "thresholds", "four numbers: click, favourite, cart, order")
        cells = self.location_cells
        self.require(bool(cells) and min(cells) >= 1, "location_cells", "one or more numbers of 1 or more")
        for name in ("start_weights", "end_weights"):
            weights = getattr(self, name)
            self.require(len(weights) == 3 and min(weights) >= 0, name, "three numbers of 0 or more")
        for name in ("hidden", "heads", "location_width", "text_layers", "dynamic_pool", "dynamic_per_query"):
            self.require(getattr(self, name) >= 1, name, "1 or more")
        self.require(0 <= self.graph_dropout < 1, "graph_dropout", "in [0, 1)")
        self.require(self.dense_rate > 0, "dense_rate", "above 0")
        self.require(0 < self.schedule_end <= 1, "schedule_end", "in (0, 1]")
        for name in ("history_layers", "pretrain_steps", "hardest_in_batch"):
            self.require(getattr(self, name) >= 0, name, "0 or more")

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.word_unit, *self.text_units)))

    @property
    def unread(self) -> frozenset[str]:
        off = super().unread | (frozenset(TOKEN_GROUPS) - set(self.groups))
        if not self.history_layers:
            off |= {"past", "behaviour", "clicked_titles", "bought_titles"}
        switches = ("graph", "location", "scalars")
        return off | {name for name in switches if not getattr(self, name)}
