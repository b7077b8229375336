"""The pipeline on a cluster: compile it, start one run, keep one schedule, through the official Kubeflow client."""

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from components.common.errors import BadSetting, NotFound, Unavailable
from components.common.files import write_text
from components.image import IMAGE

Dag = Callable[..., Any]
PIPELINE_NAME = "towerline"


def compile_pipeline(dag: Dag, path: Path, image: str | None = None) -> None:
    """Writes the pipeline as Kubeflow's intermediate representation (YAML).

    Every task runs in `image`, but for those of a room that has an image of its own (TOWERLINE_IMAGE_<ROOM>), with as
    many threads as it may use cores. Raises BadSetting for a path that is no YAML file or an image that is none.
    """
    import yaml
    from kfp import compiler

    if path.is_dir() or path.suffix not in (".yaml", ".yml"):
        raise BadSetting(f"-o {path} must name a file that ends in .yaml, for example -o pipeline.yaml.")
    image = image or IMAGE
    if not re.fullmatch(r"[\w.:/@-]+", image):
        raise BadSetting(f"the image {image!r} is no reference such as registry.example.com/towerline-python:0.1.0.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(dag, str(compiled))
        text = compiled.read_text(encoding="utf-8")
    documents = list(yaml.safe_load_all(text))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        _fit(executor["container"], image)
    comments = text[: len(text) - len(re.sub(r"\A(#.*\n)+", "", text))]
    write_text(path, comments + yaml.safe_dump_all(documents))


def _fit(container: dict[str, Any], image: str) -> None:
    """Gives a task its image and its threads: libraries count a node's cores, of which a container gets a few.

    Not in `placement`, because the laptop's runner hands a task's environment on, and has its own number of cores.
    """
    if container["image"] == IMAGE:
        container["image"] = image
    cores = max(1, int(container["resources"]["cpuLimit"]))
    container["env"].append({"name": "OMP_NUM_THREADS", "value": str(cores)})


class Cluster:
    """One Kubeflow Pipelines API. Every method raises Unavailable with one sentence when it does not answer.

    The token comes from TOWERLINE_KFP_TOKEN or, inside a cluster, from the service account; the namespace from the
    argument, TOWERLINE_KFP_NAMESPACE or the service account. A Kubeflow of several users keeps pipelines, experiments,
    runs and schedules in that namespace; one without users has none. `account` is the service account of the runs,
    empty for the one that Kubeflow gives them.
    """

    def __init__(self, client: Any, host: str, namespace: str | None, account: str | None) -> None:
        self._client, self._host, self._namespace, self._account = client, host, namespace, account

    @classmethod
    def connect(cls, host: str | None, namespace: str | None = None, account: str | None = None) -> "Cluster":
        """A connection to the API at `host`.

        Raises Unavailable when nothing answers there, or something else does; NotFound without host, or without a
        namespace where one is needed; BadSetting for a host that is no URL.
        """
        if not host:
            raise NotFound("which Kubeflow? Give its API with --host, for example --host http://localhost:8888.")
        if not re.match(r"https?://[^/]", host):
            raise BadSetting(f"--host {host} must begin with http:// or https://, as http://localhost:8888 does.")
        with _one_sentence(host):
            client = _client(
                host,
                namespace or os.environ.get("TOWERLINE_KFP_NAMESPACE") or "kubeflow",
                os.environ.get("TOWERLINE_KFP_TOKEN") or None,
            )
            several_users = client.get_kfp_healthz().multi_user
        if not several_users:
            return cls(client, host, None, account or None)
        own = client.get_user_namespace()
        if not own:
            raise NotFound(f"whose namespace? Kubeflow at {host} has several users: give yours with --namespace.")
        return cls(client, host, own, account or None)

    def submit(self, dag: Dag, arguments: Mapping[str, Any], experiment: str, image: str | None) -> dict[str, str]:
        """Starts one run of the pipeline's current version and returns its name and id."""
        with _one_sentence(self._host):
            pipeline_id, version_id = self._upload(dag, image)
            experiment_id = self._experiment(experiment)
            run = self._client.run_pipeline(
                experiment_id,
                f"{PIPELINE_NAME}-{arguments['source']}-{arguments['model']}",
                pipeline_id=pipeline_id,
                version_id=version_id,
                params=cluster_arguments(arguments),
                service_account=self._account,
            )
        return {"run_id": run.run_id, "name": run.display_name, "pipeline_version": version_id}

    def set_schedule(
        self, dag: Dag, name: str, cron: str, arguments: Mapping[str, Any], experiment: str, image: str | None
    ) -> dict[str, Any]:
        """Creates the recurring run `name`, or replaces it when it differs; the same call twice leaves one schedule.

        One run at a time and no catching up of missed nights: after an outage one run is started, not many.
        Kubeflow cannot change a recurring run, so a change is a new one, created before the old ones are deleted. A run
        that an old one has started goes on, and a paused schedule stays paused.
        """
        with _one_sentence(self._host):
            pipeline_id, version_id = self._upload(dag, image)
            experiment_id = self._experiment(experiment)
            existing = self._schedules(name)
            wanted = (cron, version_id, cluster_arguments(arguments))
            same = [
                job for job in existing if _described(job) == wanted and self._account in (None, job.service_account)
            ]
            if same:
                kept, action = same[0], "unchanged"
            else:
                kept = self._client.create_recurring_run(
                    experiment_id,
                    name,
                    cron_expression=cron,
                    max_concurrency=1,
                    no_catchup=True,
                    enabled=not existing or any(map(_enabled, existing)),
                    params=wanted[2],
                    pipeline_id=pipeline_id,
                    version_id=version_id,
                    service_account=self._account,
                )
                action = "updated" if existing else "created"
            for job in existing:
                if job.recurring_run_id != kept.recurring_run_id:
                    self._client.delete_recurring_run(job.recurring_run_id)
        return {"schedule": name, "action": action, "cron": cron, "id": kept.recurring_run_id}

    def list_schedule(self, name: str) -> dict[str, Any]:
        """Every recurring run of the API, by name, with its cron and whether it is enabled."""
        with _one_sentence(self._host):
            return {
                job.display_name: f"{job.trigger.cron_schedule.cron} ({'enabled' if _enabled(job) else 'paused'})"
                for job in self._schedules()
            }

    def pause_schedule(self, name: str) -> dict[str, Any]:
        """Pauses the recurring run. Raises NotFound."""
        return self._each(name, "disable_recurring_run", "paused")

    def resume_schedule(self, name: str) -> dict[str, Any]:
        """Resumes the recurring run. Raises NotFound."""
        return self._each(name, "enable_recurring_run", "resumed")

    def delete_schedule(self, name: str) -> dict[str, Any]:
        """Deletes the recurring run; a run that it has started goes on. Raises NotFound."""
        return self._each(name, "delete_recurring_run", "deleted")

    def _each(self, name: str, method: str, action: str) -> dict[str, Any]:
        with _one_sentence(self._host):
            jobs = self._schedules(name)
            if not jobs:
                raise NotFound(f"there is no schedule {name!r} on {self._host}; `schedule list` shows what there is.")
            for job in jobs:
                getattr(self._client, method)(job.recurring_run_id)
        return {"schedule": name, "action": action}

    def _schedules(self, name: str | None = None) -> list[Any]:
        jobs: list[Any] = []
        token = ""
        while True:
            page = self._client.list_recurring_runs(page_token=token, page_size=100, namespace=self._namespace)
            jobs += page.recurring_runs or []
            token = page.next_page_token or ""
            if not token:
                return [job for job in jobs if name is None or job.display_name == name]

    def _experiment(self, name: str) -> str:
        return self._client.create_experiment(name, namespace=self._namespace).experiment_id

    def _pipeline(self) -> str | None:
        """The id of the pipeline in the namespace; kfp's own look-up by name knows no namespace."""
        found = self._client.list_pipelines(namespace=self._namespace, filter=_named(PIPELINE_NAME))
        return found.pipelines[0].pipeline_id if found.pipelines else None

    def _upload(self, dag: Dag, image: str | None) -> tuple[str, str]:
        """Uploads the compiled pipeline as a version named by its content; an uploaded version is reused."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            compile_pipeline(dag, path, image)
            version = f"{PIPELINE_NAME}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
            pipeline_id = self._pipeline()
            if pipeline_id is None:
                uploaded = self._client.upload_pipeline(str(path), PIPELINE_NAME, namespace=self._namespace)
                pipeline_id = uploaded.pipeline_id
            known = self._client.list_pipeline_versions(pipeline_id, filter=_named(version)).pipeline_versions
            if known:
                return pipeline_id, known[0].pipeline_version_id
            made = self._client.upload_pipeline_version(str(path), version, pipeline_id=pipeline_id)
            return pipeline_id, made.pipeline_version_id


def _client(host: str, namespace: str, token: str | None) -> Any:
    """Kubeflow's client, but one that asks for the API's health once, takes no login page for an answer, and deletes a
    recurring run without the run under way.

    Its own check logs five refusals with their tracebacks, and believes whatever answers with 200. A run belongs to the
    recurring run that started it: Kubernetes would end it half-way when that is deleted (kubeflow/pipelines#12573).
    """
    import kfp
    import kfp_server_api

    class Client(kfp.Client):
        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            answer = self._healthz_api.healthz_service_get_healthz(_preload_content=False)
            try:
                health = json.loads(answer.data)
            except ValueError:
                health = None
            if not isinstance(health, dict):
                raise Unavailable(
                    f"{host} answers, but not as Kubeflow Pipelines does (a login page?); check the address, and give "
                    "a token in TOWERLINE_KFP_TOKEN where one is asked for."
                )
            return kfp_server_api.V2beta1GetHealthzResponse(multi_user=bool(health.get("multi_user")))

        def delete_recurring_run(self, recurring_run_id: str) -> Any:
            return self._recurring_run_api.recurring_run_service_delete_recurring_run(
                recurring_run_id=recurring_run_id, propagation_policy="ORPHAN"
            )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the client greets with one
        return Client(host=host, namespace=namespace, existing_token=token)


def _named(name: str) -> str:
    """The API's filter for one name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def cluster_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are sent: what is empty or default keeps the pipeline's own default."""
    return {name: value for name, value in arguments.items() if value not in ("", "{}")}


def _described(job: Any) -> tuple[str, str, dict[str, Any]]:
    return (
        job.trigger.cron_schedule.cron,
        job.pipeline_version_reference.pipeline_version_id,
        dict(job.runtime_config.parameters or {}),
    )


def _enabled(job: Any) -> bool:
    return str(job.status or job.mode).upper() in ("ENABLE", "ENABLED")


@contextlib.contextmanager
def _one_sentence(host: str) -> Iterator[None]:
    """Turns the client's many network and API errors into one Unavailable sentence, and its prints into notes."""
    from kfp_server_api.exceptions import ApiException, OpenApiException
    from urllib3.exceptions import HTTPError

    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except ApiException as error:
        answer = f"{error.status} {error.reason}"
        raise Unavailable(f"Kubeflow at {host} answered {answer}; check token, namespace and names.") from None
    except (OpenApiException, HTTPError, OSError, TimeoutError):
        raise Unavailable(f"Kubeflow at {host} does not answer; check the address and the network.") from None
