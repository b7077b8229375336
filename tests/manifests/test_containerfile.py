"""What can be said of the Containerfile without an engine."""

import re

from components import placement
from tests.manifests.reading import ROOT

HOUSE = ROOT.parent
TEXT = (HOUSE / "Containerfile").read_text(encoding="utf-8")
LINES = re.sub(r"\\\n", " ", TEXT).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(f"{name} ")]


def test_every_stage_starts_from_the_base_that_was_asked_for() -> None:
    assert instructions("FROM") == ["${BASE} AS build", "${BASE}"]
    assert LINES.index(next(line for line in LINES if line.startswith("ARG BASE="))) < LINES.index("FROM ${BASE}")


def test_the_last_user_is_the_tasks_user() -> None:
    assert instructions("USER") == [f"{placement._USER}:{placement._USER}"]


def test_every_use_of_the_package_client_takes_its_settings_as_secrets() -> None:
    installs = [line for line in instructions("RUN") if "pip install" in line]
    assert len(installs) == 2
    assert all(line.count("--mount=type=secret") == 2 for line in installs)
    assert sum(line.count("pip install") for line in installs) == sum(
        line.count("-c constraints.txt") for line in installs
    )


def test_only_what_is_copied_enters_the_build() -> None:
    ignored = (HOUSE / ".containerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        word.removeprefix("./") for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]
    }
    assert ignored[1] == "*"
    assert kept == copied
    assert (HOUSE / ".dockerignore").read_bytes() == (HOUSE / ".containerignore").read_bytes()


def test_there_is_no_health_check_and_no_command_that_a_task_would_inherit() -> None:
    assert instructions("HEALTHCHECK") == []
    assert instructions("CMD") == ['["--help"]']
