"""Lexical search over the served catalogue's titles (BM25), for the search page to show beside the towers."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class LexicalIndex:
    """BM25 (the Lucene variant of `bm25s`, with Snowball stemming and stop words) over product titles.

    `read()` gives product ids and titles; it is called on the first search, which takes about a second per 50,000
    products. Thread-safe.
    """

    def __init__(self, read: Callable[[], tuple[list[str], list[str]]]) -> None:
        self._read = read
        self._ids: list[str] = []
        self._index: Any = None
        self._stemmer: Any = None
        self._building = threading.Lock()

    def search(self, query: str, k: int) -> list[tuple[str, float]]:
        """At most k products that share a word with the query, best first: (product id, score)."""
        with self._building:
            if self._index is None:
                self._build()
            (words,) = self._words([query])
            known = [word for word in words if word in self._index.vocab_dict]
            if not known:
                return []
            scores = self._index.get_scores(known)
        best = np.argsort(-scores, kind="stable")[:k]
        return [(self._ids[row], float(scores[row])) for row in best if scores[row] > 0]

    def _build(self) -> None:
        import bm25s
        import Stemmer

        self._stemmer = Stemmer.Stemmer("english")
        index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        self._ids, titles = self._read()
        index.index(self._words(titles), show_progress=False)
        self._index = index

    def _words(self, texts: Sequence[str]) -> Any:
        import bm25s

        return bm25s.tokenize(list(texts), stopwords="en", stemmer=self._stemmer, return_ids=False, show_progress=False)
