"""Runs the shell blocks of a page as a reader would: one shell, one directory, from the first block to the last."""

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import ROOT, SHELL, Block, blocks

CHEAP = (
    "towers.epochs=1", "towers.dimension=32", "towers.negatives=128", "towers.history=false", "towers.mgs=false",
    "towers.trm=false",
    "validation.expectations=false", "evaluation.lexical_margin=1.0", "evaluation.bootstrap_samples=100",
    "serving.smoke_requests=20",
)  # fmt: skip
"""Settings that every `pipeline.py run` of a page gets besides its own, so that the pages run in a minute."""
SAMPLE = ("logs.products=1000", "logs.days=3", "logs.history_days=2")
"""Further ones for runs on the sample marketplace."""
_COPIED = ("components", "feature_repo", "pipeline.py")
_SECONDS = 600

_WRAPPER = """#!/bin/bash
# `python` of the pages: the tests' interpreter, a small run, and a server at a free port (or the one that runs).
case "$1 $2" in
  "pipeline.py run")
    case " $* " in
      *" --source "*) exec {python} "$@" {cheap} ;;
      *) exec {python} "$@" {cheap} {sample} ;;
    esac ;;
  "pipeline.py serve") exec {serve} ;;
  *) exec {python} "$@" ;;
esac
"""


@dataclass(frozen=True)
class Done:
    """A page that was run: its exit code, all output, and what is wrong with it (empty: nothing)."""

    code: int
    output: str
    problems: list[str]


def scratch(directory: Path, workdir: Path | None = None) -> Path:
    """A copy of the code in a new directory, to be run and changed there; `.towerline` is `workdir` if one is given."""
    directory.mkdir(parents=True)
    for name in _COPIED:
        source = ROOT / name
        # Byte code goes along (it is valid while a file keeps its time), or every page would compile everything.
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, directory / name)
    if workdir is not None:
        (directory / ".towerline").symlink_to(workdir)
    return directory


def run_page(path: Path, directory: Path, server: int | None = None) -> Done:
    """Runs a page in a directory made by `scratch`; whatever it started in the background ends with it.

    `server` is the port of one that serves the page's work directory already; the page's own `serve` then waits idly,
    as starting a server takes longer than all else that a page does.
    """
    port = server or _free_port()
    script = directory / ".page.sh"
    script.write_text(_script(blocks(path)).replace(":8080", f":{port}"), encoding="utf-8")
    output = directory / ".page.log"
    with open(output, "wb") as file:
        process = subprocess.Popen(
            ["bash", script.name],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PATH": f"{_tools(directory, port, server is not None)}:{os.environ['PATH']}",
                "COLUMNS": "120",
            },
            start_new_session=True,
        )
        try:
            code = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            code = -signal.SIGALRM
        finally:
            _end_group(process)
    text = output.read_text(encoding="utf-8", errors="replace")
    return Done(code, text, _problems(path, code, text))


def _script(found: list[Block]) -> str:
    lines = ["set -euo pipefail"]
    for block in found:
        if block.saved_as:
            mark = f"END_OF_LINE_{block.line}"
            folder = Path(block.saved_as).parent
            lines += [f"mkdir -p '{folder}'", f"cat > '{block.saved_as}' <<'{mark}'", block.text.rstrip("\n"), mark]
        elif block.runs:
            lines += [f"echo; echo '@@ line {block.line}'", block.text.rstrip("\n")]
    return "\n".join([*lines, "echo; echo '@@ end'"]) + "\n"


def _tools(directory: Path, port: int, served: bool) -> Path:
    folder = directory / ".bin"
    folder.mkdir()
    wrapper = folder / "python"
    cheap, sample = (" ".join(f"--set {item}" for item in items) for items in (CHEAP, SAMPLE))
    serve = f"sleep {_SECONDS}" if served else f'{sys.executable} "$@" --port {port}'
    wrapper.write_text(_WRAPPER.format(python=sys.executable, cheap=cheap, sample=sample, serve=serve))
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    return folder


def _problems(path: Path, code: int, output: str) -> list[str]:
    parts = re.split(r"^@@ (?:line (\d+)|end)$", output, flags=re.MULTILINE)
    said = {int(line): text for line, text in zip(parts[1::2], parts[2::2], strict=True) if line}
    if code:
        last = max(said, default=0)
        return [f"{path.name}:{last}: the block ended with exit code {code}:\n{said.get(last, output)[-3000:]}"]
    problems, shell = [], None
    for block in blocks(path):
        if block.language == "text" and shell is not None and shell.runs:
            for line in filter(str.strip, block.text.splitlines()):
                wanted = r".*?".join(re.escape(" ".join(part.split())) for part in line.split("..."))
                if not re.search(wanted, " ".join(said[shell.line].split())):
                    problems.append(
                        f"{path.name}:{block.line}: the block of line {shell.line} does not print {line!r}:\n"
                        f"{said[shell.line][-3000:]}"
                    )
        shell = block if block.language == SHELL else None
    return problems


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Ends the page's shell and all it started: politely, then after 20 seconds by force."""
    for number, seconds in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + seconds
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
            while time.monotonic() < deadline:
                process.poll()  # a zombie still counts as a member of its group
                os.killpg(process.pid, 0)
                threading.Event().wait(0.05)
            continue
        break
    process.wait()
