"""The whole DAG through kfp's Docker runner, each task in its own container, equals the run in processes."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.common.files import read_json
from components.common.manifest import current_release_id, read_release
from components.placement import MOUNT_PATH
from components.runs.state import TASKS
from tests.containers.conftest import ROOT, Image, engine

pytestmark = [pytest.mark.containers, pytest.mark.timeout(7200)]
RUN = "run-in-containers"
SMALL = {
    "parts": ["1/2", "2/2"],
    "log_settings": '{"products": "1000"}',
    "tower_settings": json.dumps(
        {"epochs": "2", "dimension": "32", "lstm_layers": "0", "negatives": "256", "threads": "1"}
    ),
    "evaluation_settings": '{"bootstrap_samples": "100", "lexical_margin": "1.0"}',
    "serving_settings": '{"smoke_requests": "20", "smoke_p99_ms": "5000"}',
}
"""A run of about a minute. The margin is wide: two small epochs do not reach BM25, nor need they here."""
PROGRAM = """
import json, sys
from kfp import local
from pipeline import towerline

folder, workdir, arguments = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
if workdir.startswith(folder):
    runner = local.SubprocessRunner(use_venv=False)
else:
    import docker
    runner = local.DockerRunner(mounts=[docker.types.Mount(workdir, f"{folder}/work", type="bind")])
local.init(runner=runner, pipeline_root=f"{folder}/outputs", raise_on_error=True, enable_caching=False)
towerline(workdir=workdir, **arguments)
"""


@dataclass(frozen=True)
class Outcome:
    """One run of the DAG: its seconds, whether it went through, what it left in its work directory."""

    seconds: float
    succeeded: bool
    workdir: Path

    @property
    def record(self) -> dict[str, Any]:
        """`run.json`, as the exit handler wrote it."""
        return read_json(self.workdir / "runs" / RUN / "run.json")

    @property
    def evaluation(self) -> Any:
        """The evaluation's rows of the served release."""
        release_id = current_release_id(self.workdir)
        assert release_id is not None
        return read_json(read_release(self.workdir, release_id).path("evaluation.json"))["rows"]


@pytest.fixture(scope="module")
def named(image: Image) -> str:
    """The image with a run's name in its environment, which on a cluster is the pod's label."""
    pytest.importorskip("docker", reason="kfp's Docker runner needs the package docker")
    name = f"{image.name}-run"
    recipe = f"FROM {image.name}\nENV TOWERLINE_RUN_ID={RUN}\n"
    done = engine("build", "-t", name, "-", input=recipe, env={**os.environ, "DOCKER_BUILDKIT": "1"})
    assert done.returncode == 0, done.stderr
    return name


def run(folder: Path, workdir: str, named: str, changes: dict[str, Any] | None = None) -> Outcome:
    """Runs the DAG in a process of its own, in containers when the work directory is their mount."""
    for part in ("work", "outputs"):
        (folder / part).mkdir(parents=True)
        (folder / part).chmod(0o777)  # tasks in containers run as another user
    environment = {**os.environ, "TOWERLINE_IMAGE": named, "TOWERLINE_RUN_DIR": f"{folder}/work/runs/{RUN}"}
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), workdir, json.dumps({**SMALL, **(changes or {})})],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    (folder / "log.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return Outcome(time.monotonic() - begun, done.returncode == 0, folder / "work")


@pytest.fixture(scope="module")
def in_containers(named: str, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(tmp_path_factory.mktemp("dag") / "containers", MOUNT_PATH, named)


@pytest.fixture(scope="module")
def in_processes(named: str, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("dag") / "processes"
    return run(folder, str(folder / "work"), named)


def test_every_task_is_done_in_its_container_and_the_report_is_written(in_containers: Outcome) -> None:
    assert in_containers.succeeded
    assert {task["task"]: task["state"] for task in in_containers.record["tasks"]} == dict.fromkeys(TASKS, "done")
    assert in_containers.record["state"] == "succeeded"
    assert (in_containers.workdir / "runs" / RUN / "report.html").stat().st_size > 10_000


def test_the_dag_in_containers_evaluates_as_in_processes(
    image: Image, in_containers: Outcome, in_processes: Outcome
) -> None:
    code = "from components.common.code import code_fingerprint; print(code_fingerprint('runs'))"
    inside = engine("run", "--rm", image.name, "python", "-c", code).stdout
    here = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert inside == here, "the working tree has changed since the image was built"
    assert in_processes.succeeded
    assert in_containers.evaluation == in_processes.evaluation
    for name, outcome in (("containers", in_containers), ("processes", in_processes)):
        work = sum(task["seconds"] for task in outcome.record["tasks"])
        beside = (outcome.seconds - work) / (len(TASKS) + 1)
        print(f"{name}: {outcome.seconds:.0f} s, of them {work:.0f} s work; {beside:.2f} s a task beside it")


def test_a_closed_gate_stops_the_run_in_containers_too(named: str, tmp_path: Path) -> None:
    outcome = run(tmp_path / "closed", MOUNT_PATH, named, {"validation_settings": '{"products_floor": "100000"}'})
    assert not outcome.succeeded
    assert outcome.record["gate"] == "data_gate"
    states = {task["task"]: task["state"] for task in outcome.record["tasks"]}
    assert states["train_towers"] == states["promote_release"] == "not reached"
    assert current_release_id(outcome.workdir) is None
