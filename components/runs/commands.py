"""The command line: each sub-command parses its words, calls one function of a room and prints what came back."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

from components.common.errors import BadSetting, GateClosed, NotFound, TowerlineError, disk_trouble
from components.common.served import served_release_id
from components.common.stopping import exit_code, stoppable, stopped_by
from components.runs.arguments import build_parser
from components.runs.options import (
    check_cluster_options,
    check_model,
    check_pipeline_options,
    check_workdir,
    run_command,
)
from components.runs.streams import safe_streams


def main(dag: Callable[..., Any], arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; an expected error becomes one sentence on standard error."""
    with safe_streams():
        options = build_parser().parse_args(arguments)
        try:
            check_workdir(options)
            _take_settings_file(options)
            with stoppable():
                code = _COMMANDS[options.command](options, dag)
            sys.stdout.flush()
            return code
        except TowerlineError as error:
            return _complain(options, str(error).removeprefix(f"the {options.command}: "), error.exit_code)
        except BrokenPipeError:  # the reader, `head` for one, has seen enough
            return 0
        except OSError as error:
            return _complain(options, f"{disk_trouble(error)}; what is served is whole.", 1)
        except KeyboardInterrupt as stop:
            code = exit_code(stop)
            return _complain(options, f"stopped {stopped_by(code)}; what is served is whole.", code)


def _complain(options: argparse.Namespace, sentence: str, code: int) -> int:
    with contextlib.suppress(OSError):  # of a terminal that is gone
        print(f"{options.command}: {sentence}", file=sys.stderr)
    return code


def _take_settings_file(options: argparse.Namespace) -> None:
    """Puts the settings of `--settings FILE` before those of `--set`, which so win; afterwards only `--set` is left."""
    if getattr(options, "settings_file", None) is not None:
        from components.runs.settings import read_assignments

        options.set, options.settings_file = [*read_assignments(options.settings_file), *options.set], None


def _run(options: argparse.Namespace, dag: Callable[..., Any]) -> int:
    from components.common.code import code_fingerprint
    from components.runs.local import run_local
    from components.runs.settings import parse_assignments
    from components.runs.show import print_run
    from components.runs.state import RunRequest, log_tail, new_run_id

    arguments = check_pipeline_options(options, local=True)
    request = RunRequest(
        new_run_id(), options.source, arguments["data"], options.model, parse_assignments(options.set, options.model),
        run_command(options),
    )  # fmt: skip
    arguments["provenance"] = json.dumps(
        {"run": request.run_id, "code": code_fingerprint("runs"), "settings": dict(request.settings)}
    )
    run = run_local(dag, request, options.workdir, arguments)
    folder = options.workdir / "runs" / request.run_id
    if run["exit_code"] == 1:
        print(log_tail(folder), file=sys.stderr)
    print_run(run, folder, options.json)
    return run["exit_code"]


def _check(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.logs.step import check_source
    from components.runs.checking import check_log, describe_check
    from components.runs.settings import pipeline_arguments

    chosen = pipeline_arguments(_assignments_of(options, ("logs", "validation"), "a check"))
    check_source(options.source, options.data)
    with contextlib.redirect_stdout(sys.stderr):  # the notes of its tasks; standard output is the answer's
        verdict = check_log(
            options.workdir, options.source, options.data, options.accept, chosen["log_settings"],
            chosen["validation_settings"],
        )  # fmt: skip
    _say(options, verdict, describe_check(verdict))
    return 0 if verdict["open"] else GateClosed.exit_code


def _serve(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.runs.show import announce_server
    from components.serving.server import serve

    settings = {name.removeprefix("serving."): value for name, value in _assignments(options.set).items()}
    if sys.stderr.isatty():
        announce_server(options.workdir)
        settings.setdefault("access_log", "false")
    serve(options.workdir, options.release, options.host, options.port, settings)
    return 0


def _runs(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.runs.show import print_run, print_runs
    from components.runs.state import find_run, list_runs

    if options.run is None:
        print_runs(list_runs(options.workdir), options.workdir, options.json)
    else:
        folder, run = find_run(options.workdir, options.run)
        print_run(run, folder, options.json)
    return 0


def _settings(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.runs.settings import describe_all
    from components.runs.show import print_settings

    check_model(options.model)
    rooms = describe_all(options.model)
    if options.room is not None and options.room not in rooms:
        raise BadSetting(f"unknown room {options.room!r}; known: {', '.join(rooms)}.")
    print_settings({room: rows for room, rows in rooms.items() if options.room in (None, room)}, options.json)
    return 0


def _assignments(texts: list[str]) -> dict[str, str]:
    from components.runs.settings import parse_assignments

    return parse_assignments(texts)


def _assignments_of(options: argparse.Namespace, rooms: tuple[str, str], who: str) -> dict[str, str]:
    values = _assignments(options.set)
    foreign = [name for name in values if name.partition(".")[0] not in rooms]
    if foreign:
        raise BadSetting(f"{who} takes settings of {' and '.join(rooms)}, not {foreign[0]}; that one needs a run.")
    return values


def _search(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.runs.show import print_search
    from components.serving.client import search

    print_search(
        search(options.workdir, options.query, options.user, options.k), options.query, options.user, options.json
    )
    return 0


def _demo(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.runs.demo import demo_searches
    from components.runs.show import print_search

    found = demo_searches(options.workdir, options.k)
    if options.json:
        print(json.dumps([{"query": query, "user": user, **answer} for query, user, answer in found], indent=1))
        return 0
    print("The sample marketplace is simulated; its products, shoppers and searches are made up.")
    for query, user, answer in found:
        print_search(answer, query, user, as_json=False)
    reports = sorted(options.workdir.glob("runs/*/report.html"))
    if reports:
        print(f"report: {reports[-1]}")
    return 0


def _upsert(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.common.manifest import current_release_id
    from components.releases.operations import upsert_and_promote
    from components.runs.settings import pipeline_arguments

    chosen = pipeline_arguments(_assignments_of(options, ("index", "serving"), "an upsert"))
    with contextlib.redirect_stdout(sys.stderr):  # the notes of its tasks; standard output is the answer's
        release_id = upsert_and_promote(
            options.workdir, options.products, chosen["index_settings"], chosen["serving_settings"], options.share
        )
    whole = release_id == current_release_id(options.workdir)
    whom = "served" if whole else f"a canary for {options.share} % of the shoppers"
    _say(options, {"release": release_id}, f"release {release_id} is {whom}; running servers follow by themselves.")
    return 0


def _canary(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.releases.operations import change_canary
    from components.runs.show import canary_sentence

    served_release_id(options.workdir)
    state = change_canary(options.workdir, options.release, options.share, options.end)
    _say(options, state, canary_sentence(state))
    return 0


def _releases(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.releases.operations import list_releases
    from components.runs.show import print_releases

    releases = list_releases(options.workdir)
    print_releases(releases, options.workdir, options.json)
    if releases and not any(release["current"] for release in releases):
        try:
            served_release_id(options.workdir)
        except NotFound as error:
            print(error, file=sys.stderr)
    return 0


def _rollback(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.releases.operations import rollback

    release_id = rollback(options.workdir, options.release)
    _say(options, {"release": release_id}, f"release {release_id} is served again.")
    return 0


def _compile(options: argparse.Namespace, dag: Callable[..., Any]) -> int:
    from components.runs.kubeflow import compile_pipeline

    compile_pipeline(dag, options.output, options.image)
    _say(options, {"pipeline": str(options.output)}, f"wrote {options.output}")
    return 0


def _submit(options: argparse.Namespace, dag: Callable[..., Any]) -> int:
    from components.runs.kubeflow import Cluster

    arguments = check_cluster_options(options)
    cluster = Cluster.connect(options.host, options.namespace, options.service_account)
    run = cluster.submit(dag, arguments, options.experiment, options.image)
    _say(options, run, f"started {run['name']} ({run['run_id']}) on {options.host}")
    return 0


def _schedule(options: argparse.Namespace, dag: Callable[..., Any]) -> int:
    from components.runs.kubeflow import Cluster
    from components.runs.schedule import run_nightly, six_field_cron

    if options.local == bool(options.host):
        raise BadSetting("give either --host URL (Kubeflow) or --local (this machine).")
    cron = six_field_cron(options.cron)
    if options.local:
        if options.action != "set":
            raise BadSetting(
                "schedule --local runs until it is stopped; list, pause, resume and delete are for --host."
            )
        check_pipeline_options(options, local=True)  # now, and not at three in the morning
        return run_nightly(options.cron, options.workdir, lambda: _run(options, dag))
    cluster = Cluster.connect(options.host, options.namespace, options.service_account)
    if options.action == "set":
        arguments = check_cluster_options(options)
        result = cluster.set_schedule(dag, options.name, cron, arguments, options.experiment, options.image)
    else:
        result = getattr(cluster, f"{options.action}_schedule")(options.name)
    _say(options, result, "\n".join(f"{key}: {value}" for key, value in result.items()))
    return 0


def _completion(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.runs.completion import completion

    print(completion(options.shell))
    return 0


def _say(options: argparse.Namespace, value: dict[str, Any], sentence: str) -> None:
    print(json.dumps(value, indent=1) if options.json else sentence)


_COMMANDS: dict[str, Callable[[argparse.Namespace, Callable[..., Any]], int]] = {
    "run": _run,
    "check": _check,
    "runs": _runs,
    "settings": _settings,
    "serve": _serve,
    "search": _search,
    "demo": _demo,
    "upsert": _upsert,
    "canary": _canary,
    "releases": _releases,
    "rollback": _rollback,
    "compile": _compile,
    "submit": _submit,
    "schedule": _schedule,
    "completion": _completion,
}
