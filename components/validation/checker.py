"""What a table's row checks have in common: a check per piece, a memory of the partition, checks across its rows."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from components.validation.alarms import Finding
from components.validation.conform import Conformed
from components.validation.rules import Rules
from components.validation.summaries import Summary


class Across(NamedTuple):
    """Rows bad because of other rows of the partition: bool [rows of the partition, in reading order]."""

    bad: np.ndarray
    check: str
    sentence: str


class Checker:
    """The row checks of one partition of one table.

    `check` and `keep` are called once a piece, in reading order; `across` once after the last; `finish` once with the
    rows that are good in the end.
    """

    table = ""

    def __init__(self, day: str | None, rules: Rules) -> None:
        self.day, self.rules = day, rules
        self.other_days: set[str] = set()
        self.kept: dict[str, list[np.ndarray]] = {}

    def reset(self) -> None:
        """Forgets everything kept, to read the partition again from its start."""
        self.kept.clear()
        self.other_days.clear()

    def check(self, conformed: Conformed) -> None:
        """Marks the rows of a piece that are bad by themselves."""
        raise NotImplementedError

    def keep(self, conformed: Conformed) -> None:
        """Remembers of a checked piece what `across` and `finish` need."""
        raise NotImplementedError

    def across(self) -> list[Across]:
        """Rows that are bad because of other rows."""
        return []

    def finish(self, good: np.ndarray, summary: Summary, folder: Path) -> None:
        """Adds figures to the partition's summary, saves its ids in `folder`; `good` bool [rows of the partition]."""

    def findings(self, across: list[Across]) -> list[Finding]:
        """What the bad rows found by `across` say of the partition as a whole."""
        return []

    def remember(self, **arrays: np.ndarray) -> None:
        """Keeps one array [rows of the piece] a name."""
        for name, array in arrays.items():
            self.kept.setdefault(name, []).append(array)

    def recall_where(self, name: str, good: np.ndarray) -> np.ndarray:
        """The kept array of a name where `good`, bool [rows of the partition]; no copy where every row is."""
        return self.recall(name) if good.all() else self.recall(name)[good]

    def recall(self, name: str) -> np.ndarray:
        """The kept array [rows of the partition] of a name."""
        parts = self.kept.get(name, [])
        if len(parts) > 1:
            self.kept[name] = parts = [np.concatenate(parts)]
        return parts[0] if parts else np.zeros(0)


class MisplacedChecker(Checker):
    """Marks every row of files that no reader would find: outside a dt= folder, or in one whose name is not a date."""

    def __init__(self, table: str, rules: Rules, reason: str) -> None:
        super().__init__(None, rules)
        self.table, self.reason = table, reason

    def check(self, conformed: Conformed) -> None:
        conformed.marks.add(np.ones(conformed.rows, dtype=bool), "partition_name", self.reason)

    def keep(self, conformed: Conformed) -> None:
        self.remember(good=conformed.marks.good)


def later_copies(keys: np.ndarray) -> np.ndarray:
    """bool [n]: the value already stands at an earlier index."""
    ordered = np.sort(keys)
    twice = np.zeros(len(keys), dtype=bool)
    if len(keys) < 2 or not (ordered[1:] == ordered[:-1]).any():
        return twice
    order = np.argsort(keys, kind="stable")
    twice[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return twice
