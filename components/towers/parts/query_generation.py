"""Pre-training of the title transformer: generate, from a product's title, the query that most often led to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.common.errors import BadInput
from components.common.progress import Progress
from components.towers.catalogue import Catalogue
from components.towers.parts.text_transformer import TitleTransformer
from components.towers.ragged import Padded, Ragged


class QueryGenerator(nn.Module):
    """A one-layer decoder on top of a title transformer, trained by the cross-entropy of the query's next word.

    The decoder is thrown away afterwards; the encoder and the token table keep what they learned.

    Args:
        encoder: the title transformer to pre-train.
        words: token table rows of the words that queries are made of, distinct, int64 [U]; the decoder chooses among
            them and the end of the query. Its output layer starts as their vectors.
        limit: words generated of a query.

    References:
        - UEPPR (arXiv 2306.04833v2), docT5query-style pre-training: T5-small learns to generate the query most often
          leading to a purchase from the product's text, then its encoder is kept.
        - docT5query: Nogueira and Lin 2019.
        - The small transformer in T5's place, and the decoder's size, are ours.
    """

    def __init__(self, encoder: TitleTransformer, words: Tensor, heads: int, limit: int) -> None:
        super().__init__()
        table = encoder.tokens.table
        width = table.embedding_dim
        self.encoder = encoder
        self.positions = nn.Embedding(limit + 1, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.decoder = nn.TransformerDecoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True)
        self.output = nn.Linear(width, words.shape[0] + 1)  # class 0 ends the query
        self.register_buffer("classes", torch.zeros(table.num_embeddings, dtype=torch.int64), persistent=False)
        self.get_buffer("classes")[words] = torch.arange(1, words.shape[0] + 1)
        with torch.no_grad():
            nn.init.normal_(self.positions.weight, std=width**-0.5)
            self.output.weight[1:] = table.weight[words]

    def forward(self, titles: Ragged, queries: Padded) -> Tensor:
        """Mean cross-entropy of the queries' words and ends, a scalar."""
        memory, mask = self.encoder.sequence(titles)  # [M, T, d], [M, T]
        words = self.encoder.tokens.lookup(queries)  # [M, L, d]
        start = self.start.expand(words.shape[0], 1, -1)  # [M, 1, d]
        places = torch.arange(words.shape[1] + 1, device=words.device)  # [L + 1]
        asked = torch.cat([start, words], dim=1) + self.positions(places)  # [M, L + 1, d]
        later = torch.triu(torch.ones(len(places), len(places), dtype=torch.bool, device=words.device), diagonal=1)
        said = self.decoder(asked, memory, tgt_mask=later, memory_key_padding_mask=~mask)  # [M, L + 1, d]
        wanted = self.get_buffer("classes")[queries.values] * queries.mask  # [M, L]
        wanted = torch.cat([wanted, wanted.new_zeros(wanted.shape[0], 1)], dim=1)  # [M, L + 1]
        # Place j predicts word j; behind the end of the query nothing is asked.
        counts = torch.cat([queries.mask.new_ones(wanted.shape[0], 1), queries.mask], dim=1)  # [M, L + 1]
        per_place = nn.functional.cross_entropy(self.output(said).transpose(1, 2), wanted, reduction="none")
        return (per_place * counts).sum() / counts.sum()


def pretrain(
    encoder: TitleTransformer,
    catalogue: Catalogue,
    unit: str,
    steps: int,
    seed: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    limit: int = 8,
) -> list[float]:
    """Trains the encoder and its token table to generate each product's heaviest neighbour query from its title.

    Args:
        catalogue: titles and the query-product graph of the training window.
        unit: the text unit of words, of titles and queries.
        limit: words kept of a query.

    Returns:
        The loss of every step. Empty where no product has both a title and a query.

    Raises:
        BadInput: the catalogue has no graph.
    """
    if catalogue.graph is None or catalogue.graph_text is None:
        raise BadInput("pre-training by generating queries needs the query-product graph; build it or switch it off.")
    texts = catalogue.graph_text[unit]
    products = ((catalogue.graph.lengths > 0) & (catalogue.text[unit].lengths > 0)).nonzero().squeeze(1)  # [P']
    if not products.numel() or not texts.values.numel():
        return []
    target = catalogue.graph.values[catalogue.graph.offsets[products]].long()  # [P'] the heaviest comes first
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = QueryGenerator(encoder, texts.values.long().unique(), encoder.heads, limit)
    table = encoder.tokens.table
    dense = [value for value in model.parameters() if value is not table.weight and value.requires_grad]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.Adam(dense, learning_rate)]
    adam = torch.optim.SparseAdam if table.sparse else torch.optim.Adam
    optimisers.append(adam([table.weight], learning_rate))
    losses = []
    model.train()
    with Progress(steps, "pre-training: queries from titles", "steps") as progress:
        for _ in range(steps):
            chosen = torch.randint(products.shape[0], (min(batch_size, products.shape[0]),), generator=generator)
            queries = texts.take(target[chosen]).pad()
            queries = Padded(queries.values[:, :limit], queries.mask[:, :limit])
            loss = model(catalogue.text[unit].take(products[chosen]), queries)
            for optimiser in optimisers:
                optimiser.zero_grad(set_to_none=True)
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()
            losses.append(float(loss.detach()))
            progress.advance(1)
    return losses
