"""Ctrl-C and SIGTERM end a process and what it started; a second one disturbs nothing; what was ignored stays so."""

import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from components.common.processes import descendants, is_alive
from components.common.records import read_task_records
from components.common.stopping import exit_code, stoppable, stopped_by

_WORK = """
import os, signal, subprocess, sys, time
from components.common.processes import adopted_orphans, descendants, end_descendants
from components.common.stopping import exit_code, stoppable
try:
    with stoppable(), adopted_orphans():
        try:
            task = subprocess.Popen(["sh", "-c", "sleep 60; true"])
            print(*descendants(), flush=True)
            task.wait()
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGTERM)  # the second one
            end_descendants(5.0)
            print("whole", flush=True)
            raise
except KeyboardInterrupt as stop:
    sys.exit(exit_code(stop))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stopped_process_puts_its_work_in_order_and_leaves_none_behind(number, code):
    heed = partial(signal.signal, number, signal.SIG_DFL)  # a shell in the background ignores SIGINT, and so would this
    process = subprocess.Popen([sys.executable, "-c", _WORK], stdout=subprocess.PIPE, text=True, preexec_fn=heed)
    below = [int(pid) for pid in process.stdout.readline().split()]
    assert below
    process.send_signal(number)
    assert process.communicate(timeout=60)[0] == "whole\n"
    assert process.returncode == code
    assert not any(map(is_alive, below))


def test_a_process_that_has_ended_and_is_not_buried_is_not_alive():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(process.pid)
    assert process.pid not in descendants()
    process.wait()


def test_a_signal_that_was_ignored_before_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_a_stop_is_called():
    assert [stopped_by(exit_code(KeyboardInterrupt(*args))) for args in ((), (2,), (15,))] == [
        "by hand",
        "by hand",
        "by SIGTERM",
    ]


def test_the_record_of_a_stopped_task_says_so(tmp_path):
    code = "import os, signal\nfrom components.common.records import task_record\nwith task_record('x'):\n"
    code += "    os.kill(os.getpid(), signal.SIGTERM)\n"
    environment = {**os.environ, "TOWERLINE_RUN_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    saved = read_task_records(tmp_path)["x"]
    assert (saved["state"], saved["reason"], saved["exit_code"]) == ("killed", "it was stopped by SIGTERM.", 143)
