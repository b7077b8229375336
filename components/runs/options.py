"""From the options of a command to the pipeline's arguments, everything checked before work begins."""

import argparse
import json
import os
import shlex
from pathlib import Path
from typing import Any

from components.common.errors import BadSetting, NotFound
from components.placement import ACCELERATORS, accelerators
from components.runs.arguments import MODELS, build_parser


def check_cluster_options(options: argparse.Namespace) -> dict[str, Any]:
    """The pipeline's arguments for a run on a cluster. Raises BadSetting, NotFound.

    Its provenance names no run, so that a schedule's arguments are the same as long as code and settings are.
    """
    from components.common.code import code_fingerprint
    from components.runs.settings import parse_assignments

    if accelerators() is None:
        raise BadSetting(f"{ACCELERATORS} must be a whole number, not {os.environ[ACCELERATORS]!r}.")
    if options.parts < 1:
        raise BadSetting(f"--parts must be 1 or more, not {options.parts}.")
    if not 1 <= options.canary <= 100:
        raise BadSetting(f"--canary must be 1 to 100 percent, not {options.canary}.")
    if options.endpoint and options.share < 100:
        raise BadSetting("--share is for servers on the work directory; an endpoint gets its share by --canary.")
    return {
        **check_pipeline_options(options, local=False),
        "training_job": options.training_job,
        "parts": [f"{number}/{options.parts}" for number in range(1, options.parts + 1)],
        "endpoint": options.endpoint,
        "canary_percent": options.canary,
        "gateway": options.gateway,
        "provenance": json.dumps(
            {"code": code_fingerprint("runs"), "settings": parse_assignments(options.set, options.model)}
        ),
    }


def check_workdir(options: argparse.Namespace) -> None:
    """Raises BadSetting for a work directory that is a file."""
    workdir: Path | None = getattr(options, "workdir", None)
    if workdir is not None and workdir.exists() and not workdir.is_dir():
        raise BadSetting(f"--workdir {workdir} is a file; name a directory, which is made if there is none.")


def check_model(name: str) -> None:
    """Raises BadSetting for a model that does not exist."""
    if name not in MODELS:
        raise BadSetting(f"unknown model {name!r}; known: {', '.join(MODELS)}.")


def check_stores(environment: str, workdir: Path) -> None:
    """Raises BadSetting now for a store that only a later task would ask for: the index's and the features'."""
    from components.features.repository import load_config
    from components.index.backends import choose_backend

    choose_backend(workdir)
    if environment != "local":
        load_config(environment, workdir)


def check_pipeline_options(options: argparse.Namespace, local: bool) -> dict[str, Any]:
    """The pipeline's arguments from the options, everything checked before work begins. Raises BadSetting, NotFound."""
    from components.logs.step import check_source
    from components.runs.settings import parse_assignments, pipeline_arguments
    from components.validation.alarms import Alarms, parse_accept
    from components.validation.expectations import expectation_names

    check_model(options.model)
    if options.environment not in ("local", "redis", "cluster"):
        raise BadSetting(f"unknown environment {options.environment!r}; known: local, redis, cluster.")
    if not 0 <= options.share <= 100:
        raise BadSetting(f"--share must be 0 to 100 percent, not {options.share}.")
    Alarms(parse_accept(options.accept), expectations=expectation_names())
    values = parse_assignments(options.set, options.model)
    data = options.data
    if local:
        check_stores(options.environment, options.workdir)
        if data and not Path(data).exists():
            raise NotFound(f"--data {data} does not exist.")
        data = str(Path(data).absolute()) if data else ""
        check_source(options.source, data)
    return {
        "source": options.source,
        "data": data,
        "model": options.model,
        "environment": options.environment,
        "accept": options.accept,
        "share": options.share,
        **pipeline_arguments(values),
    }


def run_command(options: argparse.Namespace) -> str:
    """The command line that asks for the same run again: `run` with every option that is not its default."""
    defaults = vars(build_parser().parse_args(["run"]))
    words = ["run"]
    for name, default in defaults.items():
        value = getattr(options, name, default)
        if name in ("command", "json") or value == default:
            continue
        for one in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(one)]
    return f"python pipeline.py {shlex.join(words)}"
