"""Reads the documents: their code blocks, what each is for, and every `pipeline.py` command line in them.

A page's blocks, by language and by the line of text just above them:

| block | what the tests do with it |
| --- | --- |
| `sh` | run it, page by page, in order, in one shell (`Session`) |
| `sh` under "Not run by the tests: REASON." | parse its `pipeline.py` lines, as everywhere |
| `python`, `toml`, ... under "Save as `PATH`:" | write it to that file of the scratch directory before the next `sh` |
| `text` after an `sh` | look for its lines in the output of that block; `...` stands for anything |
| `json`, `mermaid`, `text` elsewhere | nothing |
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CLUSTER = DOCS / "how-to" / "cluster.md"
"""Needs a cluster from its first block to its last; only its commands are parsed."""

SHELL, SHOWN = "sh", ("json", "mermaid", "text")
_SAVE = re.compile(r"^Save as `([^`]+)`:$")
_NOT_RUN = re.compile(r"^Not run by the tests: .+\.$")
_ENDS = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>", ")"}


@dataclass(frozen=True)
class Block:
    """One fenced block; `above` is the nearest line of text before it."""

    language: str
    text: str
    line: int
    above: str

    @property
    def saved_as(self) -> str | None:
        """The file that a block is to be written to, or None."""
        found = _SAVE.match(self.above)
        return found[1] if found else None

    @property
    def runs(self) -> bool:
        """True for a shell block that the tests run."""
        return self.language == SHELL and not _NOT_RUN.match(self.above)


def pages() -> list[Path]:
    """Every page of docs/, the tutorial first, as the others go on from the shop it makes."""
    found = sorted(DOCS.rglob("*.md"))
    return sorted(found, key=lambda path: path.name != "tutorial.md")


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order. Raises AssertionError for a fence that is not closed."""
    found: list[Block] = []
    language: str | None = None
    body: list[str] = []
    above, start = "", 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if language is None and line.startswith("```"):
            language, body, start = line.removeprefix("```").strip(), [], number
        elif language is not None and line.rstrip() == "```":
            found.append(Block(language, "\n".join(body) + "\n", start, above))
            language, above = None, ""
        elif language is not None:
            body.append(line)
        elif line.strip():
            above = line.strip()
    assert language is None, f"{path}: the block of line {start} is not closed"
    return found


@dataclass(frozen=True)
class Command:
    """The words after `pipeline.py` in a page's block, up to a pipe or a comment."""

    line: int
    words: list[str]
    runs: bool


def commands(path: Path) -> list[Command]:
    """Every `pipeline.py` command of a page's blocks."""
    found = []
    for block in blocks(path):
        if block.language in SHOWN or block.saved_as:
            continue
        text = block.text.replace("\\\n", "  ")
        for offset, line in enumerate(text.splitlines(), 1):
            for match in re.finditer(r"\bpipeline\.py\b", line):
                words = _words(line[match.end() :])
                if words:
                    found.append(Command(block.line + offset, words, block.runs))
    return found


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>)")
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if word in _ENDS:
            break
        words.append(word)
    return words
