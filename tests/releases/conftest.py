"""Small releases with blessings, and a way to kill an operation at every one of its steps."""

import multiprocessing
import os
import signal
import sys

import pytest

from components.common.manifest import Release, fingerprint_files, read_release, release_directory, write_release

A, B, C, D = (f"2026010{day}-030405-aaaaaa" for day in range(1, 5))
_STEPS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "shutil.rmtree", "os.utime"}


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "work"


@pytest.fixture
def make(workdir):
    """Writes complete releases, each with towers of its own or, as an upsert does, with those of another."""

    def releases(*ids, towers_of=None):
        for release_id in ids:
            directory = release_directory(workdir, release_id)
            for name in ("towers/towers.safetensors", "index/vectors.npy"):
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                owner = towers_of if towers_of and name.startswith("towers/") else release_id
                (directory / name).write_text(f"{name} of {owner}")
            day = release_id[6:8]
            write_release(
                Release(
                    release_id, "mgdspr", True, "items", {}, "shopper_history_v1", {}, "c0de", {}, {}, {},
                    fingerprint_files(directory), f"2026-01-{day}T03:04:05+00:00", None, directory,
                )
            )  # fmt: skip

    return releases


@pytest.fixture
def blessings(workdir):
    """The two open blessings of a release, as keyword arguments of `promote`."""

    def of(release_id):
        towers = read_release(workdir, release_id).towers_fingerprint
        quality = {"gate": "quality", "open": True, "reason": "better.", "towers": towers}
        infrastructure = {"gate": "infrastructure", "open": True, "reason": "answers.", "towers": towers}
        return {"quality": quality, "infrastructure": {**infrastructure, "release": release_id}}

    return of


def killed_at(step, function, arguments):
    """Calls `function(*arguments)` in a process that kills itself (SIGKILL) before its `step`-th change of a file.

    The process is forked from a clean one, not from the tests', whose libraries' threads a fork would not survive.
    Returns whether it was killed; False means that it has fewer steps and ran to its end.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.releases.conftest", "components.releases.operations"])
    process = context.Process(target=_run_until, args=(step, function, arguments))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), "the operation failed before it was killed"
    return process.exitcode != 0


def _run_until(step, function, arguments):
    counted = 0

    def hook(event, _):
        nonlocal counted
        if event in _STEPS:
            counted += 1
            if counted > step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    function(*arguments)
    os._exit(0)
