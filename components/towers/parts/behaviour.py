"""What a shopper did, seen from the query: real-time, short-term and long-term windows (MGDSPR Eqs. 9 to 14)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from components.towers.interfaces import BRAND, CODE_FIELDS, LEAF, LONG_TERM_ACTIONS, PRICE_LEVEL, SHOP, Behaviour
from components.towers.parts.attention import ResidualSelfAttention, zero_attention, zero_attention_weights
from components.towers.parts.tokens import TokenTable, bag_mean
from components.towers.ragged import Bags, Padded, Ragged

PRODUCT = 1 + len(CODE_FIELDS)
"""Place among a behaviour's fields of its row in `Behaviour.products`."""
CODE_START = 0.3
"""First weight of each coded field (category, brand, shop, price level) beside id and title, whose weight is 1."""


class ItemFields(nn.Module):
    """A behaviour as one vector: the lookups of its fields, concatenated and projected (Eqs. 9 and 10).

    Args:
        ids: item id table, shared with the item tower. code_sizes: rows of the code tables by `CODE_FIELDS`.
        titles: the token table and text unit of a further field, the product's title; the paper's list of side
            information ("e.g." leaf category, first-level category, brand, shop) has none.

    The projection starts as the item tower does: id and title in full, each code by `CODE_START`. So a past product and
    a candidate that resembles it lie close before the first step. Every field is d wide so that the long-term streams
    can be pooled from the same tables.
    """

    def __init__(
        self,
        ids: nn.Embedding,
        code_sizes: dict[str, int],
        width: int,
        sparse: bool,
        titles: tuple[TokenTable, str] | None = None,
    ) -> None:
        super().__init__()
        self.ids = ids
        self.tokens: TokenTable | None = titles[0] if titles else None
        self.title_unit = titles[1] if titles else ""
        self.tables = tuple(nn.Embedding(code_sizes[name], width, sparse=sparse) for name in CODE_FIELDS)
        self.codes = nn.ModuleList(self.tables)
        fields = 1 + len(CODE_FIELDS) + (titles is not None)
        self.project = nn.Linear(fields * width, width, bias=False)
        with torch.no_grad():
            for table in self.tables:
                nn.init.normal_(table.weight, std=width**-0.5)
                table.weight[0] = 0.0
            starts = [1.0, *([CODE_START] * len(CODE_FIELDS)), *([1.0] if titles else [])]
            self.project.weight.copy_(torch.cat([start * torch.eye(width) for start in starts], dim=1))

    def start_from_text(self, tokens: TokenTable, code_text: dict[str, Ragged]) -> None:
        """Starts each category and brand at the mean vector of its words, where a query and a title with them lie."""
        with torch.no_grad():
            for name, table in zip(CODE_FIELDS, self.tables, strict=True):
                if name in code_text:
                    has_words = (code_text[name].lengths > 0).unsqueeze(1)
                    text = tokens.mean(Ragged(code_text[name].values.long(), code_text[name].offsets))
                    table.weight.copy_(torch.where(has_words, text, table.weight))
                table.weight[0] = 0.0

    def products(self, behaviour: Behaviour) -> Tensor:
        """Vectors [U, d] of `behaviour.products`; row 0 is zero."""
        vectors = self._vectors(behaviour.products, behaviour.titles)
        return torch.cat([torch.zeros_like(vectors[:1]), vectors[1:]])

    def forward(self, behaviours: Padded) -> Tensor:
        """Vectors [B, T, d] of values int64 [B, T, 6 or 7] by the fields alone; masked places are zero."""
        return self._vectors(behaviours.values, None) * behaviours.mask.unsqueeze(-1)

    def _vectors(self, values: Tensor, titles: Mapping[str, Bags] | None) -> Tensor:
        parts = [table(values[..., place]) for place, table in enumerate([self.ids, *self.tables])]  # 6 x [..., d]
        if self.tokens is not None and titles is not None:
            parts.append(self.tokens.mean(titles[self.title_unit]))
        return self.project(torch.cat(parts, dim=-1))


class ResidualLSTM(nn.Module):
    """LSTM layers, each with a residual connection, and dropout between them (MGDSPR section 3.2.2: two layers, 0.2).

    Sequences are right-padded, so places behind the end change nothing before it.
    """

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(width, width, batch_first=True) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            for name, parameter in self.layers.named_parameters():
                # Orthogonal as in the paper. Random biases would start every history with the same large vector.
                nn.init.zeros_(parameter) if "bias" in name else nn.init.orthogonal_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, d] -> [B, T, d]."""
        for number, layer in enumerate(self.layers):
            x = x + layer(self.dropout(x) if number else x)[0]
        return x


class BehaviourEncoder(nn.Module):
    """H_real, H_short and H_long of a shopper, each query row attending by itself, with the zero slot.

    real time (Eq. 11): LSTM, self-attention, then attention by the query rows; short term (Eq. 12): the same without
    the LSTM; long term (Eqs. 13 and 14): per attribute a mean per action, attended to, summed over the attributes
    (item, shop, leaf category and brand, and the price level, which is ours).

    Args:
        fields: how a product becomes a vector. lstm_layers: 0 leaves the LSTM out.
        sharpness: first scale of the products of query rows and behaviours in Eqs. 11 and 12, learned from there. The
            paper has none: its embeddings have millions of steps to grow until the attention can choose.
        scale: first weight of each window beside the query's rows, learned from there. The paper has none.
        dropout: share of a batch's products whose vector is zero in the real-time and short-term windows in training.
            history_dropout: share of searches that train as if their shopper had no behaviours; past queries stay.
            Neither is in the paper; a log of a few weeks is small enough to be learned by heart shopper by shopper.
    """

    def __init__(
        self,
        fields: ItemFields,
        width: int,
        heads: int,
        lstm_layers: int,
        lstm_dropout: float,
        dropout: float = 0.0,
        history_dropout: float = 0.0,
        sharpness: float = 1.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.fields = fields
        self.sharpness = nn.Parameter(torch.tensor(sharpness))
        self.scale = nn.Parameter(torch.full((3,), scale))
        self.dropout, self.history_dropout = dropout, history_dropout
        self.lstm = ResidualLSTM(width, lstm_layers, lstm_dropout) if lstm_layers else nn.Identity()
        self.real_attention = ResidualSelfAttention(width, heads)
        self.short_attention = ResidualSelfAttention(width, heads)

    def forward(self, queries: Tensor, behaviour: Behaviour) -> tuple[Tensor, Tensor, Tensor]:
        """queries [B, G, d] -> H_real, H_short, H_long, each [B, G, d]."""
        products = self.fields.products(behaviour)  # [U, d]
        if self.training and self.dropout:
            products = products * _kept(products, self.dropout)

        def real_time(rows: Tensor, window: Padded) -> Tensor:
            recent = self.real_time(products, window)  # [B, T, d]
            return zero_attention(rows, recent, window.mask, self.sharpness)  # Eq. 11, [B, G, d]

        def short_term(rows: Tensor, window: Padded) -> Tensor:
            earlier = self.short_term(products, window)  # [B, T, d]
            return zero_attention(rows, earlier, window.mask, self.sharpness)  # Eq. 12, [B, G, d]

        real = by_length(real_time, queries, behaviour.real_time)
        short = by_length(short_term, queries, behaviour.short_term)
        long = self._long(queries, behaviour)
        weight = self.scale.unbind()  # 3 x []
        if self.training and self.history_dropout:
            kept = _kept(queries, self.history_dropout)  # [B, 1, 1]
            weight = tuple(kept * of_window for of_window in weight)  # 3 x [B, 1, 1]
        return real * weight[0], short * weight[1], long * weight[2]

    def real_time(self, products: Tensor, window: Padded) -> Tensor:
        """R_self [B, T, d] from product vectors [U, d]."""
        return self.real_attention(self.lstm(products[window.values[..., PRODUCT]]), window.mask)

    def short_term(self, products: Tensor, window: Padded) -> Tensor:
        """S_self [B, T, d] from product vectors [U, d]."""
        return self.short_attention(products[window.values[..., PRODUCT]], window.mask)

    def weights(self, queries: Tensor, behaviour: Behaviour) -> tuple[Tensor, Tensor]:
        """Share of attention each real-time and short-term behaviour gets, [B, T] each, mean over the query rows."""
        products = self.fields.products(behaviour)
        real, short = behaviour.real_time, behaviour.short_term
        of_real = zero_attention_weights(queries, self.real_time(products, real), real.mask, self.sharpness)
        of_short = zero_attention_weights(queries, self.short_term(products, short), short.mask, self.sharpness)
        return of_real.mean(1), of_short.mean(1)

    def _long(self, queries: Tensor, behaviour: Behaviour) -> Tensor:
        bags = [behaviour.long_term[action] for action in LONG_TERM_ACTIONS]
        # A pool of nothing is masked: it would act as a second zero slot.
        mask = torch.stack([_filled(bag) for bag in bags], dim=1)  # [B, A]
        streams = (
            (0, self.fields.ids),
            (1 + SHOP, self.fields.tables[SHOP]),
            (1 + LEAF, self.fields.tables[LEAF]),
            (1 + BRAND, self.fields.tables[BRAND]),
            (1 + PRICE_LEVEL, self.fields.tables[PRICE_LEVEL]),
        )
        total = torch.zeros_like(queries)
        for column, table in streams:
            pools = torch.stack([bag_mean(table, bag.column(column)) for bag in bags], dim=1)  # [B, A, d]
            total = total + zero_attention(queries, pools, mask)  # Eq. 13, summed by Eq. 14
        return total


def by_length(encode: Callable[[Tensor, Padded], Tensor], queries: Tensor, window: Padded, parts: int = 4) -> Tensor:
    """`encode(queries, window)` on rows of similar length at a time, without most of the padding: -> [B, G, d].

    Histories differ much in length: half of them may be empty, where the result is zero, and a few full.
    """
    count = queries.shape[0]
    if torch.compiler.is_exporting() or count < 8 * parts:
        return encode(queries, window)
    lengths = window.mask.sum(1)  # [B]
    order = torch.argsort(lengths)
    results = []
    for rows in order.chunk(parts):
        longest = int(lengths[rows[-1]])
        if longest == 0:
            results.append(torch.zeros_like(queries[rows]))
        else:
            part = Padded(window.values[rows, :longest], window.mask[rows, :longest])
            results.append(encode(queries[rows], part))
    return torch.cat(results)[torch.argsort(order)]


def _kept(rows: Tensor, share: float) -> Tensor:
    """0 for about `share` of the rows [R, ...], 1 for the others; broadcasts over the rest."""
    shape = (rows.shape[0], *([1] * (rows.dim() - 1)))
    return (torch.rand(shape, device=rows.device) >= share).to(rows.dtype)


def _filled(bags: Bags) -> Tensor:
    return bags.mask.any(1) if isinstance(bags, Padded) else bags.lengths > 0
