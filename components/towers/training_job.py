"""Training on several nodes: hands the examples to a Kubeflow training job, waits for it, and takes the towers back.

The job's processes, started by torchrun (manifests/training), call the step that one task would call, so what comes
back is what that task would have trained. Examples and towers pass through the work directory, which all nodes mount.
Importing Kubernetes' client takes a second, so only `_connect` and `_submit` do: a bare GPU machine needs neither.
"""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

from components.common.cluster_files import object_of
from components.common.errors import Unavailable
from components.common.files import link_tree, read_json, staged_directory
from components.common.records import task_record
from components.towers.step import remove_abandoned, run, training_identity

_OURS = ("--examples=", "--out=", "--model=", "--settings=")
_LONGEST_SECONDS = 86_400
"""How long a job may run whose manifest does not say so."""


def train(
    examples: Path,
    out: Path,
    model: str,
    settings: str,
    workdir: Path,
    manifest: str = "",
    client: Any = None,
    polling_seconds: float = 15.0,
) -> dict[str, Any]:
    """The step `train_towers`: trains here, or in the job of `manifest`; arguments and facts are those of `step.run`.

    A task that is tried again finds the job of the same examples, model and settings and goes on waiting for it; a job
    that failed is started anew and goes on from its checkpoints, and so is one whose towers an earlier run has taken.

    Args:
        manifest: path of a PyTorchJob as YAML, with its namespace; empty: train in this process.
        client: a `kubeflow.training.TrainingClient`; default: of this cluster.

    Raises:
        NotFound, BadInput: the manifest. Unavailable: no cluster, or the job failed. As `step.run`, without a job.
    """
    if not manifest:
        return run(examples, out, model, settings, str(workdir / "checkpoints"))
    job = object_of(Path(manifest), "PyTorchJob")
    with task_record("train_towers") as record:
        identity = training_identity(examples, model, settings)
        shared = workdir / "training" / identity
        if not (shared / "examples").exists():
            with staged_directory(shared / "examples") as stage:
                shutil.copytree(examples, stage, dirs_exist_ok=True)
        wanted = _for(job, identity, shared, model, settings)
        if not (shared / "towers").exists():
            _submit(client or _connect(), wanted, polling_seconds, shared / "towers")
        with staged_directory(out) as stage:
            link_tree(shared / "towers", stage)
        facts = dict(read_json(out / "model.json")["trained"])
        processes = read_json(out / "training.json")["processes"]
        record.note(f"Trained by the job {wanted['metadata']['name']} in {processes} processes.")
        for name, value in facts.items():
            record.figure(name, value)
        shutil.rmtree(shared)
        remove_abandoned(shared.parent)
        return facts


def _for(job: dict[str, Any], identity: str, shared: Path, model: str, settings: str) -> dict[str, Any]:
    """A copy of the job that trains this, under a name of its own."""
    wanted = copy.deepcopy(job)
    wanted["metadata"]["name"] = f"{job['metadata']['name']}-{identity}"
    own = [f"--examples={shared / 'examples'}", f"--out={shared / 'towers'}", f"--model={model}"]
    own += [f"--settings={settings}"] if settings else []
    for replica in wanted["spec"]["pytorchReplicaSpecs"].values():
        for container in replica["template"]["spec"]["containers"]:
            container["args"] = [text for text in container["args"] if not text.startswith(_OURS)] + own
    return wanted


def _connect() -> Any:
    try:
        from kubeflow.training import TrainingClient
        from kubernetes.config import ConfigException
    except ImportError as error:
        raise Unavailable(f"a training job needs the package kubeflow-training: {error}.") from error
    try:
        return TrainingClient()
    except (ConfigException, OSError) as error:
        raise Unavailable(f"no Kubernetes cluster is configured here: {error}.") from error


def _submit(client: Any, wanted: dict[str, Any], polling_seconds: float, towers: Path) -> None:
    """Starts the job unless it runs or has left its `towers`, and waits until it has succeeded. Raises Unavailable."""
    from kubeflow.training.utils.utils import FakeResponse

    name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
    longest = wanted["spec"].get("runPolicy", {}).get("activeDeadlineSeconds", _LONGEST_SECONDS)
    try:
        before = _ended(client, name, namespace)
        spent = before == "Failed" or (before == "Succeeded" and not towers.exists())
        if spent:
            client.delete_job(name, namespace=namespace)
        if spent or before == "absent":
            job = client.api_client.deserialize(FakeResponse(wanted), "KubeflowOrgV1PyTorchJob")
            client.create_job(job, namespace=namespace)
        client.wait_for_job_conditions(
            name, namespace=namespace, expected_conditions={"Succeeded", "Failed"}, wait_timeout=longest,
            polling_interval=polling_seconds,
        )  # fmt: skip
        if _ended(client, name, namespace) == "Failed":
            raise Unavailable(f"the training job {namespace}/{name} failed; the logs of its pods say why.")
    except (RuntimeError, TimeoutError) as error:
        raise Unavailable(f"the training job {namespace}/{name} could not be run: {error}") from error


def _ended(client: Any, name: str, namespace: str) -> str:
    """Succeeded, Failed, "running", or "absent"."""
    try:
        job = client.get_job(name, namespace=namespace)
    except RuntimeError as error:
        if getattr(error.__cause__, "status", None) == 404:
            return "absent"
        raise
    conditions = (job.status.conditions if job.status else None) or []
    ended = [found.type for found in conditions if found.status == "True" and found.type in ("Succeeded", "Failed")]
    return ended[-1] if ended else "running"
