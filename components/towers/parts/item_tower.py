"""The item tower: id and title (MGDSPR section 3.3, Eq. 16)."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from components.towers.interfaces import ItemBatch
from components.towers.parts.tokens import TokenTable
from components.towers.ragged import Bags, Ragged


class ItemTower(nn.Module):
    """`H_item = e_id + tanh(W_t . mean(title tokens))`, [M, d].

    Args:
        units: text units of the title. The paper has its words; with several units their means are summed.
        groups: further token groups of the product (category, brand, attributes), each another mean of the sum. None
            in the paper.
        id_dropout: share of products that train without their id, so that text alone gives a usable vector.
        length: 1 takes the mean of a bag, as the paper; 0 its sum, scaled so that a title of usual length has its mean.
            A mean punishes long titles for every further word; BM25, whose length normalisation is mild, lies near 0.2.
            Between them `sum_t w_t e_t / (W^length T^(1 - length))`, W the weight of the title, T the usual one. Ours;
            it is lost where vectors are brought to unit length afterwards (cosine).

    A product never seen in training has id row 0, whose vector stays zero. Id vectors start at zero: a product learns
    what sets it apart from its text. W_t starts as the identity (orthogonal, as the paper initialises), so that before
    the first step a query and a title with the same words lie close.
    """

    def __init__(
        self,
        tokens: TokenTable,
        ids: nn.Embedding,
        width: int,
        units: tuple[str, ...],
        groups: tuple[str, ...] = (),
        id_dropout: float = 0.0,
        length: float = 1.0,
    ) -> None:
        super().__init__()
        self.tokens, self.ids, self.units, self.groups = tokens, ids, units, groups
        self.id_dropout, self.length = id_dropout, length
        self.register_buffer("usual", torch.ones(len(units) + len(groups)))
        self.title = nn.Linear(width, width)
        with torch.no_grad():
            nn.init.zeros_(self.ids.weight)
            nn.init.eye_(self.title.weight)
            self.title.bias.zero_()

    def forward(self, batch: ItemBatch, salt: int | None = None) -> Tensor:
        """Vectors [M, d]; with a salt (training) ids are dropped, the same products in every process."""
        ids = batch.ids.long()
        if salt is not None and self.id_dropout:
            ids = ids * ~dropped(ids, salt, self.id_dropout)
        bags = [batch.text[unit] for unit in self.units] + [batch.fields[name] for name in self.groups]
        title = reduce(torch.add, (self._pooled(bag, place) for place, bag in enumerate(bags)))  # [M, d]
        seen = (ids > 0).unsqueeze(-1)  # row 0 stays without effect whatever a gradient does to it
        return self.ids(ids) * seen + torch.tanh(self.title(title))

    def set_usual(self, titles: dict[str, Ragged], fields: dict[str, Ragged]) -> None:
        """Takes T from the bags of a catalogue: the mean weight of those that are not empty."""
        bags = [titles[unit] for unit in self.units] + [fields[name] for name in self.groups]
        with torch.no_grad():
            for place, bag in enumerate(bags):
                weights = self.tokens.weights_of(bag)  # [P]
                filled = weights[weights > 0]
                if len(filled):
                    self.get_buffer("usual")[place] = filled.mean()

    def title_matrix(self, titles: dict[str, Ragged], rows: Tensor) -> Tensor:
        """Weight of each token in the pooled titles of catalogue rows int64 [P], a sparse matrix [P, V]."""
        places, tokens, shares = [], [], []
        for place, unit in enumerate(self.units):
            bag = titles[unit].take(rows)
            total = self.tokens.weights_of(bag)  # [P]
            scale = self._scale(total, place)  # [P]
            places.append(bag.row_of_value)
            tokens.append(bag.values)
            shares.append(self.tokens.weights_at(bag.values) / scale[bag.row_of_value])
        index = torch.stack([torch.cat(places), torch.cat(tokens)])
        size = (len(rows), self.tokens.table.num_embeddings)
        return torch.sparse_coo_tensor(index, torch.cat(shares), size, check_invariants=False).coalesce()

    def _pooled(self, bag: Bags, place: int) -> Tensor:
        if self.length == 1.0:
            return self.tokens.mean(bag)
        total, weight = self.tokens.total(bag)  # [M, d], [M]
        return total / self._scale(weight, place).unsqueeze(-1)

    def _scale(self, weight: Tensor, place: int) -> Tensor:
        """What the sum of a bag of this weight is divided by, [M]."""
        usual = self.get_buffer("usual")[place]
        return weight.clamp_min(1e-6) ** self.length * usual ** (1.0 - self.length)


def dropped(ids: Tensor, salt: int, share: float) -> Tensor:
    """True for about `share` of the ids, chosen by a hash of id and salt: no generator state, equal everywhere."""
    mixed = (ids + salt) * 0x9E3779B1 & 0xFFFFFFFF
    mixed = (mixed ^ (mixed >> 15)) * 0x85EBCA77 & 0xFFFFFFFF
    mixed = (mixed ^ (mixed >> 13)) * 0xC2B2AE3D & 0xFFFFFFFF
    return (mixed ^ (mixed >> 16)).double() / 2**32 < share
