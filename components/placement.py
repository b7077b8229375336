"""What a task needs on a cluster: resources, time, retries, the shared volume, secrets.

kfp's local runner ignores all of these but the retries."""

import os
from dataclasses import dataclass

from kfp import dsl, kubernetes

VOLUME_CLAIM = "towerline-workdir"
"""The persistent volume claim that all tasks share (manifests/base)."""
MOUNT_PATH = "/towerline"
SECRET = "towerline-secrets"
"""The Kubernetes Secret with addresses and tokens; its keys become the environment variables below."""
_SECRET_ENVIRONMENT = {
    "milvus-uri": "TOWERLINE_MILVUS_URI",
    "milvus-token": "TOWERLINE_MILVUS_TOKEN",
    "redis": "TOWERLINE_REDIS",
    "registry": "TOWERLINE_REGISTRY",
    "spark-master": "TOWERLINE_SPARK_MASTER",
}
MANIFESTS = "towerline-manifests"
"""The ConfigMap with the endpoint's and the training job's manifests, for the tasks that apply them."""
MANIFESTS_PATH = "/etc/towerline"
ACCELERATORS = "TOWERLINE_ACCELERATORS"
"""Environment variable with the number of accelerators of a training task, read when the pipeline is compiled."""
_USER = 10001
_STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
"""What keeps an autoscaler from moving a task half-way to save a node."""


def accelerators() -> int | None:
    """TOWERLINE_ACCELERATORS; 0 where it is not set, None where it is no whole number.

    A task that asks for one waits for ever on a cluster that has none.
    """
    text = os.environ.get(ACCELERATORS) or "0"
    return int(text) if text.isascii() and text.isdigit() else None


@dataclass(frozen=True)
class Needs:
    """Resources of one task; retries only for work that may fail for reasons outside the data."""

    cpu: str = "1"
    memory: str = "4G"
    minutes: int = 60
    retries: int = 0
    accelerators: int = 0
    secrets: bool = False
    manifests: bool = False


def place(task: dsl.PipelineTask, needs: Needs) -> dsl.PipelineTask:
    """Gives a task resources, a time limit, the shared volume, its run's id, a non-root user and a node to stay on."""
    task.set_cpu_request(needs.cpu).set_cpu_limit(needs.cpu)
    task.set_memory_request(needs.memory).set_memory_limit(needs.memory)
    if needs.accelerators:
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(needs.accelerators)
    if needs.retries:
        task.set_retry(needs.retries, backoff_duration="5s", backoff_factor=2.0, backoff_max_duration="300s")
    kubernetes.mount_pvc(task, pvc_name=VOLUME_CLAIM, mount_path=MOUNT_PATH)
    kubernetes.set_timeout(task, needs.minutes * 60)
    kubernetes.set_security_context(task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True)
    kubernetes.use_field_path_as_env(task, "TOWERLINE_RUN_ID", "metadata.labels['pipeline/runid']")
    for name, value in _STAYS.items():
        kubernetes.add_pod_annotation(task, name, value)
    if needs.secrets:
        kubernetes.use_secret_as_env(task, SECRET, _SECRET_ENVIRONMENT, optional=True)
    if needs.manifests:
        kubernetes.use_config_map_as_volume(task, MANIFESTS, MANIFESTS_PATH, optional=True)
    return task.set_env_variable("TOWERLINE_WORKDIR", MOUNT_PATH)
