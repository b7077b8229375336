"""Writes settings.md and command-line.md from the code: `python docs/reference/generate.py`; a test compares them."""

import argparse
import dataclasses
import inspect
import os
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.common import errors
from components.common.settings import as_overrides
from components.runs.arguments import MODELS, build_parser
from components.runs.settings import ROOMS, settings_class

FOLDER = Path(__file__).parent
_ROOT = FOLDER.parents[1]
_COLUMNS = "100"
_KINDS = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false"}


ENVIRONMENT = {
    "read by all": {
        "TOWERLINE_MILVUS_URI": "a Milvus server, such as `http://host:19530`; without it each release carries its own",
        "TOWERLINE_MILVUS_TOKEN": "its `user:password`",
        "TOWERLINE_REDIS": "the online store of `--environment redis` and `cluster`: `host:port,password=...`",
        "TOWERLINE_REGISTRY": "the feature registry of `--environment cluster`, an SQLAlchemy URL",
        "TOWERLINE_SPARK_MASTER": "the Spark master of `--environment cluster`",
        "TOWERLINE_CACHE": "where downloaded public sets are kept (default: `~/.cache/towerline`)",
        "TOWERLINE_MIRROR": "the address they are downloaded from, where a network has its own",
    },
    "read for Kubeflow": {
        "TOWERLINE_IMAGE": "the image of every task, where `--image` does not say",
        "TOWERLINE_IMAGE_<ROOM>": "the image of one room's tasks, such as `TOWERLINE_IMAGE_TOWERS`",
        "TOWERLINE_ACCELERATORS": "accelerators of the training task (default: 0)",
        "TOWERLINE_KFP_TOKEN": "the token for Kubeflow's API",
        "TOWERLINE_KFP_NAMESPACE": "your namespace there, where `--namespace` does not say",
    },
    "set for tasks": {
        "TOWERLINE_WORKDIR": "the work directory, on a cluster",
        "TOWERLINE_RUN_ID": "the run's id, on a cluster",
        "TOWERLINE_RUN_DIR": "the run's folder, on one machine",
        "TOWERLINE_PROGRESS": "the terminal or file where progress is shown",
        "TOWERLINE_OWNER_PID": "the process that a task or server ends with",
        "TOWERLINE_CODE": "the code's fingerprint, part of a task's cache key",
        "TOWERLINE_FEATURE_STORE": "the feature store's folder, `<workdir>/feature_store`",
        "TOWERLINE_FEATURE_SOURCES": "the snapshots that Feast's definitions read",
        "TOWERLINE_SOURCE_KIND": "what Feast reads them with: file or spark",
    },
}
"""Every environment variable of ours by who reads or sets it."""


def settings_page() -> str:
    """Every setting of every room: name, type, default as `--set` takes it, and reason."""
    parts = [
        "# Settings",
        "This page is written from the code by `python docs/reference/generate.py`; a test fails when it lags behind.",
        "`--set ROOM.NAME=VALUE` changes a setting for `run`, `submit` and `schedule`, settings of `logs` and "
        "`validation` for `check`, of `index` and `serving` for `upsert`, and of `serving` for `serve`. It can be "
        "given several times. An unknown name, a wrong type or a value out of range is an error "
        "before any work begins (exit code 2). Lists are written with commas: `--set evaluation.cutoffs=1,10,100`. "
        "`none` empties a setting that may be empty.",
        "`python pipeline.py settings ROOM` prints a room's in the terminal.",
        "A setting that changes what a task computes makes that task, and those after it, run again; the others are "
        "reused.",
    ]
    for room in ROOMS:
        if room != "towers":
            parts += [f"## {room}", *_section(settings_class(room))]
            continue
        shared = next(base for base in settings_class(room).__mro__ if base.__name__ == "TowerSettings")
        parts += ["## towers, all models", *_section(shared)]
        for model in MODELS:
            own = settings_class(room, model)
            parts += [
                f"## towers, `--model {model}`",
                f"What {model} adds to the settings of all models, and where its default is another.",
                *_section(own, shared),
            ]
    return "\n\n".join(parts) + "\n"


def command_line_page() -> str:
    """Every command's `--help`, and what each exit code means."""
    parser = build_parser()
    parts = [
        "# Command line",
        "This page is written from the code by `python docs/reference/generate.py`; a test fails when it lags behind. "
        "`towerline` is the same as `python pipeline.py` where the package is installed.",
        "## Exit codes",
        "\n".join(_exit_codes()),
        "An expected error is one sentence on standard error. `--json` prints JSON on standard output instead of a "
        "table; progress and errors stay on standard error.",
        "## Environment variables",
        "An empty one that is read counts as not set. Those set for tasks are a run's own.",
        "\n".join(_environment()),
        "## python pipeline.py",
        _fenced(_help(parser)),
    ]
    for name, command in _commands(parser).items():
        parts += [f"## python pipeline.py {name}", _fenced(_help(command))]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[Path, str]:
    """The generated pages by their path."""
    return {FOLDER / "settings.md": settings_page(), FOLDER / "command-line.md": command_line_page()}


def _section(cls: Any, beside: Any = None) -> Iterable[str]:
    source = Path(inspect.getfile(cls)).relative_to(_ROOT)
    yield f"`{cls.__name__}` in [{source}](../../{source})."
    hints, defaults = typing.get_type_hints(cls), as_overrides(cls())
    known = {} if beside is None else as_overrides(beside())
    rows = ["| setting | type | default | reason |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(cls):
        if known.get(field.name) == defaults[field.name]:
            continue
        default = f"`{defaults[field.name]}`" if defaults[field.name] else "empty"
        reason = str(field.metadata["help"]).replace("|", "\\|")
        rows.append(f"| `{field.name}` | {_kind(hints[field.name])} | {default} | {reason} |")
    yield "\n".join(rows)


def _kind(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return f"{_kind(arguments[0])}s, with commas"
    if type(None) in arguments:
        return f"{_kind(arguments[0])} or none"
    return _KINDS[hint.__name__]


def _exit_codes() -> Iterable[str]:
    yield "| code | meaning |"
    yield "| --- | --- |"
    yield "| 0 | done |"
    meanings: dict[int, list[str]] = {}
    for _, cls in inspect.getmembers(errors, inspect.isclass):
        if issubclass(cls, errors.TowerlineError) and cls is not errors.TowerlineError:
            meanings.setdefault(cls.exit_code, []).append(inspect.getdoc(cls) or "")
    yield "| 1 | failed: none of the reasons below; the last lines of the log say more |"
    for code, sentences in sorted(meanings.items()):
        yield f"| {code} | {' '.join(sentences)} |"
    yield "| 130, 143, 129 | stopped by Ctrl-C, by SIGTERM, by the end of its terminal; what is served is whole |"


def _environment() -> Iterable[str]:
    yield "| variable | by | what |"
    yield "| --- | --- | --- |"
    for who, variables in ENVIRONMENT.items():
        yield from (f"| `{name}` | {who} | {meaning} |" for name, meaning in variables.items())


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = (item for item in parser._actions if isinstance(item, argparse._SubParsersAction))
    return dict(action.choices)


def _help(parser: argparse.ArgumentParser) -> str:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _COLUMNS  # argparse fits its lines to the terminal
    try:
        return parser.format_help()
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _fenced(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(_ROOT)}")
