"""One partition through the row checks: read once if it is clean, a second time only where rows must be taken out."""

from collections.abc import Callable, Mapping
from pathlib import Path

from components.common.files import sha256_file
from components.logs.contract import REQUIRED, TABLES, missing_column, unknown_columns
from components.validation.alarms import STOP, WARN, Finding
from components.validation.checker import Across, Checker
from components.validation.conform import Conformed, conform
from components.validation.ledger import Outcome
from components.validation.reading import Piece, UnreadableFile, file_schema, read_pieces
from components.validation.routing import Router
from components.validation.rules import times_of
from components.validation.summaries import SummaryBuilder, day_figures


class PartitionRun:
    """Checks the files of one partition and writes what it finds below `statistics`.

    Args:
        checker: the table's row checks.
        log: the log's folder, which the names in `outcome.files` are relative to.
        statistics: the new statistics folder; gets `<key>/summary.json`, the ids, `kept/` and `quarantined/`.
        advance: called with the number of rows read, for progress.
    """

    def __init__(
        self, checker: Checker, outcome: Outcome, log: Path, statistics: Path, advance: Callable[[int], None]
    ) -> None:
        self.checker, self.outcome = checker, outcome
        self.log, self.statistics, self.advance = log, statistics, advance
        self.readable = dict.fromkeys(outcome.files)

    def run(self) -> Outcome:
        """Fills and returns the outcome."""
        while not self._first_pass():
            self.checker.reset()
        across = [item for item in self.checker.across() if item.bad.any()]
        good = self.checker.recall("good").astype(bool)
        for item in across:
            good &= ~item.bad
        if across:
            self.builder = self._new_builder()
        self._second_pass(across)
        summary = self.builder.finish()
        folder = self.statistics / self.outcome.key
        self.checker.finish(good, summary, folder)
        for finding in self.checker.findings(across):
            self.outcome.add_finding(finding)
        self.outcome.other_days = sorted(self.checker.other_days)
        self.outcome.good = int(good.sum())
        summary.save(folder)
        self.outcome.empty = [name for name, nulls in summary.nulls.items() if nulls == summary.rows]
        if self.outcome.good and self.outcome.day is not None:
            self.outcome.figures = day_figures(summary)
        return self.outcome

    def _new_builder(self) -> SummaryBuilder:
        return SummaryBuilder(self.checker.table, self.checker.rules.settings.vocabulary)

    def _first_pass(self) -> bool:
        """Checks every readable file; False when one turned out unreadable and the pass must start again without it."""
        outcome = self.outcome
        outcome.rows, outcome.first, outcome.last = 0, None, None
        outcome.checks, outcome.examples, outcome.findings = {}, {}, [f for f in outcome.findings if _is_file(f)]
        self.lacking = set[str]()
        self.builder, self.dirty, self.spans = self._new_builder(), set[str](), dict[str, tuple[int, int]]()
        for file in list(self.readable):
            start = outcome.rows
            try:
                self._note_columns(file)
                for piece in read_pieces(self.log / file, self.checker.rules.settings.batch_rows):
                    self._check(file, piece)
            except UnreadableFile as error:
                self._set_aside(file, error)
                return False
            self.spans[file] = (start, outcome.rows)
        return True

    def _check(self, file: str, piece: Piece) -> None:
        conformed = self._conformed(file, piece)
        good = conformed.marks.good
        self.checker.keep(conformed)
        if good.any():
            self.builder.add(conformed, good)
        if conformed.converted or not good.all():
            self.dirty.add(file)
            self._count(file, conformed, conformed.marks.counts())
        self.outcome.rows += conformed.rows
        if "timestamp" in conformed.columns and good.any():
            times = times_of(conformed)[good]
            low, high = int(times.min()), int(times.max())
            self.outcome.first = low if self.outcome.first is None else min(low, self.outcome.first)
            self.outcome.last = high if self.outcome.last is None else max(high, self.outcome.last)
        self.advance(conformed.rows)

    def _conformed(self, file: str, piece: Piece) -> Conformed:
        conformed = conform(self.checker.table, piece, file, self._note)
        if file not in self.lacking:
            self.checker.check(conformed)
        return conformed

    def _second_pass(self, across: list[Across]) -> None:
        """Splits the files that have bad rows or converted columns; adds everything anew when rows fell by others."""
        for file, (start, stop) in self.spans.items():
            split = file in self.dirty or any(item.bad[start:stop].any() for item in across)
            if not split and not across:
                continue
            with Router(file, self.statistics / "kept" / file, self.statistics / "quarantined" / file) as router:
                for piece in read_pieces(self.log / file, self.checker.rules.settings.batch_rows):
                    conformed = self._conformed(file, piece)
                    self._mark_across(file, conformed, across, start)
                    start += conformed.rows
                    if across and conformed.marks.good.any():
                        self.builder.add(conformed, conformed.marks.good)
                    if split:
                        router.route(conformed)
            if split and router.good_rows:
                self.outcome.rewritten[file] = sha256_file(self.statistics / "kept" / file)
            elif split:
                self.outcome.dropped.append(file)
        # Without rows nothing was marked, but no reader could read such a file.
        self.outcome.dropped += [file for file in self.lacking if len(set(self.spans[file])) == 1]

    def _mark_across(self, file: str, conformed: Conformed, across: list[Across], start: int) -> None:
        for item in across:
            bad = item.bad[start : start + conformed.rows] & conformed.marks.good
            if bad.any():
                conformed.marks.add(bad, item.check, item.sentence)
                self._count(file, conformed, {item.check: int(bad.sum())})

    def _count(self, file: str, conformed: Conformed, counts: Mapping[str, int]) -> None:
        """Adds a piece's bad rows to the outcome, with one example a check."""
        checks, examples = self.outcome.checks, self.outcome.examples
        for check, count in counts.items():
            checks[check] = checks.get(check, 0) + count
        if set(counts) - set(examples):
            for row, check, text in zip(*conformed.marks.sentences(), strict=True):
                place = f"{file}, row group {conformed.piece.row_group}, row {conformed.piece.first_row + int(row)}"
                examples.setdefault(check, f"{text} ({place})")

    def _note(self, finding: Finding) -> None:
        if not any((f["name"], f["sentence"]) == (finding.name, finding.sentence) for f in self.outcome.findings):
            self.outcome.add_finding(finding)

    def _note_columns(self, file: str) -> None:
        """Notes required columns that a file lacks, and columns that the contract does not know."""
        schema, contract, table = file_schema(self.log / file), TABLES[self.checker.table], self.checker.table
        for name in REQUIRED[table]:
            if name not in schema.names:
                self.lacking.add(file)
                self._note(Finding("missing_column", missing_column(table, name, Path(file), schema.names)))
        unknown = unknown_columns(table, schema.names)
        lacking = [name for name in contract.names if name not in schema.names]
        if unknown:
            hint = f"; the contract's {', '.join(lacking)} are absent" if lacking else ""
            names = ", ".join(unknown)
            sentence = f"Table {table}: {file} has columns that nothing reads: {names}{hint}."
            self._note(Finding("unknown_column", sentence, WARN))

    def _set_aside(self, file: str, error: UnreadableFile) -> None:
        del self.readable[file]
        self.outcome.unreadable[file] = {"reason": error.reason, "rows": error.rows}
        sentence = f"Table {self.checker.table}: the file {file} is not readable ({error.reason}); write it again."
        self._note(Finding("unreadable_file", sentence, STOP))


def _is_file(finding: dict[str, str]) -> bool:
    return finding["name"] == "unreadable_file"
