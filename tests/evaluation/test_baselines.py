import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.common.errors import BadSetting
from components.evaluation.baselines import Bm25Scorer, PopularityScorer, RandomScorer

WORDS = ("lamp", "chair", "oak", "red", "blue")


def scores(scorer, searches):
    return scorer.scores(slice(0, searches), slice(0, scorer.products))


def naive_bm25(query, titles, k1, b):
    """Lucene: idf = ln(1 + (N - df + .5) / (df + .5)), tf / (tf + k1 (1 - b + b len / mean len))."""
    documents = [title.split() for title in titles]
    mean = sum(map(len, documents)) / len(documents)
    result = []
    for document in documents:
        counts, total = Counter(document), 0.0
        for word in query.split():
            holders = sum(word in other for other in documents)
            if counts[word]:
                idf = math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5))
                total += idf * counts[word] / (counts[word] + k1 * (1 - b + b * len(document) / mean))
        result.append(total)
    return result


@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=8),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
)
@settings(max_examples=40, deadline=None)
def test_bm25_is_the_lucene_formula(titles, query):
    values = scores(Bm25Scorer(titles, [query], 1.5, 0.75), 1)[0]
    expected = [value or -math.inf for value in naive_bm25(query, titles, 1.5, 0.75)]
    assert values.tolist() == pytest.approx(expected, rel=1e-5)


def test_bm25_finds_inflected_words_and_ignores_stop_words():
    values = scores(Bm25Scorer(["running shoes", "the oak table"], ["shoe for the runs"]), 1)[0]
    assert values[0] > 0
    assert values[1] == -math.inf


def test_bm25_returns_nothing_for_a_query_without_a_known_word():
    scorer = Bm25Scorer(["oak table", "red lamp"], ["zebra", "", "the", "lamp"])
    assert np.isneginf(scores(scorer, 4)[:3]).all()
    assert scores(scorer, 4)[3].argmax() == 1
    assert np.isneginf(scores(Bm25Scorer(["", "of the"], ["lamp"]), 1)).all()


def test_bm25_takes_words_as_they_are_without_a_language():
    values = scores(Bm25Scorer(["running shoes", "run"], ["run"], language="none"), 1)[0]
    assert values[0] == -math.inf < values[1]


def test_an_unknown_language_is_refused():
    with pytest.raises(BadSetting, match=r"'klingon' has no stemmer; known: none, .*english"):
        Bm25Scorer(["oak table"], ["oak"], language="klingon")


def test_blocks_of_bm25_and_random_fit_together():
    titles = [f"{WORDS[n % 5]} {WORDS[n % 3]}" for n in range(20)]
    for scorer in (Bm25Scorer(titles, list(WORDS)), RandomScorer(20, 1)):
        whole = scores(scorer, 5)
        parts = [[scorer.scores(slice(r, r + 1), slice(c, c + 4)) for c in range(0, 20, 4)] for r in range(5)]
        assert np.block(parts).tolist() == whole.tolist()


def test_random_gives_every_search_an_order_of_its_own():
    first = scores(RandomScorer(300, 1), 20)
    assert len({tuple(row) for row in first.argsort(axis=1).tolist()}) == 20
    assert not np.array_equal(first, scores(RandomScorer(300, 2), 20))
    assert first.argmax(axis=1).mean() == pytest.approx(150, abs=80)


def test_popularity_ranks_by_training_engagements_whatever_the_query():
    values = scores(PopularityScorer(np.array([3, 0, 7])), 2)
    assert values.tolist() == [[3, 0, 7], [3, 0, 7]]
