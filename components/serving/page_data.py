"""What the search page shows beside search results: shoppers to pick, titles of products, a shopper's history."""

from collections.abc import Callable, Sequence
from typing import Any

from components.common.errors import NotFound, Unavailable
from components.common.files import read_json
from components.common.manifest import read_release
from components.serving.rollout import ReleaseTable
from components.serving.service import Service

BEHAVIOURS_SHOWN = 60
QUERIES_SHOWN = 10
EXAMPLES_SHOWN = 8


class PageData:
    """Read-only look-ups for the page. They block: call them on a worker thread.

    `shoppers(limit)` names shoppers of the release's log worth picking, with how many behaviours each has.
    """

    def __init__(self, service: Service, shoppers: Callable[[int], list[dict[str, Any]]]) -> None:
        self._service, self._shoppers = service, shoppers
        self._known: list[dict[str, Any]] | None = None
        self._examples: dict[str, list[str]] = {}

    def about(self) -> dict[str, Any]:
        """The loaded releases, the model, whether the data is simulated, and a few searches of its log to try."""
        table: ReleaseTable = self._service.table
        roles = {role: release.release_id for role, release in table.roles().items()}
        stable = table.stable
        if stable.release_id not in self._examples:
            self._examples = {stable.release_id: self._searches_of(stable.release_id)}
        return {
            "releases": roles,
            "percent": table.percent,
            "model": stable.model,
            "simulated": stable.simulated,
            "examples": self._examples[stable.release_id],
        }

    def _searches_of(self, release_id: str) -> list[str]:
        """A few of the release's golden requests, which are searches of its log."""
        path = read_release(self._service.workdir, release_id).path("golden.json")
        golden = read_json(path) if path.exists() else []
        return list(dict.fromkeys(item["request"]["query"] for item in golden))[:EXAMPLES_SHOWN]

    def shoppers(self, limit: int) -> list[dict[str, Any]]:
        """Shoppers to pick: `[{"user_id", "behaviours"}]`, read once."""
        if self._known is None:
            self._known = self._shoppers(200)
        return self._known[:limit]

    def products(self, product_ids: Sequence[str], release: str | None = None) -> dict[str, dict[str, Any]]:
        """Catalogue rows by product id; unknown products are left out."""
        table = self._service.table
        chosen = next((r for r in table.roles().values() if release in (None, r.release_id)), table.stable)
        rows = chosen.products.rows(product_ids)
        return {product_id: row for product_id, row in zip(product_ids, rows, strict=True) if row is not None}

    def lexical(self, query: str, k: int) -> dict[str, Any]:
        """What a search by words alone finds in the served catalogue, in the shape of a prediction."""
        stable = self._service.table.stable
        if stable.lexical is None:
            raise NotFound("this release has no search by words.")
        products = [{"product_id": product_id, "score": score} for product_id, score in stable.lexical(query, k)]
        return {"products": products, "release": stable.release_id, "degraded": False}

    def history(self, user_id: str) -> dict[str, Any]:
        """A shopper's latest behaviours and searches, newest first, with the products' rows. Raises Unavailable."""
        try:
            found = self._service.retriever.history(user_id)
        except Unavailable as error:
            raise Unavailable(f"the history cannot be read now ({error}).") from error
        behaviours = [
            {"product_id": product_id, "action": int(action), "timestamp": int(moment)}
            for product_id, action, moment in zip(found.product_ids, found.actions, found.timestamps, strict=True)
        ][: -BEHAVIOURS_SHOWN - 1 : -1]
        queries = [
            {"query": query, "timestamp": int(moment)}
            for query, moment in zip(found.queries, found.query_timestamps, strict=True)
        ][: -QUERIES_SHOWN - 1 : -1]
        rows = self.products(sorted({item["product_id"] for item in behaviours}))
        return {"user_id": user_id, "behaviours": behaviours, "queries": queries, "products": rows}
