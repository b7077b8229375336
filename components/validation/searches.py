"""Row checks of one day of searches."""

from pathlib import Path

import numpy as np

from components.validation.checker import Across, Checker, later_copies
from components.validation.conform import Conformed
from components.validation.identity import DaySearches, among
from components.validation.rules import Rules, check_numbers, check_time, times_of
from components.validation.speed import too_fast
from components.validation.summaries import Summary
from components.validation.text import check_id, check_text


class SearchChecker(Checker):
    """Ids unique, in the day and, through `taken`, in the window; times in the day; queries readable.

    `taken` uint64 ascending: search ids that an earlier day has. 25 bytes a search are kept.
    """

    table = "searches"

    def __init__(self, day: str | None, rules: Rules, taken: np.ndarray | None = None) -> None:
        super().__init__(day, rules)
        self._taken = np.zeros(0, dtype=np.uint64) if taken is None else taken

    def check(self, conformed: Conformed) -> None:
        settings = self.rules.settings
        check_id(conformed, "search_id", settings.id_bytes)
        check_time(conformed, self.rules, self.day)
        check_text(conformed, "query", settings.query_characters, empty=True)
        check_id(conformed, "user_id", settings.id_bytes)
        check_text(conformed, "country", settings.text_characters)
        check_numbers(conformed, "latitude", -90.0, 90.0)
        check_numbers(conformed, "longitude", -180.0, 180.0)
        if len(self._taken):
            again = among(conformed.hashed("search_id").rows, self._taken)
            sentence = "search_id {value} is already used on an earlier day"
            conformed.marks.add(again, "duplicate_id", sentence, conformed.column("search_id"))

    def keep(self, conformed: Conformed) -> None:
        self.remember(
            id=conformed.hashed("search_id").rows,
            user=conformed.hashed("user_id").rows,
            time=times_of(conformed),
            good=conformed.marks.good,
        )

    def across(self) -> list[Across]:
        good, ids = self.recall("good").astype(bool), self.recall("id").astype(np.uint64)
        twice = np.zeros(len(good), dtype=bool)
        twice[good] = later_copies(ids[good])
        return [Across(twice, "duplicate_id", "search_id occurs in an earlier row of the day already")]

    def finish(self, good: np.ndarray, summary: Summary, folder: Path) -> None:
        ids, times, users = (self.recall_where(name, good) for name in ("id", "time", "user"))
        DaySearches.of(ids.astype(np.uint64), times.astype(np.int64), users.astype(np.uint64)).save(folder)
        if self.rules.times:
            fast = too_fast(users, times, self.rules.settings.actions_per_minute)
            summary.count("fast", np.array([fast, (users != 0).sum()]))
