"""Fuzzing from the server's own OpenAPI description: any body gets an answer the description knows, never a 5xx."""

import json
import urllib.request
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from components.serving.requests import FILTER_FIELDS, HISTORY_FIELDS, INSTANCE_FIELDS
from tests.serving.conftest import RunningServer


@pytest.fixture(scope="module")
def schema(server: RunningServer) -> Any:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is a development dependency")
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_the_description_has_every_field_that_a_search_may_have(server: RunningServer) -> None:
    with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=30) as answer:
        body = json.load(answer)["paths"]["/v1/models/{model_name}:predict"]["post"]["requestBody"]
    fields = body["content"]["application/json"]["schema"]["properties"]["instances"]["items"]["properties"]
    assert set(fields) == set(INSTANCE_FIELDS)
    assert set(fields["filter"]["properties"]) == set(FILTER_FIELDS)
    assert set(fields["history"]["properties"]) == set(HISTORY_FIELDS)


OPERATIONS = [
    ("/v1/models/{model_name}:predict", "retrieval"),
    ("/v1/models/{model_name}:explain", "retrieval"),
    ("/v2/models/{model_name}/infer", "query-tower"),
    ("/v2/models/{model_name}/infer", "retrieval"),
    ("/v1/events", None),
]


@pytest.mark.parametrize(("path", "model"), OPERATIONS, ids=[f"{path} {model}" for path, model in OPERATIONS])
@pytest.mark.parametrize("valid", [True, False], ids=["as described", "not as described"])
def test_a_generated_body_never_gets_a_5xx(
    server: RunningServer, schema: Any, path: str, model: str | None, valid: bool
) -> None:
    """Whatever the body, the answer is 200 or a 4xx with a sentence, and the server stays ready."""
    from schemathesis import GenerationMode

    mode = GenerationMode.POSITIVE if valid else GenerationMode.NEGATIVE
    answers: set[int] = set()

    @given(schema[path]["POST"].as_strategy(generation_mode=mode))
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    def fuzz(case: Any) -> None:
        if model is not None:
            case.path_parameters = {"model_name": model}
        response = case.call(base_url=server.url, timeout=60)
        answers.add(response.status_code)
        assert response.status_code < 500, (response.status_code, response.text[:300])
        if response.status_code >= 400:
            assert isinstance(json.loads(response.text)["error"], str)

    fuzz()
    assert 200 in answers or not valid or path.startswith("/v2/")
    assert urllib.request.urlopen(f"{server.url}/v2/health/ready", timeout=30).status == 200
