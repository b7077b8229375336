"""A small transformer over the words of a title, in their order: the item side's text encoder of UEPPR."""

import torch
from torch import Tensor, nn

from components.towers.parts.attention import TransformerBlock
from components.towers.parts.tokens import TokenTable
from components.towers.ragged import Bags, Padded


class TitleTransformer(nn.Module):
    """The mean of the last layer's outputs over the words of a title.

    It reads the shared token table, so it knows the words of the queries, and can be trained beforehand to generate
    the query from the title (`query_generation`), which is what made a transformer worth having in the paper.

    Args:
        tokens: the token table shared by both towers.
        layers, heads: depth and attention heads. The paper fine-tunes T5-small (6 layers, width 512).
        limit: longest title in words; places behind it share the last position.

    Inputs: bags of word rows, in the order of the title.

    Returns float32 [M, d]; zero for an empty title.

    References: UEPPR (arXiv 2306.04833v2), transformer text encoder of the product, on title and tags.
    """

    def __init__(self, tokens: TokenTable, layers: int, heads: int, limit: int) -> None:
        super().__init__()
        width = tokens.table.embedding_dim
        self.tokens = tokens
        self.heads = heads
        self.positions = nn.Embedding(limit, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(layers))
        nn.init.zeros_(self.positions.weight)

    def sequence(self, titles: Bags) -> tuple[Tensor, Tensor]:
        """Last layer's outputs [M, T, d] and which places hold a word, bool [M, T]."""
        padded = titles if isinstance(titles, Padded) else titles.pad()
        places = torch.arange(padded.values.shape[1], device=padded.values.device)  # [T]
        places = places.clamp_max(self.positions.num_embeddings - 1)
        x = self.tokens.lookup(padded) + self.positions(places)  # [M, T, d]
        for block in self.blocks:
            x = block(x, padded.mask)  # [M, T, d]
        return x, padded.mask

    def forward(self, titles: Bags) -> Tensor:
        """Vectors [M, d]."""
        x, mask = self.sequence(titles)
        real = mask.unsqueeze(2).to(x.dtype)  # [M, T, 1]
        return (x * real).sum(1) / real.sum(1).clamp_min(1.0)
