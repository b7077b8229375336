"""Which accounts there are, and what each may do."""

import pytest

from tests.manifests.reading import built, one, pods, written

WRITTEN = [document for _, document in written()]


def test_every_account_that_is_named_exists() -> None:
    accounts = {document["metadata"]["name"] for document in WRITTEN if document["kind"] == "ServiceAccount"}
    roles = {document["metadata"]["name"] for document in WRITTEN if document["kind"] == "Role"}
    bindings = [document for document in WRITTEN if document["kind"] == "RoleBinding"]
    assert {pod["serviceAccountName"] for document in WRITTEN for _, pod in pods(document)} <= accounts
    assert {subject["name"] for binding in bindings for subject in binding["subjects"]} <= accounts
    assert [binding["roleRef"]["name"] for binding in bindings] == [binding["metadata"]["name"] for binding in bindings]
    assert {binding["roleRef"]["name"] for binding in bindings} == roles


@pytest.mark.parametrize(("directory", "account"), [("dev", "pipeline-runner"), ("production", "default-editor")])
def test_the_account_of_runs_may_deploy_and_train_but_not_schedule(directory: str, account: str) -> None:
    bindings = [document for document in built(f"overlays/{directory}") if document["kind"] == "RoleBinding"]
    bound = {b["metadata"]["name"] for b in bindings if account in {subject["name"] for subject in b["subjects"]}}
    assert bound == {"towerline-deployer", "towerline-trainer"}


def test_the_deployer_may_do_what_deploying_does_and_nothing_else() -> None:
    role = one("Role", "towerline-deployer")
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"inferenceservices"}
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"create", "get", "update", "delete"}
    assert one("InferenceService")["metadata"]["name"] in role["rules"][1]["resourceNames"]


def test_the_trainer_may_do_what_a_training_job_needs_and_nothing_else() -> None:
    (rule,) = one("Role", "towerline-trainer")["rules"]
    assert (rule["apiGroups"], rule["resources"]) == (["kubeflow.org"], ["pytorchjobs"])
    assert set(rule["verbs"]) == {"create", "get", "delete"}


def test_the_scheduler_may_do_what_the_schedule_does_and_nothing_else() -> None:
    """kfp asks for an experiment and a pipeline by name, makes what is missing, and keeps the recurring run."""
    rules = one("Role", "towerline-scheduler")["rules"]
    granted = {resource: set(rule["verbs"]) for rule in rules for resource in rule["resources"]}
    made = {"create", "get", "list"}
    assert granted == {
        "experiments": made, "pipelines": made, "pipelines/versions": made,
        "jobs": {*made, "enable", "disable", "delete"},
    }  # fmt: skip
    assert {group for rule in rules for group in rule["apiGroups"]} == {"pipelines.kubeflow.org"}
