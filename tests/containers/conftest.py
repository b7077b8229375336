"""The image, built for real once for all tests here; skipped with a reason where that cannot be."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE = os.environ.get("TOWERLINE_CONTAINER_BASE", "python:3.11-slim-bookworm")
"""A base image that the engine has already."""
SECRETS = {"pip": "TOWERLINE_CONTAINER_PIP_CONF", "ca": "TOWERLINE_CONTAINER_CA"}
"""Secrets of the build by their id: the environment variable that names the file."""


@dataclass(frozen=True)
class Image:
    """A built image: its name, how long the build took and how large it is."""

    name: str
    seconds: float
    size: int


def engine(*words: str, timeout: float = 120, **options: object) -> "subprocess.CompletedProcess[str]":
    """Runs the container engine's command line (TOWERLINE_CONTAINERS names it: docker or podman)."""
    command = os.environ["TOWERLINE_CONTAINERS"]
    return subprocess.run([command, *words], capture_output=True, text=True, timeout=timeout, **options)  # type: ignore[call-overload]


@pytest.fixture(scope="session")
def base() -> str:
    """The base image; skips unless an engine was named, runs, and has it."""
    command = os.environ.get("TOWERLINE_CONTAINERS", "")
    if not command:
        pytest.skip("set TOWERLINE_CONTAINERS to docker or podman to build and run the image for real")
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed here")
    if engine("info").returncode != 0:
        pytest.skip(f"{command} is installed but its engine does not run here")
    if engine("image", "inspect", BASE).returncode != 0:
        pytest.skip(f"the engine has no image {BASE}; pull or import it, or name another in TOWERLINE_CONTAINER_BASE")
    return BASE


@pytest.fixture(scope="session")
def image(base: str) -> Image:
    """The image of this working tree, under the name that the pipeline's tasks use."""
    from components.image import IMAGE

    words = ["build", "-f", "Containerfile", "-t", IMAGE, "--network", "host", "--build-arg", f"BASE={base}"]
    if "TOWERLINE_CONTAINER_TORCH_INDEX" in os.environ:
        words += ["--build-arg", f"TORCH_INDEX={os.environ['TOWERLINE_CONTAINER_TORCH_INDEX']}"]
    for name, variable in SECRETS.items():
        if variable in os.environ:
            words += ["--secret", f"id={name},src={os.environ[variable]}"]
    begun = time.monotonic()
    done = engine(*words, ".", timeout=3600, cwd=ROOT, env={**os.environ, "DOCKER_BUILDKIT": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    size = int(engine("image", "inspect", "--format", "{{.Size}}", IMAGE).stdout)
    return Image(IMAGE, time.monotonic() - begun, size)
