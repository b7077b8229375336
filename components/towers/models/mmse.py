"""MMSE, *Learning Multi-Stage Multi-Grained Semantic Embeddings for E-Commerce Search* (arXiv 2303.11009).

Only the abstract of the paper is known. From it: four kinds of item per request (ordered, clicked, shown but not
clicked, random), a post-fusion of similarities, and an objective of a retrieval loss (global) and a ranking loss
(local). Everything else here is ours: both towers, both losses' formulas, what is fused, every number.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from components.towers.catalogue import Catalogue
from components.towers.examples import Examples
from components.towers.fields import TOKEN_GROUPS
from components.towers.interfaces import (
    ItemBatch,
    Negatives,
    QueryBatch,
    SamplingContext,
    Schema,
    StepContext,
    StepLoss,
    TrainingBatch,
)
from components.towers.losses.sampled_softmax import SampledSoftmax, softmax_loss
from components.towers.losses.scores import InnerProduct, SoftMaximum
from components.towers.losses.stage_ranking import StageRanking
from components.towers.models.mmse_settings import MmseSettings
from components.towers.negatives.request_mining import Mined, RequestMining
from components.towers.negatives.uniform import Uniform
from components.towers.parts.behaviour import ItemFields
from components.towers.parts.item_side import ItemSide
from components.towers.parts.item_tower import ItemTower
from components.towers.parts.pretrained_block import PretrainedBlock, fit_text, pretrained_block, with_text
from components.towers.parts.query_unit import ROWS, QueryUnit
from components.towers.parts.rates import table_and_dense_groups
from components.towers.parts.shopper import ShopperEncoder
from components.towers.parts.tokens import TokenTable
from components.towers.parts.unit_length import unit_length
from components.towers.settings import TEXT_VECTORS
from components.towers.sharding import id_table


class MMSE(nn.Module):
    """Multi-stage mining, retrieval plus ranking loss, and post-fusion of query-item and shopper-item similarity.

    Args:
        settings: see `MmseSettings`. schema: sizes of the tables, and what the log has; without shoppers there is no
            shopper-item similarity, without impressions no shown items.

    `post_fusion`: "concatenate" scores `cos(q, i) + g cos(u, i')`, which is the inner product of `[q; g u]` and
    `[i; i']`, so an index needs to know nothing of it; q and i keep the whole `dimension`, and i holds the product's
    category, brand, shop and price level beside its text, or a query could not reach them. "multi_vector" scores the
    query's rows and the shopper apart and joins them by a soft maximum; `query` then returns the mean of these vectors,
    what one probe of an index can do, and `rows` all of them. "none" adds query and shopper before scoring.
    """

    name: ClassVar[str] = "mmse"
    Settings: ClassVar[type[MmseSettings]] = MmseSettings
    needs: ClassVar[frozenset[str]] = frozenset({"behaviour", "past", TEXT_VECTORS, *TOKEN_GROUPS})
    unit: ClassVar[str] = "request"

    def __init__(self, settings: MmseSettings, schema: Schema) -> None:
        super().__init__()
        self.settings, self.schema, self.fusion = settings, schema, settings.post_fusion
        width, sparse = settings.dimension, settings.sparse_gradients
        tokens = TokenTable(schema.tokens, width, settings.token_weights == "idf", sparse)
        self.ids = id_table(schema.items, settings)
        units = (settings.gram_1, settings.gram_2, settings.word_unit)
        self.text = QueryUnit(tokens, width, units, 1, settings.heads, settings.max_query_tokens)
        self.items = ItemTower(
            tokens, self.ids, width, settings.title_units, settings.title_groups, settings.id_dropout
        )
        self.shopper: ShopperEncoder | None = None
        self.item_side: ItemSide | None = None
        if schema.has.get("users"):
            fields = ItemFields(self.ids, schema.codes, width, sparse)
            self.shopper = ShopperEncoder(fields, width, settings.heads)
            if settings.item_side:
                self.item_side = ItemSide(fields, width)
        elif self.fusion == "concatenate":
            self.fusion = "none"
        parted = self.fusion == "concatenate"
        of_shopper = settings.shopper_dimension if parted else width
        # Spaces that both towers meet in: their projections are shared, and start orthogonal.
        self.to_text, self.to_shopper = nn.Linear(width, width, bias=False), nn.Linear(width, of_shopper, bias=False)
        nn.init.orthogonal_(self.to_text.weight)
        nn.init.orthogonal_(self.to_shopper.weight)
        self.shopper_weight = nn.Parameter(torch.tensor(settings.shopper_weight))
        # A sum of two cosines is no cosine: the index is told to take inner products.
        self.score = "inner_product" if parted else "cosine"
        self.pretrained: PretrainedBlock | None = pretrained_block(settings, cosine=not parted)
        score = SoftMaximum(settings.soft_maximum) if self.fusion == "multi_vector" else InnerProduct()
        self.retrieval = SampledSoftmax(settings.temperature, settings.log_q_correction, score=score)
        self.ranking = StageRanking(settings.pairs, settings.ranking, margin=settings.margin, score=score)
        self.mining = RequestMining(settings.mined_ordered, settings.mined_clicked, settings.mined_shown)
        self.sampler = Uniform(settings.negatives)

    def prepare(self, catalogue: Catalogue, examples: Examples) -> None:
        """Sets the initial weight of every token, and starts categories and brands at the vectors of their words."""
        self.text.tokens.set_weights(catalogue.token_weights)
        fit_text(self.pretrained, catalogue, examples, self.settings)
        if self.shopper is not None:
            self.shopper.fields.start_from_text(self.text.tokens, catalogue.code_text)

    def query(self, batch: QueryBatch) -> Tensor:
        """One vector a request, [B, d], or [B, d + s] if concatenated."""
        own = unit_length(self.rows(batch).mean(1)) if self.fusion == "multi_vector" else self.rows(batch)
        return with_text(self.pretrained, own, batch.text_vectors, "query")

    def rows(self, batch: QueryBatch) -> Tensor:
        """What is scored: [B, d], [B, d + s] if concatenated, or [B, H, d] if multi_vector (the rows of the query unit,
        then the shopper)."""
        rows = self.text(batch)  # [B, 6, d], the last one the mix
        shopper = None
        if self.shopper is not None and batch.behaviour is not None:
            shopper = self.to_shopper(self.shopper(batch.behaviour))  # [B, s]
        if self.fusion == "multi_vector":
            vectors = unit_length(self.to_text(rows[:, : len(ROWS) - 1]))  # [B, 5, d]
            return vectors if shopper is None else torch.cat([vectors, unit_length(shopper).unsqueeze(1)], dim=1)
        text = self.to_text(rows[:, -1])  # [B, d]
        if self.fusion == "none" or shopper is None:
            return unit_length(text if shopper is None else text + self.shopper_weight * shopper)
        return torch.cat([unit_length(text), self.shopper_weight * unit_length(shopper)], dim=1)  # [B, d + s]

    def item(self, batch: ItemBatch, salt: int | None = None) -> Tensor:
        """Vectors [M, d], or [M, d + s] if concatenated; with a salt (training) ids are dropped."""
        return with_text(self.pretrained, self._item(batch, salt), batch.text_vectors, "item")

    def _item(self, batch: ItemBatch, salt: int | None = None) -> Tensor:
        described = self.items(batch, salt)  # [M, d]
        if self.item_side is not None:
            described = described + self.item_side(batch)
        text = self.to_text(described)  # [M, d]
        if self.shopper is None:
            return unit_length(text)
        candidate = self.to_shopper(self.shopper.candidates(batch, salt, self.settings.id_dropout))  # [M, s]
        if self.fusion == "concatenate":
            return torch.cat([unit_length(text), unit_length(candidate)], dim=1)
        return unit_length(text + self.shopper_weight * candidate)

    def loss(self, batch: TrainingBatch, context: StepContext) -> StepLoss:
        """`L_retrieval + ranking_weight * L_ranking` over the mined items of each request."""
        salt = int(torch.randint(2**31, (1,), generator=context.generator))
        mined = self.mining(batch.listed, batch.listed_stages, batch.example, salt)  # rows, stages [B, G]
        counts = SamplingContext(
            context.catalogue_size, batch.global_positive_rows, context.counts, context.step, context.total_steps
        )
        sampled = self.sampler(counts, context.generator)
        wanted = torch.cat([mined.rows.clamp_min(0).flatten().cpu(), sampled.rows])
        distinct, index = torch.unique(wanted, return_inverse=True)
        vectors = self._item(context.items(distinct), salt)  # [U, d]
        index = index.to(vectors.device)
        of_request = vectors[index[: mined.rows.numel()]].reshape(*mined.rows.shape, -1)  # [B, G, d]
        shared = Negatives(
            vectors[index[mined.rows.numel() :]],
            sampled.rows.to(vectors.device),
            None if sampled.log_q is None else sampled.log_q.to(vectors.device),
        )
        queries = self.rows(batch.query)  # [B, d] or [B, H, d]
        # Neither engaged nor shown items of the request count as random, whether mined or not.
        listed = batch.listed.pad()
        own = listed.values.masked_fill(~listed.mask, -1)  # [B, L]
        retrieval = self._retrieval(queries, of_request, mined, shared, own, batch.weights)
        total, parts = retrieval, {"retrieval": retrieval.detach()}
        if self.settings.ranking_weight:
            ranking = self.ranking(queries, of_request, mined.stages, shared, own, batch.weights)
            total, parts["ranking"] = retrieval + self.settings.ranking_weight * ranking, ranking.detach()
        return StepLoss(total, parts)

    def _retrieval(
        self, queries: Tensor, of_request: Tensor, mined: Mined, shared: Negatives, own: Tensor, of_batch: Tensor
    ) -> Tensor:
        """Softmax of each ordered and clicked item against the shared random ones, a mean over requests weighing
        `of_batch` [B]; the items `own` [B, L], -1 padded, of a request are left out of its random ones."""
        request, place = (mined.stages > 0).nonzero(as_tuple=True)  # [P], [P]
        ordered = (mined.stages[request, place] == 4).to(of_batch.dtype)
        weights = 1.0 + (self.settings.ordered_weight - 1.0) * ordered  # [P]
        per_request = torch.zeros_like(of_batch).index_add_(0, request, weights)  # [B]
        weights = of_batch[request] * weights / per_request[request]  # [P], a request's sum is its weight
        positive, negative = self.retrieval.logits(
            queries[request], of_request[request, place], shared, mined.rows[request, place], own[request]
        )
        if self.settings.shown_in_softmax:
            shown = self.retrieval.score.grid(queries, of_request) / self.settings.temperature  # [B, G]
            shown = shown.masked_fill(mined.stages != 0, float("-inf"))
            negative = torch.cat([negative, shown[request]], dim=1)  # [P, M + G]
        return softmax_loss(positive, negative, weights)

    def attention(self, batch: QueryBatch) -> tuple[Tensor, Tensor] | None:
        """Attention on each real-time and short-term click, [B, T] each; None without behaviours.

        It is the shopper's, whatever the query; what the query weighs against the shopper is not in it.
        """
        if self.shopper is None or batch.behaviour is None:
            return None
        return self.shopper.weights(batch.behaviour)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Tables of tokens, ids and codes at the full rate, all else at `dense_rate` of it."""
        tables: list[nn.Module] = [self.text.tokens, self.ids]
        if self.shopper is not None:
            tables.append(self.shopper.fields.codes)
        return table_and_dense_groups(self, tables, self.settings.dense_rate)
