"""What any model must beat or stand beside: chance, popularity, and lexical search (BM25 over titles)."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from components.evaluation.settings import check_language

RANDOM, POPULARITY, BM25, CURRENT = "random", "popularity", "bm25", "current release"
"""Names of the methods every evaluation shows beside the model; the last one only once something is served."""


class RandomScorer:
    """A random order of the catalogue for every search: the floor. Deterministic by seed, whatever the block sizes."""

    def __init__(self, products: int, seed: int) -> None:
        self.products = products
        self._seed = seed

    def scores(self, rows: slice, columns: slice) -> np.ndarray:
        drawn = [
            np.random.default_rng([self._seed, row]).random(self.products, dtype=np.float32)[columns]
            for row in range(rows.start, rows.stop)
        ]
        return np.stack(drawn)


class PopularityScorer:
    """Every search gets the products most often engaged in the training window, whatever the query.

    `counts` int64 [products]: searches of the training window that engaged the product.
    """

    def __init__(self, counts: np.ndarray) -> None:
        self.products = len(counts)
        self._counts = counts.astype(np.float32)

    def scores(self, rows: slice, columns: slice) -> np.ndarray:
        return np.tile(self._counts[columns], (rows.stop - rows.start, 1))


class Bm25Scorer:
    """BM25 over product titles: the Lucene variant of the `bm25s` library, with stemming and stop words.

    A product that shares no word with the query is never returned, as in a real inverted index. Raises BadSetting for a
    language that PyStemmer or the stop word lists do not know.

    References:
        Robertson and Zaragoza, *The Probabilistic Relevance Framework: BM25 and Beyond*, 2009; the variants:
        Kamphuis et al., *Which BM25 Do You Mean?*, ECIR 2020; library: Lù, *BM25S*, arXiv 2407.03618.
    """

    def __init__(
        self, titles: Sequence[str], queries: Sequence[str], k1: float = 1.5, b: float = 0.75, language: str = "english"
    ) -> None:
        import bm25s

        self.products = len(titles)
        tokenize = partial(bm25s.tokenize, return_ids=False, show_progress=False, **_language(language))
        self._words: list[list[str]] = tokenize(list(queries))
        documents = tokenize(list(titles))
        self._index = bm25s.BM25(method="lucene", k1=k1, b=b) if any(documents) else None
        if self._index is not None:
            self._index.index(documents, show_progress=False)
        self._kept: tuple[slice, np.ndarray] | None = None

    def scores(self, rows: slice, columns: slice) -> np.ndarray:
        if self._kept is None or self._kept[0] != rows:
            self._kept = rows, np.stack([self._score(words) for words in self._words[rows]])
        return self._kept[1][:, columns]

    def _score(self, words: list[str]) -> np.ndarray:
        if self._index is None or not any(word in self._index.vocab_dict for word in words):
            return np.full(self.products, -np.inf, dtype=np.float32)
        scores = self._index.get_scores(words).astype(np.float32)
        scores[scores <= 0] = -np.inf
        return scores


def _language(name: str) -> dict[str, object]:
    check_language(name)
    if name.lower() == "none":
        return {"stopwords": None, "stemmer": None}
    import bm25s.stopwords
    import Stemmer

    stemmer = Stemmer.Stemmer(name)
    list_name = "STOPWORDS_EN" if name == "english" else f"STOPWORDS_{name.upper()}"
    return {"stopwords": list(getattr(bm25s.stopwords, list_name, ())), "stemmer": stemmer}
