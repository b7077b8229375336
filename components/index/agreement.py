"""What the log says about key terms: how often products engaged with carried them, and what the filter removes."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np

from components.index.postings import Postings, contained
from components.index.ranking import Found
from components.index.relevance import RelevanceControl, key_terms
from components.index.settings import IndexSettings
from components.index.terms import Terms

_LEAST_SEARCHES = 20  # searches with a kind's terms before the log may overrule the catalogue
_LEAST_OF_TERM, _TERM_AGREEMENT = 10, 0.75


def learn_agreement(
    terms: Terms, postings: Postings, queries: list[str], engaged: list[np.ndarray], settings: IndexSettings
) -> Terms:
    """The same terms with the log's opinion: kinds that engaged products disregard are not used any more.

    Every search counts once: the share of its engaged products (catalogue rows int64) that carry a key term. A kind
    with at least 20 searches is used if its mean share reaches `key_agreement`; a single term with at least 10 searches
    must reach three quarters. Where the log says less, the catalogue's word stands.
    """
    of_kind: dict[str, list[float]] = defaultdict(list)
    of_term: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for query, rows in zip(queries, engaged, strict=True):
        if not len(rows):
            continue
        for term in key_terms(query, terms, postings):
            share = float(contained(rows, postings.all_of(term.words)).mean())
            of_kind[term.kind].append(share)
            of_term[term.words].append(share)
    kinds: dict[str, dict[str, Any]] = {}
    for kind in sorted({term.kind for term in terms.values.values()} | set(of_kind)):
        shares = of_kind.get(kind, [])
        agreement = float(np.mean(shares)) if len(shares) >= _LEAST_SEARCHES else None
        used = agreement is None or agreement >= settings.key_agreement
        kinds[kind] = {"searches": len(shares), "agreement": agreement, "used": used}
    values = {}
    for words, term in terms.values.items():
        shares = of_term.get(words, [])
        agreement = float(np.mean(shares)) if len(shares) >= _LEAST_OF_TERM else None
        if agreement is None or agreement >= _TERM_AGREEMENT:
            values[words] = replace(term, agreement=kinds[term.kind]["agreement"] if agreement is None else agreement)
    return Terms(values, terms.units, terms.model_shapes, kinds)


def survival(
    control: RelevanceControl, queries: list[str], found: list[Found], engaged: list[np.ndarray]
) -> dict[str, Any]:
    """The paper's stage-survival figures over searches and their found lists (rows, scores).

    searches; with_key_terms: share of searches that have any; found, kept: mean list length before and after;
    removed: mean share of a list dropped; given_up: share of searches where a term was given up; engaged_kept: share of
    the engaged products in the found lists that were kept (None when no engaged product was found).
    """
    before, after, removed, given_up, engaged_before, engaged_after, with_terms = 0, 0, 0.0, 0, 0, 0, 0
    for query, one, rows in zip(queries, found, engaged, strict=True):
        controlled = control.apply(query, one)
        before += len(one[0])
        after += len(controlled.rows)
        removed += controlled.share_removed
        given_up += bool(controlled.given_up)
        with_terms += bool(controlled.terms or controlled.given_up)
        engaged_before += len(np.intersect1d(one[0], rows))
        engaged_after += len(np.intersect1d(controlled.rows, rows))
    count = max(1, len(queries))
    return {
        "searches": len(queries),
        "with_key_terms": with_terms / count,
        "found": before / count,
        "kept": after / count,
        "removed": removed / count,
        "given_up": given_up / count,
        "engaged_kept": engaged_after / engaged_before if engaged_before else None,
    }
