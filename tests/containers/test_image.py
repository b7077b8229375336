"""The image as an operator relies on it: small, non-root, without compiler and without the build's secrets."""

import os
from pathlib import Path

import pytest

from components import placement
from tests.containers.conftest import ROOT, SECRETS, Image, engine

pytestmark = [pytest.mark.containers, pytest.mark.timeout(4000)]
LARGEST = 4_000_000_000
"""Bytes with a CPU build of torch; a CUDA build is several times that and is not what is tested here."""


def inside(image: Image, *words: str) -> tuple[int, str]:
    """Exit code and output of a command in a container without network, writable files or rights."""
    done = engine(
        "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", image.name, *words
    )
    return done.returncode, done.stdout + done.stderr


def test_the_image_is_built_and_small(image: Image) -> None:
    print(f"built in {image.seconds:.0f} s, {image.size / 1e9:.2f} GB")
    assert image.size < LARGEST


@pytest.mark.parametrize("words", [(), ("--help",), ("towerline", "--help"), ("python", "pipeline.py", "--help")])
def test_help_works_on_a_read_only_file_system(image: Image, words: tuple[str, ...]) -> None:
    code, output = inside(image, *words)
    assert code == 0, output
    assert "schedule" in output


def test_a_command_of_kubeflow_passes_through_the_entry_point(image: Image) -> None:
    code, output = inside(image, "sh", "-ec", 'echo "$0 $1"', "first", "second")
    assert (code, output.strip()) == (0, "first second")


def test_it_runs_as_the_user_that_the_tasks_are_given(image: Image) -> None:
    _, output = inside(image, "id", "-u")
    assert output.strip() == str(placement._USER)
    done = engine("image", "inspect", "--format", "{{.Config.User}} {{.Config.Healthcheck}}", image.name)
    assert done.stdout.strip() == f"{placement._USER}:{placement._USER} <nil>"


@pytest.mark.parametrize("tool", ["cc", "gcc", "g++", "clang", "make", "ld", "cmake"])
def test_no_compiler_is_left_inside(image: Image, tool: str) -> None:
    code, output = inside(image, "sh", "-c", f"command -v {tool}")
    assert code != 0, output
    assert output.strip() == ""


def test_every_package_is_at_the_version_of_the_lock_file(image: Image) -> None:
    code, output = inside(image, "python", "-m", "pip", "freeze", "--all")
    assert code == 0, output
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = {line.split(";")[0].strip().lower().replace("_", "-") for line in lines if "==" in line}
    names = {line.split("==")[0] for line in wanted}
    installed = {line.lower().replace("_", "-").split("+")[0] for line in output.splitlines() if "==" in line}
    strangers = {line for line in installed if line.split("==")[0] in names and line not in wanted}
    assert strangers == set()
    assert len(installed) > 100


def test_no_secret_of_the_build_stays_in_the_image(image: Image) -> None:
    given = [Path(os.environ[variable]) for variable in SECRETS.values() if variable in os.environ]
    if not given:
        pytest.skip("the build had no secrets here")
    history = engine("history", "--no-trunc", "--format", "{{.CreatedBy}}", image.name).stdout
    _, found = inside(image, "sh", "-c", "cat /etc/pip.conf /run/secrets/* 2>/dev/null; pip config list; env")
    for path in given:
        for line in path.read_text(encoding="utf-8").splitlines():
            value = line.partition("=")[2].strip() or line.strip()
            if len(value) > 12:
                assert value not in history
                assert value not in found


def test_the_server_and_the_training_script_start_to_their_help(image: Image) -> None:
    for words in (("python", "-m", "components.serving", "--help"), ("torchrun", "--help")):
        code, output = inside(image, *words)
        assert code == 0, output
