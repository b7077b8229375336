"""A process that works for another one ends with it, and nonsense in the environment ends nothing."""

import os
import subprocess
import sys
import threading

import pytest

from components.common.processes import OWNER, end_with_owner, is_alive

_TASK = "from components.common.processes import end_with_owner as end; end(); import time; time.sleep(60)"


def test_a_task_ends_soon_after_its_owner():
    with subprocess.Popen(["sleep", "60"]) as owner:
        task = subprocess.Popen([sys.executable, "-c", _TASK], env={OWNER: str(owner.pid)})
        owner.kill()
    assert task.wait(30) == 70


def test_a_process_that_has_ended_and_is_not_yet_buried_is_not_alive():
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(process.pid)
    assert is_alive(os.getpid())


@pytest.mark.parametrize("value", ["", "nonsense", "-1", "1.5", "²"])
def test_an_owner_that_is_no_process_is_none(monkeypatch, value):
    monkeypatch.setenv(OWNER, value)
    end_with_owner()
    assert "owner-watch" not in {thread.name for thread in threading.enumerate()}
