"""A similarity of pretrained text vectors beside the towers' own, as one inner product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.towers.catalogue import Catalogue
from components.towers.examples import Examples
from components.towers.interfaces import Negatives
from components.towers.losses.sampled_softmax import SampledSoftmax
from components.towers.parts.minilm import WIDTH
from components.towers.parts.unit_length import unit_length
from components.towers.ragged import Ragged
from components.towers.settings import TowerSettings

_BATCH, _RANDOM, _TEMPERATURE, _RATE = 512, 1_024, 0.05, 5e-4


class PretrainedBlock(nn.Module):
    """`[x ; sqrt(g) h]` with `h = unit((I + A) f)`: the inner product of two such vectors is `<x, y> + g <h, k>`.

    f is the vector of the query's or the title's text from an encoder that does not learn. A map for each side, A of
    the query and B of the product, is fitted to the log before the towers train, from zero: without `fit` the second
    term is the encoder's own cosine. An empty text has f = 0 and only its own part.

    The towers are trained as if the block were not there, and the two similarities are added afterwards. Trained
    together, towers that know the training queries by heart leave the block nothing to do.

    Args:
        width: of f. weight: g, above 0. cosine: towers whose score is a cosine; the joined vector is brought to unit
            length then, so that the score is `(<x, y> + g <h, k>) / (1 + g)`.

    References: the sum of similarities as one inner product of concatenated vectors is UEPPR's boosting
        (arXiv 2306.04833) with text in quality's place. The use here is ours.
    """

    def __init__(self, width: int, weight: float, cosine: bool) -> None:
        super().__init__()
        self.weight, self.cosine = weight, cosine
        self.register_buffer("query_map", torch.zeros(width, width))
        self.register_buffer("item_map", torch.zeros(width, width))

    def forward(self, own: Tensor, text: Tensor, side: str) -> Tensor:
        """own [R, d], text [R, w] -> [R, d + w]; side: "query" or "item"."""
        mapped = _mapped(text, self.get_buffer(f"{side}_map"))
        joined = torch.cat([own, self.weight**0.5 * mapped.to(own.dtype)], dim=-1)
        return unit_length(joined) if self.cosine else joined

    def fit(self, catalogue: Catalogue, examples: Examples, steps: int, seed: int) -> None:
        """Fits both maps by `steps` of sampled softmax over engaged products, those of the batch and random ones.

        Searches whose query has no vector (made-up ones) are left out; with none left the maps stay zero.
        """
        assert catalogue.text_vectors is not None
        assert examples.text_vectors is not None
        titles, queries = catalogue.text_vectors, examples.text_vectors[examples.query]  # [P, w], [n, w]
        engaged = examples.stages > 0
        owner, product = examples.listed.row_of_value[engaged], examples.listed.values[engaged].long()
        lengths = torch.bincount(owner, minlength=len(examples))
        positives = Ragged(product, torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
        pairs = torch.nonzero((queries != 0).any(1)[owner]).squeeze(1)
        if not len(pairs):
            return
        generator = torch.Generator().manual_seed(seed)
        maps = [nn.Parameter(self.get_buffer(name).cpu().clone()) for name in ("query_map", "item_map")]
        optimiser = torch.optim.Adam(maps, lr=_RATE)
        softmax = SampledSoftmax(_TEMPERATURE)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = _RATE * (1 - step / steps)
            chosen = pairs[torch.randint(len(pairs), (_BATCH,), generator=generator)]  # [B]
            rows = torch.cat([product[chosen], torch.randint(len(titles), (_RANDOM,), generator=generator)])  # [B + M]
            others = positives.take(owner[chosen]).pad()
            items = _mapped(titles[rows], maps[1])  # [B + M, w]
            loss = softmax(
                _mapped(queries[owner[chosen]], maps[0]), items[:_BATCH], Negatives(items, rows),
                positive_index=product[chosen], extra_positives=others.values.masked_fill(~others.mask, -1),
            )  # fmt: skip
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            self.get_buffer("query_map").copy_(maps[0])
            self.get_buffer("item_map").copy_(maps[1])


def _mapped(text: Tensor, linear: Tensor) -> Tensor:
    """`unit((I + linear) text)` of each row, [R, w]; zero for zero."""
    return unit_length(text + text @ linear.T)


def pretrained_block(settings: TowerSettings, cosine: bool) -> PretrainedBlock | None:
    """The block the settings name; None where they name none. `cosine`: as in `PretrainedBlock`."""
    return None if settings.pretrained_text == "none" else PretrainedBlock(WIDTH, settings.pretrained_weight, cosine)


def fit_text(block: PretrainedBlock | None, catalogue: Catalogue, examples: Examples, settings: TowerSettings) -> None:
    """Fits the block where there is one, and the settings want it fitted."""
    if block is not None and settings.pretrained_steps:
        block.fit(catalogue, examples, settings.pretrained_steps, settings.seed)


def with_text(block: PretrainedBlock | None, own: Tensor, text: Tensor | None, side: str) -> Tensor:
    """What the block makes of own [R, d] and text [R, w]; `own` itself where there is no block."""
    return own if block is None or text is None else block(own, text, side)
