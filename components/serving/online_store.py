"""The online feature store as the server uses it: histories out in one read, behaviours in, shoppers for the page."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.common.errors import TowerlineError
from components.features.history import Behaviour, History, Search
from components.features.schema import SHOPPER
from components.features.store import FeatureStoreClient
from components.serving.events import Event
from components.serving.structured_logs import log


class OnlineStore:
    """Histories of one work directory's store; every method but `warm` raises Unavailable when it does not answer."""

    def __init__(self, workdir: Path, environment: str) -> None:
        self.environment = environment
        self._client = FeatureStoreClient(workdir, environment)
        self._known = Path(workdir) / "feature_store" / f"online-{environment}.parquet"

    def warm(self) -> None:
        """Imports Feast and opens the store, so that no shopper waits for it. A store that is down is only logged."""
        try:
            self._client.warm()
        except TowerlineError as error:
            log(logging.WARNING, "the feature store does not answer; shoppers are anonymous", reason=str(error))

    def histories(self, user_ids: Sequence[str]) -> list[History]:
        """Histories in the order asked; empty for an unknown shopper."""
        return self._client.histories(user_ids)

    def given(self, behaviours: Any) -> History:
        """A history from the lists of a request."""
        bought_at = behaviours.get("bought_timestamps") or None
        return History(
            list(behaviours["product_ids"]),
            np.array(behaviours["actions"], dtype=np.int8),
            np.array(behaviours["timestamps"], dtype=np.int64),
            list(behaviours["queries"]),
            np.array(behaviours["query_timestamps"], dtype=np.int64),
            list(behaviours["bought_product_ids"]),
            None if bought_at is None else np.array(bought_at, dtype=np.int64),
        )

    def empty(self) -> History:
        """The history of somebody unknown."""
        return History.empty()

    def push(self, events: Sequence[Event]) -> None:
        """Writes events, each shopper's together; the next read sees them."""
        by_user: dict[str, list[Behaviour | Search]] = {}
        for event in events:
            made: Behaviour | Search = (
                Search(event.timestamp, event.query)
                if event.action == "search"
                else Behaviour(event.timestamp, event.product_id, event.action)
            )
            by_user.setdefault(event.user_id, []).append(made)
        for user_id, made_events in by_user.items():
            self._client.push(user_id, *made_events)

    def shoppers(self, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` shoppers spread over the store, those with most behaviours first; none where none are known."""
        import pyarrow.parquet as pq

        if not self._known.exists():
            return []
        ids = pq.read_table(self._known, columns=[SHOPPER]).column(SHOPPER).to_pylist()
        chosen = [str(ids[place]) for place in np.linspace(0, len(ids) - 1, min(limit, len(ids))).astype(int)]
        counted = zip(chosen, self._client.histories(chosen), strict=True)
        rows = [{"user_id": user_id, "behaviours": len(history)} for user_id, history in counted]
        return sorted(rows, key=lambda row: (-int(str(row["behaviours"])), row["user_id"]))
