import os
import signal
import subprocess
import sys

import pytest

from components.common.errors import WorkdirBusy
from components.common.lock import workdir_lock

HOLD = """
import sys
from pathlib import Path
from components.common.lock import workdir_lock
with workdir_lock(Path(sys.argv[1]), "run test"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_held_lock_names_its_owner_and_a_killed_owner_leaves_none(tmp_path):
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(WorkdirBusy, match=rf"process {owner.pid} \(run test\) since 20"), workdir_lock(tmp_path, "x"):
        pass
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    with workdir_lock(tmp_path, "next"):
        assert (tmp_path / "lock").read_text().startswith('{"pid": ' + str(os.getpid()))
