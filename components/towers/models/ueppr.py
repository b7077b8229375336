"""UEPPR, *Unified Embedding Based Personalized Retrieval in Etsy Search* (arXiv 2306.04833v2), top to bottom."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from components.towers.batches import query_scalars
from components.towers.catalogue import Catalogue
from components.towers.examples import Examples
from components.towers.fields import TOKEN_GROUPS
from components.towers.interfaces import (
    BRAND,
    DYNAMIC_HARD,
    IN_BATCH,
    LEAF,
    SHOP,
    UNIFORM,
    ItemBatch,
    Negatives,
    QueryBatch,
    Sampled,
    Sampler,
    SamplingContext,
    Schema,
    StepContext,
    StepLoss,
    TrainingBatch,
)
from components.towers.losses.multi_part_hinge import MultiPartHinge
from components.towers.models.ueppr_settings import UepprSettings
from components.towers.negatives.combine import Combine
from components.towers.negatives.dynamic_hard import DynamicHard, frozen
from components.towers.negatives.linear_schedule import LinearSchedule
from components.towers.negatives.processes import gathered
from components.towers.negatives.uniform import Uniform
from components.towers.parts.graph import GraphBranch
from components.towers.parts.location import LocationEncoder
from components.towers.parts.pretrained_block import PretrainedBlock, fit_text, pretrained_block, with_text
from components.towers.parts.product_encoder import ProductEncoder, code_tables
from components.towers.parts.query_generation import pretrain
from components.towers.parts.query_user_encoder import QueryUserEncoder
from components.towers.parts.rates import table_and_dense_groups
from components.towers.parts.scalars import QuantileTransform
from components.towers.parts.text_transformer import TitleTransformer
from components.towers.parts.tokens import TokenTable
from components.towers.parts.unit_length import unit_length
from components.towers.settings import TEXT_VECTORS

SOURCES = (UNIFORM, IN_BATCH, DYNAMIC_HARD)
"""Order of the weights in `start_weights` and `end_weights`."""


class UEPPR(nn.Module):
    """Both towers are feed-forward networks over grouped token averages, locations and scalars; the product also sees
    the queries that led to it, the query the shopper's recent searches and shops; multi-part hinge on the cosine.

    Args:
        settings: see `UepprSettings`. schema: sizes of the tables, and what the log has: branches whose data is
            missing are not built.

    Not in the contract and left out: postal codes, language, tags; words of clicked and bought titles stand for the
    tags of what was bought. Ours: an average for each text unit where the paper takes one over all of a field's tokens,
    the query's averages beside h, the way around the feed-forward layers, products that train without their graph, all
    values the paper does not name, favourites and clicks beside its two kinds of positives. The target query is left
    out of the neighbours of positives alone: a shared negative keeps all of its own, for all examples alike.
    """

    name: ClassVar[str] = "ueppr"
    Settings: ClassVar[type[UepprSettings]] = UepprSettings
    needs: ClassVar[frozenset[str]] = frozenset(
        {"past", "behaviour", "clicked_titles", "bought_titles", "location", "scalars", "graph", *TOKEN_GROUPS}
    ) | {TEXT_VECTORS}
    unit: ClassVar[str] = "grouped"

    def __init__(self, settings: UepprSettings, schema: Schema) -> None:
        super().__init__()
        self.settings, self.schema, self.score = settings, schema, settings.score
        width, sparse, units = settings.dimension, settings.sparse_gradients, settings.text_units
        tokens = TokenTable(schema.tokens, width, settings.token_weights == "idf", sparse)
        coded = {LEAF: "leaf", BRAND: "brand", SHOP: "shop"} if settings.codes else {}
        tables = code_tables(schema.codes, coded, width, sparse)
        place = None
        if settings.location and schema.has.get("locations"):
            place = LocationEncoder(settings.location_width, schema.codes["country"], settings.location_cells)
        self.query_user = QueryUserEncoder(
            tokens, units, settings.word_unit, tables.get(SHOP), settings.hidden, settings.heads,
            settings.history_layers, users=bool(schema.has.get("users")), location=place,
            scalars=QuantileTransform(len(schema.query_scalars)) if schema.query_scalars else None,
        )  # fmt: skip
        transformer = graph = None
        if settings.text_encoder == "transformer":
            transformer = TitleTransformer(tokens, settings.text_layers, settings.heads, settings.max_title_tokens)
        if settings.graph and schema.has.get("graph"):
            encode, stopped = self.query_user.averages, not settings.graph_gradient
            graph = GraphBranch(encode, width, stopped, settings.graph_dropout)
        self.product = ProductEncoder(
            tokens, units, settings.groups, tables, settings.hidden, place,
            QuantileTransform(len(schema.item_scalars)) if schema.item_scalars else None,
            transformer, graph, settings.word_unit,
        )  # fmt: skip
        self.pretrained: PretrainedBlock | None = pretrained_block(settings, cosine=True)
        self.uniform = Uniform(settings.negatives)
        self.dynamic = DynamicHard(settings.dynamic_pool, settings.dynamic_per_query)
        self.schedule = LinearSchedule(
            dict(zip(SOURCES, settings.start_weights, strict=True)),
            dict(zip(SOURCES, settings.end_weights, strict=True)),
            last=settings.schedule_end,
        )
        hardest = {DYNAMIC_HARD: settings.dynamic_per_query}
        if settings.hardest_in_batch:
            hardest[IN_BATCH] = settings.hardest_in_batch
        # Stage 0, shown only, never is a positive; its threshold is not used.
        self.hinge = MultiPartHinge((0.0, *settings.thresholds), settings.negative_threshold, hardest)

    def prepare(self, catalogue: Catalogue, examples: Examples) -> None:
        """Fits token weights, location cells and quantiles; pre-trains the title transformer if asked to."""
        encoder, product, seed = self.query_user, self.product, self.settings.seed
        encoder.tokens.set_weights(catalogue.token_weights)
        fit_text(self.pretrained, catalogue, examples, self.settings)
        if encoder.location is not None:
            coordinates = torch.stack([examples.location.latitude, examples.location.longitude], dim=1)
            encoder.location.fit(coordinates.numpy(), seed)
        if encoder.scalars is not None:
            encoder.scalars.fit(query_scalars(examples, torch.arange(len(examples))).numpy())
        if product.scalars is not None and catalogue.scalars is not None:
            product.scalars.fit(catalogue.scalars.numpy())
        if product.transformer is not None and self.settings.pretrain_steps:
            pretrain(product.transformer, catalogue, self.settings.word_unit, self.settings.pretrain_steps, seed)

    def query(self, batch: QueryBatch) -> Tensor:
        """Q(q, u), unit vectors [B, d]."""
        return with_text(self.pretrained, self._query(batch), batch.text_vectors, "query")

    def item(self, batch: ItemBatch, salt: int | None = None) -> Tensor:
        """P(p), unit vectors [M, d]; with a salt (training) some products go without their graph."""
        return with_text(self.pretrained, self._item(batch, salt), batch.text_vectors, "item")

    def _query(self, batch: QueryBatch) -> Tensor:
        return unit_length(self.query_user(batch))

    def _item(self, batch: ItemBatch, salt: int | None = None) -> Tensor:
        return unit_length(self.product(batch, salt))

    def loss(self, batch: TrainingBatch, context: StepContext) -> StepLoss:
        """Multi-part hinge over the sources of negatives whose weight is above 0 at this step."""
        queries = self._query(batch.query)[batch.request]  # [B, d]
        weights = self.schedule.weights(min(1.0, context.step / max(1, context.total_steps)))
        sampled = self._sample(batch, context, queries, weights)  # M rows
        # The positives of all processes come first, each without the query it is to be found by.
        positives = batch.global_positive_rows.cpu()  # [B_global]
        rows = torch.cat([positives, sampled.rows])  # [B_global + M]
        asked = torch.cat([gathered(batch.query_index).cpu(), torch.full_like(sampled.rows, -1)])  # [B_global + M]
        salt = int(torch.randint(2**31, (1,), generator=context.generator))
        vectors = self._item(context.items(rows, asked), salt)  # [B_global + M, d]
        source = torch.cat([torch.full(positives.shape, IN_BATCH, dtype=torch.int8), _sources(sampled)])
        total = self.hinge(
            queries,
            vectors[: positives.shape[0]][batch.rank_slice],
            Negatives(vectors, rows.to(vectors.device), source=source.to(vectors.device)),
            positive_index=batch.positive_rows,
            stages=batch.stages,
            extra_positives=batch.extra_positives,
            source_weights=weights,
            weights=batch.weights,
        )
        return StepLoss(total, {"hinge": total.detach()})

    def _sample(
        self, batch: TrainingBatch, context: StepContext, queries: Tensor, weights: dict[int, float]
    ) -> Sampled:
        """Uniform and dynamic hard rows of this step; in-batch negatives are the positives themselves."""

        def item_vectors(rows: Tensor) -> Tensor:
            with frozen(self):
                return self._item(context.items(rows))

        sampling = SamplingContext(
            context.catalogue_size, batch.global_positive_rows, context.counts, context.step, context.total_steps,
            queries.detach(), item_vectors,
        )  # fmt: skip

        def dynamic(context: SamplingContext, generator: torch.Generator) -> Sampled:
            return self.dynamic(context, generator, batch.extra_positives)

        candidates: list[tuple[int, Sampler]] = [(UNIFORM, self.uniform), (DYNAMIC_HARD, dynamic)]
        samplers = [sampler for code, sampler in candidates if weights[code] > 0]
        if not samplers:
            return Sampled(torch.zeros(0, dtype=torch.int64), source=torch.zeros(0, dtype=torch.int8))
        return Combine(*samplers)(sampling, context.generator)

    def attention(self, batch: QueryBatch) -> tuple[Tensor, Tensor] | None:
        """Attention on the shop of each real-time click, [B, T], and zeros for the short-term window, which UEPPR does
        not read; None without behaviours. Words of clicked and bought titles count beside it and are not in it."""
        shares = self.query_user.click_weights(batch)
        if shares is None or batch.behaviour is None:
            return None
        return shares, torch.zeros_like(batch.behaviour.short_term.mask, dtype=shares.dtype)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Tables of tokens and codes at the full rate, all else at `dense_rate` of it; the paper names no rates."""
        return table_and_dense_groups(self, (self.product.tokens, self.product.codes), self.settings.dense_rate)


def _sources(sampled: Sampled) -> Tensor:
    return torch.zeros_like(sampled.rows, dtype=torch.int8) if sampled.source is None else sampled.source
