"""The command line: each sub-command parses its words, calls one function of a room and prints what came back."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.common.errors import BadSetting, NotFound, TowerlineError

MODELS = ("mgdspr", "ueppr", "mmse")
EXIT_CODES = """exit codes: 0 done, 1 failed, 2 wrong input, setting or path, 3 a gate closed,
4 the work directory is busy, 5 a dependency does not answer"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of `python pipeline.py`, also used for completion and the reference page."""
    parser = argparse.ArgumentParser(
        prog="pipeline.py",
        description="From a shop's log to a served release of query tower, item tower and index.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=help, description=help, epilog=f"example: {example}\n\n{EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        sub.add_argument(
            "--workdir", type=Path, default=Path(".towerline"), help="state of the shop (default: .towerline)"
        )
        sub.add_argument("--json", action="store_true", help="print JSON instead of a table")
        return sub

    run = command(
        "run", "run the whole pipeline on this machine", "python pipeline.py run --source parquet --data my-log/"
    )
    _pipeline_arguments(run)

    serve = command("serve", "serve the current release on this machine", "python pipeline.py serve --port 8080")
    serve.add_argument("--release", help="serve this release instead of following the current one")
    serve.add_argument("--host", default="127.0.0.1", help="address to bind to (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8080, help="port to bind to (default: 8080)")
    serve.add_argument(
        "--set", action="append", default=[], metavar="serving.KEY=VALUE", help="a setting of the server"
    )

    search = command(
        "search", "ask the served release", 'python pipeline.py search "red running shoes" --user u17 -k 5'
    )
    search.add_argument("query", help="what the shopper typed")
    search.add_argument("--user", default=None, help="the shopper's id; without it the search is anonymous")
    search.add_argument("-k", type=int, default=10, help="how many products (default: 10)")

    demo = command(
        "demo", "three searches of the sample marketplace: nobody, and two shoppers of opposite taste",
        "python pipeline.py demo",
    )  # fmt: skip
    demo.add_argument("-k", type=int, default=5, help="how many products (default: 5)")

    upsert = command(
        "upsert", "bring new, changed or deleted products into the served release, without training",
        "python pipeline.py upsert --products new-products.parquet",
    )  # fmt: skip
    upsert.add_argument("--products", required=True, type=Path, help="Parquet file or folder in the contract's columns")

    _share_argument(upsert)

    canary = command(
        "canary", "show a release to a share of the shoppers, then give it to all or take it back",
        "python pipeline.py canary 20260102-030405-1a2b3c --share 10",
    )  # fmt: skip
    canary.add_argument(
        "release", nargs="?", help="starts a canary of this release; without it the running one is meant"
    )
    canary.add_argument("--share", type=float, help="percent of the shoppers who get it")
    ends = canary.add_mutually_exclusive_group()
    ends.add_argument("--promote", dest="end", action="store_const", const="promote", help="give it to everybody")
    ends.add_argument("--stop", dest="end", action="store_const", const="stop", help="take it back from everybody")

    command("releases", "list the releases, the served one marked", "python pipeline.py releases")
    rollback = command("rollback", "serve an earlier release again", "python pipeline.py rollback")
    rollback.add_argument("release", nargs="?", help="its id (default: the one served before the current one)")

    compile_ = command("compile", "write the pipeline for Kubeflow", "python pipeline.py compile -o pipeline.yaml")
    compile_.add_argument("-o", "--output", type=Path, default=Path("pipeline.yaml"), help="file to write")
    compile_.add_argument("--image", help="the image of every task (default: $TOWERLINE_IMAGE)")

    submit = command("submit", "start one run on Kubeflow", "python pipeline.py submit --host http://localhost:8888")
    _pipeline_arguments(submit)
    _cluster_arguments(submit)

    schedule = command(
        "schedule", "retrain every night, on Kubeflow or on this machine",
        'python pipeline.py schedule --cron "0 3 * * *" --host http://localhost:8888',
    )  # fmt: skip
    schedule.add_argument("action", nargs="?", default="set", choices=("set", "list", "pause", "resume", "delete"))
    schedule.add_argument("--cron", default="0 3 * * *", help='minute hour day month weekday (default: "0 3 * * *")')
    schedule.add_argument("--local", action="store_true", help="keep running here and start each night's run")
    schedule.add_argument("--name", default="towerline-nightly", help="the schedule's name on Kubeflow")
    _pipeline_arguments(schedule)
    _cluster_arguments(schedule)

    completion = commands.add_parser("completion", help="print shell completion (bash, zsh or tcsh)")
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    return parser


def main(dag: Callable[..., Any], arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; an expected error becomes one sentence on standard error."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        return _COMMANDS[options.command](options, dag)
    except TowerlineError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        print(
            f"{options.command}: a file could not be written or read ({reason}); what is served is whole. "
            "Make room or mend it, then run this again.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"{options.command}: stopped by hand; nothing that is served changed.", file=sys.stderr)
        return 130


def _pipeline_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", default="marketplace", help="marketplace (simulated), parquet, or a public set's name"
    )
    parser.add_argument("--data", default="", help="path of the source's files")
    parser.add_argument("--model", default="mgdspr", help="mgdspr, ueppr or mmse (default: mgdspr)")
    parser.add_argument("--environment", default="local", help="feature store: local, redis or cluster")
    parser.add_argument("--accept", default="", help="names of drift alarms you accept, comma-separated")
    parser.add_argument(
        "--set", action="append", default=[], metavar="ROOM.KEY=VALUE", help="a setting, e.g. towers.epochs=3"
    )
    _share_argument(parser)


def _share_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--share", type=int, default=100, metavar="PERCENT",
        help="shoppers who get the new release (default: 100); below that it is a canary, see `canary`",
    )  # fmt: skip


def _cluster_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="the Kubeflow Pipelines API")
    parser.add_argument("--namespace", default=None, help="your namespace there (default: the service account's)")
    parser.add_argument("--service-account", default="", help="account of the runs (default: the one Kubeflow gives)")
    parser.add_argument("--experiment", default="towerline", help="the experiment runs belong to")
    parser.add_argument("--image", help="the image of every task (default: $TOWERLINE_IMAGE)")
    parser.add_argument(
        "--training-job", default="", help="manifest of a PyTorchJob to train with, as the tasks see it"
    )
    parser.add_argument("--parts", type=int, default=1, help="tasks that embed the catalogue side by side (default: 1)")
    parser.add_argument("--endpoint", default="", help="manifest of the KServe endpoint to move, as the tasks see it")
    parser.add_argument("--canary", type=int, default=10, help="percent of its requests a release gets first (10)")
    parser.add_argument("--gateway", default="", help="URL of the ingress gateway, where the endpoint has no DNS name")


def check_cluster_options(options: argparse.Namespace) -> dict[str, Any]:
    """The pipeline's arguments for a run on a cluster. Raises BadSetting, NotFound."""
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
    }


def check_pipeline_options(options: argparse.Namespace, local: bool) -> dict[str, Any]:
    """The pipeline's arguments from the options, everything checked before work begins. Raises BadSetting, NotFound."""
    from components.logs.step import check_source
    from components.runs.settings import parse_assignments, pipeline_arguments

    if options.model not in MODELS:
        raise BadSetting(f"unknown model {options.model!r}; known: {', '.join(MODELS)}.")
    if options.environment not in ("local", "redis", "cluster"):
        raise BadSetting(f"unknown environment {options.environment!r}; known: local, redis, cluster.")
    if not 0 <= options.share <= 100:
        raise BadSetting(f"--share must be 0 to 100 percent, not {options.share}.")
    values = parse_assignments(options.set, options.model)
    data = options.data
    if local:
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


def _run(options: argparse.Namespace, dag: Callable[..., Any]) -> int:
    from components.common.code import code_fingerprint
    from components.runs.local import print_run, run_local
    from components.runs.settings import parse_assignments
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
    print_run(run, options.json)
    folder = options.workdir / "runs" / request.run_id
    if run["exit_code"] == 1:
        print(log_tail(folder), file=sys.stderr)
    if not options.json:
        print(f"report: {folder / 'report.html'}")
    return run["exit_code"]


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


def _serve(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.serving.server import serve

    settings = {name.removeprefix("serving."): value for name, value in _assignments(options.set).items()}
    serve(options.workdir, options.release, options.host, options.port, settings)
    return 0


def _assignments(texts: list[str]) -> dict[str, str]:
    from components.runs.settings import parse_assignments

    return parse_assignments(texts)


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

    release_id = upsert_and_promote(options.workdir, options.products, share=options.share)
    whole = release_id == current_release_id(options.workdir)
    whom = "served" if whole else f"a canary for {options.share} % of the shoppers"
    _say(options, {"release": release_id}, f"release {release_id} is {whom}; running servers follow by themselves.")
    return 0


def _canary(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.releases.operations import change_canary
    from components.runs.show import canary_sentence

    state = change_canary(options.workdir, options.release, options.share, options.end)
    _say(options, state, canary_sentence(state))
    return 0


def _releases(options: argparse.Namespace, _: Callable[..., Any]) -> int:
    from components.releases.operations import list_releases
    from components.runs.show import print_releases

    print_releases(list_releases(options.workdir), options.json)
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
        raise BadSetting("schedule needs either --host URL (Kubeflow) or --local (this machine).")
    cron = six_field_cron(options.cron)
    if options.local:
        if options.action != "set":
            raise BadSetting(
                "schedule --local runs until it is stopped; list, pause, resume and delete are for --host."
            )
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
    import shtab

    print(shtab.complete(build_parser(), shell=options.shell))
    return 0


def _say(options: argparse.Namespace, value: dict[str, Any], sentence: str) -> None:
    print(json.dumps(value, indent=1) if options.json else sentence)


_COMMANDS: dict[str, Callable[[argparse.Namespace, Callable[..., Any]], int]] = {
    "run": _run,
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
