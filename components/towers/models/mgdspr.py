"""MGDSPR, *Embedding-based Product Retrieval in Taobao Search* (KDD 2021, arXiv 2106.09297), top to bottom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from components.common.settings import setting
from components.towers.catalogue import Catalogue
from components.towers.examples import Examples
from components.towers.fields import TOKEN_GROUPS
from components.towers.interfaces import ItemBatch, QueryBatch, Schema, StepContext, StepLoss, TrainingBatch
from components.towers.losses.mixed_hard_negatives import MixedHardNegatives
from components.towers.losses.sampled_softmax import SampledSoftmax
from components.towers.models.shared_negatives import encode_positives_and_negatives
from components.towers.negatives.uniform import Uniform
from components.towers.parts.behaviour import BehaviourEncoder, ItemFields
from components.towers.parts.fusion import ClsFusion, MeanFusion
from components.towers.parts.item_side import ItemSide
from components.towers.parts.item_tower import ItemTower
from components.towers.parts.pretrained_block import PretrainedBlock, fit_text, pretrained_block, with_text
from components.towers.parts.query_unit import QueryUnit, SegmentMean
from components.towers.parts.rates import table_and_dense_groups, with_own_rate
from components.towers.parts.title_axes import start_vectors, title_axes
from components.towers.parts.tokens import TokenTable
from components.towers.parts.unit_length import unit_length
from components.towers.settings import TEXT_VECTORS, TowerSettings
from components.towers.sharding import id_table
from components.towers.text import ONE_OR_MORE_UNITS, UNITS

_TITLES_FOR_AXES = 20_000
"""Titles that the axes are found from; more change them little and cost time."""


@dataclass(frozen=True)
class MgdsprSettings(TowerSettings):
    """Switches of the ablation (mgs, trm, tau as `temperature`, I_mix as `mixed_negatives`) and sizes of the parts."""

    mgs: bool = setting(True, "the six-row query unit; off: the mean of the segments alone")
    trm: bool = setting(True, "[CLS] fusion; off: the mean of the rows")
    history: bool = setting(True, "behaviours and past queries; off: the query alone")
    gram_1: str = setting("character_3grams", "unit of the paper's 1-gram; characters for Chinese")
    gram_2: str = setting("stem_bigrams", "unit of the paper's 2-gram; character_2grams for Chinese")
    title_units: tuple[str, ...] = setting(
        ("stems",), "units of the title; words as in the paper, which here also train fastest"
    )
    title_groups: tuple[str, ...] = setting((), "further token groups of a product: category, brand, attributes")
    title_length: float = setting(
        1.0, "1: mean of a title's words (MGDSPR); 0: their sum; near .2 as in BM25, with inner_product"
    )
    title_axes: int = setting(
        0, "directions in which titles differ most, found before training: token vectors start along them; 0: at random"
    )
    query_only_zero: bool = setting(False, "tokens that no title carries start at zero; at random they are noise")
    dense_rate: float = setting(1.0, "rate of all but embedding rows, as a share of the learning rate")
    weight_rate: float = setting(1.0, "rate of the token weights, as a multiple of the learning rate")
    item_side: bool = setting(True, "category, brand, shop, price level in the item tower; the paper has id and title")
    behaviour_titles: bool = setting(True, "title words as side information of behaviours; the paper lists none")
    behaviour_scale: float = setting(0.3, "first weight of behaviours beside the query, learned; the paper has none")
    attention_sharpness: float = setting(16.0, "first scale of the attention over behaviours, learned; 1 in the paper")
    behaviour_dropout: float = setting(0.2, "share of products left out of the windows in training")
    history_dropout: float = setting(0.2, "share of searches that train without their shopper's behaviours")
    heads: int = setting(4, "attention heads; MGDSPR has 8 of width 16, here 4 of them")
    segment_layers: int = setting(1, "transformer layers over the segments; the paper names no depth")
    fusion_layers: int = setting(1, "layers of the [CLS] fusion; the paper names no depth")
    lstm_layers: int = setting(2, "LSTM layers over the real-time window; MGDSPR's value, 0 leaves them out")
    lstm_dropout: float = setting(0.2, "dropout between LSTM layers; MGDSPR's value")
    mixed_negatives: int = setting(0, "N interpolated hard negatives an example; 684 in MGDSPR, at the price of recall")
    alpha_low: float = setting(0.4, "least share of the positive in an interpolated negative; MGDSPR's value")
    alpha_high: float = setting(0.6, "largest share of the positive in an interpolated negative; MGDSPR's value")
    detach_positive: bool = setting(False, "no gradient from interpolated negatives into the positive")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gram_1", "gram_2"):
            self.require(getattr(self, name) in UNITS, name, f"one of {', '.join(UNITS)}")
        self.require(bool(self.title_units) and set(self.title_units) <= set(UNITS), "title_units", ONE_OR_MORE_UNITS)
        self.require(set(self.title_groups) <= set(TOKEN_GROUPS), "title_groups", f"of {', '.join(TOKEN_GROUPS)}")
        self.require(self.dimension % self.heads == 0, "heads", f"a divisor of the dimension {self.dimension}")
        self.require(0 <= self.title_axes <= self.dimension, "title_axes", f"in [0, dimension {self.dimension}]")
        self.require(0 <= self.title_length <= 1, "title_length", "in [0, 1]")
        for name in ("fusion_layers", "heads"):
            self.require(getattr(self, name) >= 1, name, "1 or more")
        for name in ("dense_rate", "weight_rate", "behaviour_scale", "attention_sharpness"):
            self.require(getattr(self, name) > 0, name, "above 0")
        for name in ("lstm_layers", "mixed_negatives", "segment_layers"):
            self.require(getattr(self, name) >= 0, name, "0 or more")
        for name in ("lstm_dropout", "behaviour_dropout", "history_dropout"):
            self.require(0 <= getattr(self, name) < 1, name, "in [0, 1)")

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.gram_1, self.gram_2, self.word_unit, *self.title_units)))

    @property
    def query_units(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.gram_1, self.gram_2, self.word_unit))) if self.mgs else (self.word_unit,)

    @property
    def product_units(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.title_units, self.word_unit)))

    @property
    def unread(self) -> frozenset[str]:
        off = super().unread | (frozenset(TOKEN_GROUPS) - set(self.title_groups))
        if not (self.history and self.behaviour_titles):
            off |= {"behaviour_titles"}
        return off if self.history else off | {"behaviour", "past"}


class MGDSPR(nn.Module):
    """Query tower: six-row query unit, behaviours seen from the query, [CLS] fusion. Item tower: id and title.

    Args:
        settings: see `MgdsprSettings`. schema: sizes of the tables, and what the log has; without users the behaviour
            parts are not built.

    Beyond the paper, as settings: cosine score; token weights; character trigrams and bigrams for spaced languages; id
    dropout; titles pooled towards the sum of their distinct words, and token vectors that start along the titles; the
    product's category, brand, shop and price level in the item tower (`ItemSide`); first weights of the
    behaviours and of the attention over them. `score=inner_product`, `temperature=2`, `token_weights=uniform`,
    `id_dropout=0`, `item_side=false`, `behaviour_titles=false`, `behaviour_scale=1`, `attention_sharpness=1`,
    `behaviour_dropout=0`, `history_dropout=0`, `title_queries=0`, `mixed_negatives=684` and, of its sizes and rates,
    `dimension=128`, `heads=8`, `batch_size=256`, `learning_rate=0.1`, `adagrad_initial=0.1` is the paper's form, but
    for the price level among the behaviours' side information and the long-term streams, the cart among the actions,
    the way around the windows' self-attention, two scales that go on learning from 1, and the starts: ids at zero,
    tokens at random, layers at the identity or at zero, where the paper starts everything orthogonal.
    """

    name: ClassVar[str] = "mgdspr"
    Settings: ClassVar[type[MgdsprSettings]] = MgdsprSettings
    needs: ClassVar[frozenset[str]] = frozenset({"behaviour", "behaviour_titles", "past", TEXT_VECTORS, *TOKEN_GROUPS})
    unit: ClassVar[str] = "grouped"

    def __init__(self, settings: MgdsprSettings, schema: Schema) -> None:
        super().__init__()
        self.settings, self.schema, self.score = settings, schema, settings.score
        width, sparse = settings.dimension, settings.sparse_gradients
        self.tokens = TokenTable(schema.tokens, width, settings.token_weights == "idf", sparse)
        self.ids = id_table(schema.items, settings)
        if settings.mgs:
            units = (settings.gram_1, settings.gram_2, settings.word_unit)
            self.unit_rows: nn.Module = QueryUnit(
                self.tokens, width, units, settings.segment_layers, settings.heads, settings.max_query_tokens
            )
        else:
            self.unit_rows = SegmentMean(self.tokens, settings.word_unit)
        self.behaviour: BehaviourEncoder | None = None
        self.item_side: ItemSide | None = None
        if settings.history and schema.has.get("users"):
            titles = (self.tokens, settings.word_unit) if settings.behaviour_titles else None
            fields = ItemFields(self.ids, schema.codes, width, sparse, titles)
            self.behaviour = BehaviourEncoder(
                fields, width, settings.heads, settings.lstm_layers, settings.lstm_dropout,
                settings.behaviour_dropout, settings.history_dropout, settings.attention_sharpness,
                settings.behaviour_scale,
            )  # fmt: skip
            if settings.item_side:
                self.item_side = ItemSide(fields, width)
        self.fusion = ClsFusion(width, settings.heads, settings.fusion_layers) if settings.trm else MeanFusion()
        self.item_tower = ItemTower(
            self.tokens, self.ids, width, settings.title_units, settings.title_groups, settings.id_dropout,
            settings.title_length,
        )  # fmt: skip
        self.pretrained: PretrainedBlock | None = pretrained_block(settings, cosine=settings.score == "cosine")
        self.sampler = Uniform(settings.negatives)
        softmax = SampledSoftmax(settings.temperature, settings.log_q_correction)
        self.softmax = MixedHardNegatives(
            softmax, settings.mixed_negatives, settings.alpha_low, settings.alpha_high, settings.detach_positive,
            cosine=settings.score == "cosine",
        )  # fmt: skip

    def prepare(self, catalogue: Catalogue, examples: Examples) -> None:
        """Sets the initial weight of every token, the usual weight of a title, and what starts silent; fits the block
        of a pretrained encoder."""
        fit_text(self.pretrained, catalogue, examples, self.settings)
        self.tokens.set_weights(catalogue.token_weights)
        self.item_tower.set_usual(catalogue.text, catalogue.fields)
        if self.settings.title_axes:
            self._start_along_titles(catalogue)
        if self.settings.query_only_zero:
            bags = [catalogue.text[unit] for unit in self.settings.title_units]
            bags += [catalogue.fields[name] for name in self.settings.title_groups]
            silent = torch.ones(self.schema.tokens, dtype=torch.bool)
            silent[torch.cat([bag.values for bag in bags]).long()] = False
            self.tokens.silence(silent)
        if self.behaviour is not None:
            self.behaviour.fields.start_from_text(self.tokens, catalogue.code_text)

    def _start_along_titles(self, catalogue: Catalogue) -> None:
        generator = torch.Generator().manual_seed(self.settings.seed)
        sample = torch.randperm(len(catalogue), generator=generator)[:_TITLES_FOR_AXES]
        titles = self.item_tower.title_matrix(catalogue.text, sample)
        axes = title_axes(titles, self.settings.title_axes, generator)
        self.tokens.start_at(start_vectors(axes, self.settings.dimension, generator))

    def query(self, batch: QueryBatch) -> Tensor:
        """H_qu, [B, d] (Eq. 15); unit length if the score is cosine. With a pretrained encoder its part follows."""
        return with_text(self.pretrained, self._query(batch), batch.text_vectors, "query")

    def _query(self, batch: QueryBatch) -> Tensor:
        rows = self.unit_rows(batch)  # Q_mgs [B, G, d], G = 6
        parts = [rows]
        if self.behaviour is not None and batch.behaviour is not None:
            parts.extend(self.behaviour(rows, batch.behaviour))  # H_real, H_short, H_long, each [B, G, d]
        fused = self.fusion(torch.cat(parts, dim=1))  # 1 + 6 + 6 + 6 + 6 rows with [CLS]
        return self._scored(fused)

    def item(self, batch: ItemBatch) -> Tensor:
        """H_item, [M, d] (Eq. 16); unit length if the score is cosine. With a pretrained encoder its part follows."""
        return with_text(self.pretrained, self._scored(self._item(batch)), batch.text_vectors, "item")

    def loss(self, batch: TrainingBatch, context: StepContext) -> StepLoss:
        """Sampled softmax with temperature over shared and interpolated negatives (Eqs. 17 to 21)."""
        queries = self._query(batch.query)[batch.request]  # [B, d]
        salt = int(torch.randint(2**31, (1,), generator=context.generator))

        def encode(items: ItemBatch) -> Tensor:
            return self._scored(self._item(items, salt))

        positives, negatives = encode_positives_and_negatives(encode, queries, batch, context, self.sampler)
        total = self.softmax(
            queries, positives, negatives,
            positive_index=batch.positive_rows,
            extra_positives=batch.extra_positives,
            weights=batch.weights,
            generator=context.device_generator,
            search=batch.request,
        )  # fmt: skip
        return StepLoss(total, {"softmax": total.detach()})

    def attention(self, batch: QueryBatch) -> tuple[Tensor, Tensor] | None:
        """Attention on each real-time and short-term behaviour, [B, T] each; None without behaviours."""
        if self.behaviour is None or batch.behaviour is None:
            return None
        return self.behaviour.weights(self.unit_rows(batch), batch.behaviour)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Embedding rows, token weights and the rest, each at its rate; MGDSPR trains everything with one."""
        tables = [module for module in self.modules() if isinstance(module, nn.Embedding)]
        groups = table_and_dense_groups(self, tables, self.settings.dense_rate)
        return with_own_rate(groups, self.tokens.weight, self.settings.weight_rate)

    def _item(self, batch: ItemBatch, salt: int | None = None) -> Tensor:
        vectors = self.item_tower(batch, salt)  # [M, d]
        return vectors if self.item_side is None else vectors + self.item_side(batch)

    def _scored(self, vectors: Tensor) -> Tensor:
        return unit_length(vectors) if self.score == "cosine" else vectors
