"""Every partition of a log through the row checks, in the order in which tables refer to each other.

Products first, then every day of searches, then every day of events. One partition is in memory at a time; a partition
that an earlier run found, with the same content and the same tables it refers to, is taken over unread.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from components.common.files import link_tree
from components.common.progress import Progress
from components.logs.contract import PARTITIONED, Log
from components.validation.alarms import Finding
from components.validation.checker import Checker, MisplacedChecker
from components.validation.events import EventChecker
from components.validation.identity import Catalogue, DaySearches, among, repeated_across, search_ids
from components.validation.judgements import JudgementChecker
from components.validation.ledger import Outcome, Store, mark_files, untouched
from components.validation.partition import PartitionRun
from components.validation.products import ProductChecker
from components.validation.reading import UnreadableFile, count_rows
from components.validation.routing import link
from components.validation.rules import Rules, is_day
from components.validation.searches import SearchChecker

_DEPEND_ON_TODAY = ("outside_window", "future")


class Night:
    """Checks a log's partitions and writes their statistics.

    Args:
        log: the log to check.
        rules: what the checks need to know of it.
        earlier: statistics of an earlier run, or an empty store.
        statistics: the new statistics folder.
    """

    def __init__(self, log: Log, rules: Rules, earlier: Store, statistics: Path) -> None:
        self.log, self.rules, self.earlier, self.statistics = log, rules, earlier, statistics
        self.outcomes: dict[str, Outcome] = {}
        self.reused: set[str] = set()
        self._searched: dict[str, np.ndarray] = {}

    def run(self) -> None:
        """Checks everything; `outcomes` then holds one entry a partition, in the order of the house."""
        with Progress(self._count(), "checking rows") as self.progress:
            files = self.log.files("products")
            self._check("products", "products", None, files, partial(ProductChecker, None, self.rules))
            folder = self.statistics / "products"
            self.catalogue = Catalogue.load(folder)
            self._added, self._removed = self._changes()
            for day in self._days("searches"):
                self._searches(day)
            self._part_repeated()
            for day in self._days("events"):
                self._events(day)
            if files := self.log.files("judgements"):
                same = not self._catalogue_changed()
                checker = partial(JudgementChecker, None, self.rules, self.catalogue.ids)
                self._check("judgements", "judgements", None, files, checker, same)
            for table in ("products", *PARTITIONED):
                self._misplaced(table)
        self._find_doubled()

    def _check(
        self,
        key: str,
        table: str,
        day: str | None,
        files: Iterable[Path],
        checker: Callable[[], Checker],
        same: bool = True,
    ) -> None:
        """One partition: taken over if unchanged and `same` (what it refers to is unchanged too), else read."""
        files = [path for path in files if path.is_file()]
        marks = mark_files(self.log.path, files, self.earlier.outcomes.get(key))
        outcome = Outcome(key, table, day, marks, rules=self.rules.key)
        if same and self._unchanged(outcome):
            self.outcomes[key] = self._take_over(outcome)
            return
        run = PartitionRun(checker(), outcome, self.log.path, self.statistics, self.progress.advance)
        self.outcomes[key] = run.run()

    def _searches(self, day: str, taken: np.ndarray | None = None) -> None:
        key, checker = f"searches/dt={day}", partial(SearchChecker, day, self.rules, taken)
        self._check(key, "searches", day, self.log.files("searches", [day]), checker, same=taken is None)

    def _events(self, day: str) -> None:
        def checker() -> Checker:
            searches = DaySearches.load(self.statistics / f"searches/dt={day}")
            return EventChecker(day, self.rules, self.catalogue.ids, searches, lambda ids: self._day_of(ids, day))

        key = f"events/dt={day}"
        self._check(key, "events", day, self.log.files("events", [day]), checker, same=self._refers_to_same(key, day))

    def _days(self, table: str) -> list[str]:
        return [day for day in self.log.days(table) if is_day(day)]

    def _count(self) -> int:
        total = 0
        places = [("products", self.log.files("products")), ("judgements", self.log.files("judgements"))]
        for table in PARTITIONED:
            places += [(f"{table}/dt={day}", self.log.files(table, [day])) for day in self._days(table)]
        for key, files in places:
            before = self.earlier.outcomes.get(key)
            if before is not None and untouched(self.log.path, files, before):
                total += before.rows
                continue
            for path in files:
                try:
                    total += count_rows(path)
                except UnreadableFile:
                    continue  # the check of its partition reports it
        return total

    def _part_repeated(self) -> None:
        """Checks the later days again whose search ids an earlier day already has."""
        folders = {day: self.statistics / f"searches/dt={day}" for day in self._days("searches")}
        fresh = {day for day in folders if f"searches/dt={day}" not in self.reused}
        for day, taken in repeated_across(folders, fresh).items():
            self.reused.discard(f"searches/dt={day}")
            # Files taken over are links: writing into them would change the statistics of the served release.
            for kind in ("", "kept", "quarantined"):
                for path in (self.statistics / kind / "searches" / f"dt={day}").glob("*"):
                    path.unlink()
            self._searches(day, np.sort(taken))

    def _day_of(self, hashes: np.ndarray, day: str) -> np.ndarray:
        """The day other than `day` that has each search hash uint64 [n], the nearest before it first; "" if none."""
        found = np.full(len(hashes), "", dtype="<U10")
        days = self._days("searches")
        for other in [d for d in reversed(days) if d < day] + [d for d in days if d > day]:
            if other not in self._searched:
                self._searched[other] = search_ids(self.statistics / f"searches/dt={other}")
            missing = np.flatnonzero(found == "")
            if len(missing) == 0:
                break
            found[missing[among(hashes[missing], self._searched[other])]] = other
        return found

    def _misplaced(self, table: str) -> None:
        """Files that no reader finds: every row of theirs goes to quarantine."""
        known = {name for outcome in self.outcomes.values() for name in outcome.files}
        by_folder: dict[str, list[Path]] = defaultdict(list)
        for path in sorted((self.log.path / table).rglob("*.parquet")):
            name = path.relative_to(self.log.path)
            if path.is_file() and name.as_posix() not in known:
                by_folder[name.parent.as_posix()].append(path)
        for folder, files in by_folder.items():
            wanted = f"{table}/dt=YYYY-MM-DD" if table in PARTITIONED else table
            reason = f"the file lies in {folder}, where no reader looks; {table} belong in {wanted}"
            key = folder if folder not in self.outcomes else f"{folder}/misplaced"
            self._check(key, table, None, files, partial(MisplacedChecker, table, self.rules, reason), same=False)
            outcome = self.outcomes[key]
            outcome.add_finding(Finding("partition_name", f"Table {table}: {reason} ({outcome.rows:,} rows)."))

    def _find_doubled(self) -> None:
        """Two files of one table with the same content: a partition or a part of it was copied."""
        first: dict[tuple[str, str], str] = {}
        for outcome in self.outcomes.values():
            for name, mark in outcome.files.items():
                twin = first.setdefault((outcome.table, mark["sha256"]), name)
                if twin != name and outcome.rows and name not in outcome.unreadable:
                    sentence = f"Table {outcome.table}: {name} has the same content as {twin}; one of them is a copy."
                    if not any(item["sentence"] == sentence for item in outcome.findings):
                        outcome.add_finding(Finding("doubled_partition", sentence))

    # What may be taken over from the earlier run.

    def _unchanged(self, outcome: Outcome) -> bool:
        before = self.earlier.outcomes.get(outcome.key)
        if before is None or before.rules != outcome.rules or set(before.checks) & set(_DEPEND_ON_TODAY):
            return False
        if {n: m["sha256"] for n, m in before.files.items()} != {n: m["sha256"] for n, m in outcome.files.items()}:
            return False
        if self.rules.times and before.first is not None and before.last is not None:
            low, high = self.rules.start, self.rules.end
            if (low is not None and before.first < low) or (high is not None and before.last > high):
                return False
        return (self.earlier.folder(outcome.key) / "summary.json").is_file()

    def _take_over(self, outcome: Outcome) -> Outcome:
        before = self.earlier.outcomes[outcome.key]
        root = self.earlier.folder("")
        with os.scandir(root / outcome.key) as entries:
            for entry in entries:
                if entry.is_file():
                    link(Path(entry.path), self.statistics / outcome.key / entry.name)
        for kind in ("kept", "quarantined"):
            for name in outcome.files:
                if (path := root / kind / name).is_file():
                    link(path, self.statistics / kind / name)
        self.reused.add(outcome.key)
        self.progress.advance(before.rows)
        return replace(before, files=outcome.files)

    def _changes(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids that the catalogue gained and lost since the earlier run, uint64 ascending each."""
        ids = self.catalogue.ids
        if "products" in self.reused or "products" not in self.earlier.outcomes:
            return ids[:0], ids[:0]
        before = Catalogue.load(self.earlier.folder("products")).ids
        return np.setdiff1d(ids, before), np.setdiff1d(before, ids)

    def _catalogue_changed(self) -> bool:
        return bool(len(self._added) or len(self._removed))

    def _refers_to_same(self, key: str, day: str) -> bool:
        """True when the products and searches that these events refer to are as they were."""
        before = self.earlier.outcomes.get(key)
        if before is None or ("unknown_product" in before.checks and len(self._added)):
            return False
        if len(self._removed):
            used = self.earlier.folder(key) / "products.npy"
            if not used.is_file() or among(self._removed, np.load(used, mmap_mode="r")).any():
                return False
        needed = {day, *before.other_days}
        if "unknown_search" in before.checks:
            needed |= {item for item in self._days("searches") if item < day}
        return all(self._same_searches(item) for item in needed)

    def _same_searches(self, day: str) -> bool:
        key = f"searches/dt={day}"
        if key in self.reused:
            return True
        if key not in self.outcomes:
            return key not in self.earlier.outcomes
        if key not in self.earlier.outcomes:
            return False
        new, old = (DaySearches.load(root / key) for root in (self.statistics, self.earlier.folder("")))
        return all(np.array_equal(getattr(new, name), getattr(old, name)) for name in ("ids", "times", "users"))


def publish(night: Night, checked: Path, quarantine: Path) -> None:
    """Links every good file into `checked`, every quarantined one and every unreadable file into `quarantine`."""
    for outcome in night.outcomes.values():
        for name in outcome.files:
            if name in outcome.unreadable:
                link(night.log.path / name, quarantine / "unreadable" / name)
            elif name in outcome.rewritten:
                link(night.statistics / "kept" / name, checked / name)
            elif name not in outcome.dropped:
                link(night.log.path / name, checked / name)
    if (night.statistics / "quarantined").is_dir():
        link_tree(night.statistics / "quarantined", quarantine)
