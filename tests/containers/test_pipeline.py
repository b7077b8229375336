"""The whole DAG through kfp's Docker runner, each task in its own container, equals the run in processes."""

import time
from pathlib import Path
from typing import Any

import pytest

from components.common.files import read_json
from components.common.manifest import current_release_id, read_release
from components.placement import MOUNT_PATH
from tests.containers.conftest import Image

pytestmark = [pytest.mark.containers, pytest.mark.timeout(7200)]
TASKS = 14
"""Tasks of the DAG, gates and exit handler included."""
SMALL = {
    "log_settings": '{"products": "300", "days": "5"}',
    "tower_settings": '{"epochs": "2", "dimension": "16", "batch_size": "64", "threads": "1"}',
    "evaluation_settings": '{"bootstrap_samples": "50"}',
    "serving_settings": '{"smoke_requests": "20", "smoke_p99_ms": "5000"}',
}


def run(runner: Any, folder: Path, workdir: str) -> float:
    """One run of the DAG; returns its seconds."""
    from kfp import local

    from pipeline import towerline

    local.init(runner=runner, pipeline_root=str(folder / "outputs"), raise_on_error=True, enable_caching=False)
    begun = time.monotonic()
    towerline(workdir=workdir, **SMALL)
    return time.monotonic() - begun


def rows(workdir: Path) -> Any:
    """The evaluation of the served release."""
    release_id = current_release_id(workdir)
    assert release_id is not None
    return read_json(read_release(workdir, release_id).path("evaluation.json"))["rows"]


def test_the_dag_in_containers_evaluates_as_in_processes(image: Image, tmp_path: Path) -> None:
    docker = pytest.importorskip("docker", reason="kfp's Docker runner needs the package docker")
    from kfp import local

    folders = [tmp_path / "containers", tmp_path / "processes"]
    for folder in folders:
        for part in ("work", "outputs"):
            (folder / part).mkdir(parents=True)
            (folder / part).chmod(0o777)  # tasks in containers run as another user
    mount = docker.types.Mount(MOUNT_PATH, str(folders[0] / "work"), type="bind")
    in_containers = run(local.DockerRunner(mounts=[mount]), folders[0], MOUNT_PATH)
    in_processes = run(local.SubprocessRunner(use_venv=False), folders[1], str(folders[1] / "work"))
    print(f"containers {in_containers:.0f} s, processes {in_processes:.0f} s")
    print(f"a container adds {(in_containers - in_processes) / TASKS:.1f} s to a task")
    assert rows(folders[0] / "work") == rows(folders[1] / "work")
