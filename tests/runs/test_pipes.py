"""Commands whose standard streams are closed, full, or not UTF-8."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from components.common.manifest import Release, write_release

ROOT = Path(__file__).resolve().parents[2]
COMMAND = f"{sys.executable} pipeline.py"


def bash(line, **environment):
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, env=environment or None, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("words", ["settings --json", "releases", "--help"])
def test_a_reader_that_has_seen_enough_is_no_error(words, tmp_path):
    place = f"--workdir {tmp_path}" if words == "releases" else ""
    # The reader is gone before the first word is written.
    line = f"({COMMAND} {words} {place}; echo $? >&2) | sleep 0"
    assert bash(line)[2] == "0\n"


def test_output_that_could_not_be_written_is_an_error(tmp_path):
    code, _, said = bash(f"{COMMAND} releases --json --workdir {tmp_path} > /dev/full")
    assert code == 1
    assert "No space left on device" in said
    assert len(said.splitlines()) == 1


def test_an_error_that_nobody_can_be_told_keeps_its_exit_code(tmp_path):
    assert bash(f"{COMMAND} rollback --workdir {tmp_path} 2> /dev/full")[0] == 2


def test_closed_streams_change_no_exit_code(tmp_path):
    assert bash(f"{COMMAND} releases --workdir {tmp_path} >&- 2>&- <&-") == (0, "", "")
    assert bash(f"{COMMAND} rollback --workdir {tmp_path} 2>&-") == (2, "", "")


def test_a_terminal_that_is_not_utf_8_shows_the_rest(tmp_path):
    fields = {name: {} for name in ("milvus", "log", "settings", "evaluation", "boosting", "files")}
    texts = dict.fromkeys(("model", "collection", "feature_service", "code"), "x")
    folder = tmp_path / "releases" / "20260102-030405-1a2b3c"
    release = Release(folder.name, simulated=True, created_at="2026", directory=folder, **texts, **fields)
    write_release(release)
    (tmp_path / "current").write_text(release.release_id)
    code, shown, said = bash(f"{COMMAND} releases --workdir {tmp_path}", PYTHONIOENCODING="ascii", PATH="/usr/bin:/bin")
    assert (code, said) == (0, "")
    assert release.release_id in shown


def test_an_interrupt_while_libraries_load_is_no_traceback():
    words = [sys.executable, "-X", "importtime", "pipeline.py", "runs"]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    # A shell in the background ignores SIGINT, and so would all that it starts.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(words, cwd=ROOT, preexec_fn=heed, **pipes) as process:
        while "kfp" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in said
