"""The job that keeps the nightly run, and the run that it asks for."""

import re

import pytest

from components import placement
from components.runs.commands import build_parser
from components.runs.schedule import six_field_cron
from tests.manifests.reading import built, one, pods


@pytest.mark.parametrize("directory", ["overlays/dev", "overlays/production"])
def test_the_schedules_command_is_one_that_the_command_line_takes(directory: str) -> None:
    documents = built(directory)
    (container,) = pods(one("CronJob", "towerline-schedule", documents))[0][1]["containers"]
    values = {**one("ConfigMap", "towerline-schedule", documents)["data"], "NAMESPACE": "shop"}
    words = [re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], text) for text in container["args"]]
    options = build_parser().parse_args(words)
    assert (options.command, options.action) == ("schedule", "set")
    assert options.image == container["image"]
    assert options.namespace == "shop"
    assert options.data == "" or options.data.startswith(placement.MOUNT_PATH)
    assert six_field_cron(options.cron).split()[0] == "0"


@pytest.mark.parametrize(("directory", "source"), [("dev", "marketplace"), ("production", "parquet")])
def test_the_scheduled_run_is_one_that_can_begin(directory: str, source: str) -> None:
    documents = built(f"overlays/{directory}")
    values = one("ConfigMap", "towerline-schedule", documents)["data"]
    (container,) = pods(one("CronJob", "towerline-schedule", documents))[0][1]["containers"]
    assert values["TOWERLINE_IMAGE"] == container["image"]
    assert values["SOURCE"] == source
    (maker,) = pods(one("Job", "towerline-workdir", documents))[0][1]["containers"]
    assert values["DATA"] == "" if source == "marketplace" else f"mkdir -p {values['DATA']} " in maker["args"][0]


def test_the_job_that_keeps_the_schedule_runs_alone_and_ends() -> None:
    spec = one("CronJob", "towerline-schedule")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= 3600
    (token,) = (v for v in pods(one("CronJob", "towerline-schedule"))[0][1]["volumes"] if v["name"] == "token")
    assert token["projected"]["sources"][0]["serviceAccountToken"]["audience"] == "pipelines.kubeflow.org"


def test_the_schedules_token_is_where_its_command_reads_it() -> None:
    pod = pods(one("CronJob", "towerline-schedule"))[0][1]
    (container,) = pod["containers"]
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == "token"]
    (token,) = [v for v in pod["volumes"] if v["name"] == "token"]
    path = f"{mount['mountPath']}/{token['projected']['sources'][0]['serviceAccountToken']['path']}"
    assert f'TOWERLINE_KFP_TOKEN="$(cat {path})"' in container["command"][2]


def test_the_schedule_compiles_with_as_many_accelerators_as_its_settings_say() -> None:
    assert int(one("ConfigMap", "towerline-schedule")["data"][placement.ACCELERATORS]) == 0
    (container,) = pods(one("CronJob", "towerline-schedule"))[0][1]["containers"]
    assert {"configMapRef": {"name": "towerline-schedule"}} in container["envFrom"]
