"""Why a product is in a result: behaviours that mattered, key terms it matched, its place without the shopper."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from components.common.errors import TowerlineError
from components.serving.loaded_release import LoadedRelease
from components.serving.replies import Reply
from components.serving.requests import SearchRequest
from components.serving.retrieval import Retriever
from components.serving.structured_logs import log
from components.serving.under_way import Search

BEHAVIOURS_SHOWN = 10
NEAREST_SHOWN = 2
RANKS_KNOWN = 100
ALIKE = 0.35
"""Cosine of two products below which one is no reason for the other."""


def explain(release: LoadedRelease, retriever: Retriever, request: SearchRequest, reply: Reply) -> dict[str, Any]:
    """The reply with reasons. Blocks: call it on a worker thread.

    `behaviours`: the shopper's behaviours by attention weight of the query tower (0 to 1), heaviest first. Per product:
    `nearest`, the behaviours whose product vector lies close, by cosine x weight; `terms`, the key terms of the query
    the product carries; `boost`, the part of its score that product boosting added; `anonymous_rank`, its rank for the
    same query without the shopper, None when it is not among the first 100. Where the towers cannot tell what they
    attended to (a release of older code, say), `degraded` says so.
    """
    (search,) = retriever.look_up([(request, release.now_us())])
    attention, missing = _attention(release, request, search)
    found = reply.found.product_ids
    nearest = _nearest(release, found, attention)
    boosts = np.zeros(len(found)) if release.boosts is None else release.boosts(found)
    ranks = _anonymous_ranks(retriever, request, reply)
    products = []
    for number, (product_id, score) in enumerate(zip(found, reply.found.scores, strict=True)):
        terms = release.index.terms(request.query, product_id) if release.index is not None else ()
        products.append(
            {
                "product_id": product_id,
                "score": score,
                "nearest": nearest[number],
                "terms": [{"kind": kind, "value": value} for kind, value in terms],
                "boost": float(boosts[number]),
                "anonymous_rank": ranks.get(product_id),
            }
        )
    behaviours = [{"product_id": product_id, "weight": weight} for product_id, weight in attention]
    degraded = list(dict.fromkeys([*reply.degraded, *search.degraded, *missing])) or False
    return {**reply.body(), "behaviours": behaviours, "products": products, "degraded": degraded}


def _attention(
    release: LoadedRelease, request: SearchRequest, search: Search
) -> tuple[list[tuple[str, float]], list[str]]:
    """Behaviours by attention, heaviest first, and why there are none if that is a failure."""
    if not len(search.history.product_ids):
        return [], []
    try:
        attention = release.encoder.attention(release.make_request(request, search.history, search.now_us))
    except (TowerlineError, RuntimeError, ValueError, KeyError, OSError) as error:
        log(logging.WARNING, "attention cannot be told", release=release.release_id, error=str(error)[:300])
        return [], ["reasons: this release cannot tell which behaviours weigh"]
    return sorted(attention, key=lambda pair: -pair[1])[:BEHAVIOURS_SHOWN], []


def _nearest(
    release: LoadedRelease, product_ids: tuple[str, ...], attention: list[tuple[str, float]]
) -> list[list[dict[str, Any]]]:
    if release.vectors is None or not attention or not product_ids:
        return [[] for _ in product_ids]
    behaviours = dict(reversed(attention))
    found = _unit(release.vectors(product_ids))  # [n, d]
    known = _unit(release.vectors(list(behaviours)))  # [m, d]
    cosine = found @ known.T  # [n, m]
    share = np.where(cosine >= ALIKE, cosine, 0.0) * np.array(list(behaviours.values()), dtype=np.float32)
    order = np.argsort(-share, axis=1)[:, :NEAREST_SHOWN]
    names = list(behaviours)

    def of(row: int) -> list[dict[str, Any]]:
        best = [(names[column], float(share[row, column])) for column in order[row]]
        return [{"product_id": name, "share": value} for name, value in best if value > 0]

    return [of(row) for row in range(len(product_ids))]


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _anonymous_ranks(retriever: Retriever, request: SearchRequest, reply: Reply) -> dict[str, int]:
    if request.user_id is None and request.history is None:
        return {product_id: rank for rank, product_id in enumerate(reply.found.product_ids, 1)}
    deep = max(request.k, RANKS_KNOWN)
    plain = replace(request, user_id=None, history=None, session_id=None, release=reply.release, k=deep)
    (answer,) = retriever.answer([plain])
    if isinstance(answer, TowerlineError):
        return {}
    return {product_id: rank for rank, product_id in enumerate(answer.found.product_ids, 1)}
