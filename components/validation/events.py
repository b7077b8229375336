"""Row checks of one day of events."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.logs.contract import ACTIONS
from components.validation.alarms import Finding
from components.validation.checker import Across, Checker, later_copies
from components.validation.conform import Conformed
from components.validation.hashing import combine
from components.validation.identity import DaySearches, among, place_of
from components.validation.rules import Rules, check_numbers, check_time, times_of
from components.validation.speed import leak, too_fast
from components.validation.summaries import Summary, action_codes
from components.validation.text import check_id

_DOUBLED_SHARE = 0.3


class EventChecker(Checker):
    """Actions known, products and searches there, nothing before its search or its impression, nothing twice.

    Args:
        products: uint64 ascending, the good products.
        searches: the good searches of the same day.
        elsewhere: tells of search hashes uint64 [n] the day each belongs to ("" unknown); asked only for those that the
            same day lacks.

    60 bytes an event of the day are kept.
    """

    table = "events"

    def __init__(
        self,
        day: str | None,
        rules: Rules,
        products: np.ndarray,
        searches: DaySearches,
        elsewhere: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        super().__init__(day, rules)
        self._products, self._searches, self._elsewhere = products, searches, elsewhere

    def check(self, conformed: Conformed) -> None:
        limit = self.rules.settings.id_bytes
        marks = conformed.marks
        check_id(conformed, "product_id", limit)
        check_time(conformed, self.rules, self.day)
        actions = conformed.column("action")
        unknown = (action_codes(actions) < 0) & conformed.valid("action")
        marks.add(unknown, "unknown_action", f"action {{value}} is not one of {', '.join(ACTIONS)}", actions)
        check_id(conformed, "search_id", limit)
        check_id(conformed, "user_id", limit)
        check_numbers(conformed, "position", 1.0, 2**31 - 1)
        products = conformed.column("product_id")
        hashed = conformed.hashed("product_id")
        orphan = hashed.spread(~among(hashed.unique, self._products))
        marks.add(orphan, "unknown_product", "product_id {value} is not among the good rows of products", products)
        self._check_search(conformed)

    def _check_search(self, conformed: Conformed) -> None:
        if "search_id" not in conformed.columns:
            return
        array = conformed.columns["search_id"]
        hashed, times = conformed.hashed("search_id"), times_of(conformed)
        hashes, place = hashed.rows, hashed.spread(place_of(hashed.unique, self._searches.ids))
        lost = (hashes != 0) & (place < 0) & conformed.marks.good
        early = np.zeros(len(hashes), dtype=bool)
        if lost.any():
            different, inverse = np.unique(hashes[lost], return_inverse=True)
            days = self._elsewhere(different)[inverse]
            self.other_days |= set(days.tolist()) - {""}
            if self.day is not None and self.rules.times:
                early[lost] = days > self.day
            lost[lost] = days == ""
        conformed.marks.add(lost, "unknown_search", "search_id {value} is not among the good rows of searches", array)
        if self.rules.times and len(self._searches.ids):
            early |= (place >= 0) & (times < self._searches.times[place] - self.rules.skew)
        sentence = "the event is earlier than its search {value}; if most are, one of the tables has local time"
        conformed.marks.add(early, "before_search", sentence, array)

    def keep(self, conformed: Conformed) -> None:
        product, search, user = (conformed.hashed(name).rows for name in ("product_id", "search_id", "user_id"))
        time, action = times_of(conformed), action_codes(conformed.column("action"))
        position = np.asarray(pc.fill_null(conformed.column("position"), 0).to_numpy(zero_copy_only=False))
        pair = combine(search, product)
        self.remember(
            search=search,
            product=product,
            pair=pair,
            user=user,
            owner=self._owners(conformed),
            time=time,
            action=action.astype(np.int8),
            position=position.astype(np.int32),
            row=combine(pair, time, action, user, position),
            good=conformed.marks.good,
        )

    def _owners(self, conformed: Conformed) -> np.ndarray:
        """uint64 [rows]: the hash of the user of each event's search, 0 unknown."""
        hashed = conformed.hashed("search_id")
        place = place_of(hashed.unique, self._searches.ids)
        owners = np.zeros(len(place), dtype=np.uint64)
        owners[place >= 0] = self._searches.users[place[place >= 0]]
        return hashed.spread(owners)

    def across(self) -> list[Across]:
        good = self.recall("good").astype(bool)
        if len(good) == 0:
            return []
        search, pair, time, action = (self.recall(name) for name in ("search", "pair", "time", "action"))
        # Without times and searches two equal rows are two clicks, not one written twice.
        comparable = good if self.rules.times else good & (search != 0)
        twice = np.zeros(len(good), dtype=bool)
        twice[comparable] = later_copies(self.recall_where("row", comparable))
        sentence = "the same event (time, product, action, search, user, position) occurs in an earlier row"
        found = [Across(twice, "duplicate", sentence)]
        if self.rules.times and self.rules.impressions:
            shown = good & (search != 0) & (action == 0)
            order = np.lexsort((time[shown], pair[shown]))
            pairs, first = np.unique(pair[shown][order], return_index=True)
            engaged = np.flatnonzero(good & (search != 0) & (action > 0))
            place = place_of(pair[engaged], pairs)
            engaged, place = engaged[place >= 0], place[place >= 0]
            before = np.zeros(len(good), dtype=bool)
            before[engaged] = time[engaged] < time[shown][order][first[place]] - self.rules.skew
            found.append(Across(before, "before_impression", "the action is earlier than the impression it answers"))
        return found

    def finish(self, good: np.ndarray, summary: Summary, folder: Path) -> None:
        search, user, time, action, pair, position, product = (
            self.recall_where(name, good)
            for name in ("search", "user", "time", "action", "pair", "position", "product")
        )
        folder.mkdir(parents=True, exist_ok=True)
        different = pa.array(product.astype(np.uint64)).unique().to_numpy(zero_copy_only=False)
        np.save(folder / "products.npy", np.sort(different))
        engaged = action > 0
        if self.rules.times:
            fast = too_fast(user[engaged], time[engaged], self.rules.settings.actions_per_minute)
            summary.count("fast", np.array([fast, (user[engaged] != 0).sum()]))
        shown = (action == 0) & (search != 0)
        if shown.any():
            clicked = pair[engaged & (search != 0)]
            summary.count("leak", leak(search[shown], pair[shown], clicked, position[shown]))
        owner = self.recall_where("owner", good)
        both = (owner != 0) & (user != 0)
        summary.count("other_user", np.array([(both & (owner != user)).sum(), both.sum()]))

    def findings(self, across: list[Across]) -> list[Finding]:
        """A finding when so many rows are copies that the partition was written twice."""
        rows = len(self.recall("good"))
        copies = sum(int(item.bad.sum()) for item in across if item.check == "duplicate")
        if rows == 0 or copies < _DOUBLED_SHARE * rows:
            return []
        sentence = (
            f"Table events: {copies:,} of the {rows:,} rows of {self.day} are copies of earlier rows; the partition "
            "was probably written twice. The copies are in quarantine."
        )
        return [Finding("doubled_partition", sentence)]
