"""Redis and Milvus keep what they hold, within the memory they have, and ask for a password."""

import re
from typing import Any

import pytest

from tests.manifests.models import quantity
from tests.manifests.reading import Document, built, one, pods

BUILT = ("base", "overlays/dev", "overlays/production")
_REDIS_SIZES = {"mb": 2**20, "gb": 2**30}


def redis(directory: str) -> tuple[dict[str, str], Document]:
    """The directives of redis.conf, and the pod that reads it."""
    text = one("ConfigMap", "towerline-redis", built(directory))["data"]["redis.conf"]
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#"))
    return dict(lines), pods(one("StatefulSet", "towerline-redis", built(directory)))[0][1]


@pytest.mark.parametrize("directory", BUILT)
def test_redis_writes_down_what_it_holds_on_its_own_volume(directory: str) -> None:
    directives, pod = redis(directory)
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (claim,) = one("StatefulSet", "towerline-redis", built(directory))["spec"]["volumeClaimTemplates"]
    assert directives["appendonly"] == "yes"
    assert mounts[claim["metadata"]["name"]] == directives["dir"]
    assert f"{mounts['configuration']}/redis.conf" in container["args"][0]
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


@pytest.mark.parametrize("directory", BUILT)
def test_redis_forgets_nobody_and_stays_within_its_memory(directory: str) -> None:
    directives, pod = redis(directory)
    (container,) = pod["containers"]
    number, unit = re.fullmatch(r"(\d+)(mb|gb)", directives["maxmemory"]).groups()  # type: ignore[union-attr]
    limit = quantity(container["resources"]["limits"]["memory"])
    assert 0.7 * limit < int(number) * _REDIS_SIZES[unit] < 0.85 * limit
    assert directives["maxmemory-policy"] == "noeviction"


@pytest.mark.parametrize("directory", BUILT)
def test_redis_is_found_under_the_name_of_its_service(directory: str) -> None:
    state, service = (one(kind, "towerline-redis", built(directory)) for kind in ("StatefulSet", "Service"))
    assert state["spec"]["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= state["spec"]["template"]["metadata"]["labels"].items()
    assert state["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 30  # until its last second is written


@pytest.mark.parametrize("directory", BUILT)
def test_milvus_asks_for_a_password_and_its_data_outlives_its_object(directory: str) -> None:
    spec = one("Milvus", "towerline", built(directory))["spec"]
    assert spec["config"]["common"]["security"]["authorizationEnabled"] is True
    assert spec["components"]["runAsNonRoot"] is True
    dependencies: dict[str, Any] = {name: part for name, part in spec["dependencies"].items() if isinstance(part, dict)}
    inside = [part["inCluster"] for part in dependencies.values() if "inCluster" in part]
    assert {part["deletionPolicy"] for part in inside} == {"Retain"}


def test_milvus_finds_its_bucket_by_the_secret_that_is_written_for_it() -> None:
    storage = one("Milvus", documents=built("overlays/production"))["spec"]["dependencies"]["storage"]
    secret = one("ExternalSecret", storage["secretRef"])["spec"]
    assert secret["target"]["name"] == storage["secretRef"]
    assert {item["secretKey"] for item in secret["data"]} == {"accesskey", "secretkey"}


def test_redis_is_ready_when_it_answers_with_its_password() -> None:
    (container,) = pods(one("StatefulSet", "towerline-redis"))[0][1]["containers"]
    shell, option, script = container["readinessProbe"]["exec"]["command"]
    assert (shell, option) == ("sh", "-c")
    (password,) = [
        item["name"] for item in container["env"] if item["valueFrom"]["secretKeyRef"]["key"] == "redis-password"
    ]
    assert f'REDISCLI_AUTH="${password}" redis-cli ping' in script
