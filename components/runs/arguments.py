"""The words of `python pipeline.py`: every command, its options, its examples; a wrong word is one sentence."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

MODELS = ("mgdspr", "ueppr", "mmse")
EXIT_CODES = """exit codes: 0 done, 1 failed, 2 wrong input, setting or path, 3 a gate closed,
4 the work directory is busy, 5 a dependency does not answer"""
Command = Callable[..., argparse.ArgumentParser]
"""Adds a command by its name, its help and its examples; gives the parser that takes its options."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence that ends with the next step."""

    def parse_args(self, args=None, namespace=None):
        """As argparse; without any word the help is shown."""
        words = sys.argv[1:] if args is None else args
        for word in words:
            try:
                word.encode()
            except UnicodeEncodeError:
                self.exit(2, f"{word!r} is not UTF-8; rename what it names.\n")
        if not words and self.prog == "pipeline.py":
            self.print_help(sys.stderr)
            self.exit(2)
        options, unknown = self.parse_known_args(words, namespace)
        if unknown:
            command = getattr(options, "command", "COMMAND")
            close = difflib.get_close_matches(unknown[0], self._options_of(command), 1)
            guess = f" Did you mean `{close[0]}`?" if close else ""
            self.exit(
                2,
                f"{command}: unknown option {unknown[0]!r}.{guess} `python pipeline.py {command} --help` lists them.\n",
            )
        return options

    def _options_of(self, command: str) -> list[str]:
        choices = next((action.choices for action in self._actions if action.dest == "command"), None) or {}
        sub = dict(choices).get(command, self)
        return [name for action in sub._actions for name in action.option_strings]

    def error(self, message: str) -> NoReturn:
        """Prints the sentence and ends with exit code 2."""
        self.exit(2, f"{self.prog.removeprefix('pipeline.py ')}: {self._sentence(message)}\n")

    def _sentence(self, message: str) -> str:
        found = re.match(r"argument COMMAND: invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if found:
            known = re.findall(r"'(.*?)'", found[2])
            close = difflib.get_close_matches(found[1], known, 1)
            guess = f"Did you mean `{close[0]}`? " if close else ""
            return f"unknown command {found[1]!r}. {guess}`python pipeline.py --help` lists the commands."
        return f"{message}; `python {self.prog} --help` has examples."


def _examples(lines: Sequence[str]) -> str:
    head = "example: " if len(lines) == 1 else "examples:\n  "
    return head + "\n  ".join(lines) + "\n\n"


def build_parser() -> argparse.ArgumentParser:
    """The parser of `python pipeline.py`, also used for completion and the reference page."""
    parser = Parser(
        prog="pipeline.py",
        description="From a shop's log to a served release of query tower, item tower and index.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def command(name: str, help: str, *examples: str, data: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=help, description=help, epilog=_examples(examples) + EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        sub.add_argument(
            "--workdir", type=Path, default=Path(".towerline"), help="state of the shop (default: .towerline)"
        )
        if data:
            sub.add_argument("--json", action="store_true", help="print JSON instead of a table")
        return sub

    _running_commands(command)
    _serving_commands(command)
    _release_commands(command)
    _cluster_commands(command)
    _settings_command(command)
    completion = commands.add_parser(
        "completion", help="print shell completion (bash, zsh or tcsh)", description="print shell completion",
        epilog=_examples(("source <(python pipeline.py completion bash)  # in ~/.bashrc",
                          "source <(python pipeline.py completion zsh)   # in ~/.zshrc, behind compinit")) + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    return parser


def _running_commands(command: Command) -> None:
    run = command(
        "run", "run the whole pipeline on this machine",
        "python pipeline.py run",
        "python pipeline.py run --source parquet --data my-log/",
        "python pipeline.py run --model ueppr --set towers.epochs=3 --set towers.dimension=64",
        "python pipeline.py run --accept prices,brand_mix",
    )  # fmt: skip
    _pipeline_arguments(run)

    check = command(
        "check", "check a log as the first tasks of a run do; nothing is trained, nothing that is served changes",
        "python pipeline.py check --data my-log/",
    )  # fmt: skip
    check.add_argument("--source", default="parquet", help="parquet (default), or a public set's name")
    check.add_argument("--data", default="", help="path of the source's files")
    _accept_argument(check)
    _settings_arguments(
        check, "validation.KEY=VALUE", "a setting of logs or validation", '{"validation.warn_only": "prices"}'
    )

    runs = command(
        "runs", "list the runs, newest first, and why each ended; or show one run's stages",
        "python pipeline.py runs", "python pipeline.py runs run-20260102-030405-1a2b",
    )  # fmt: skip
    runs.add_argument("run", nargs="?", help="its id, or `latest`")


def _serving_commands(command: Command) -> None:
    serve = command(
        "serve", "serve the current release on this machine, with the search page at /",
        "python pipeline.py serve", "python pipeline.py serve --port 9000 --set serving.relevance=false", data=False,
    )  # fmt: skip
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


def _release_commands(command: Command) -> None:
    upsert = command(
        "upsert", "bring new, changed or deleted products into the served release, without training",
        "python pipeline.py upsert --products new-products.parquet",
        "python pipeline.py upsert --products new-products.parquet --set index.precision=int8",
    )  # fmt: skip
    upsert.add_argument("--products", required=True, type=Path, help="Parquet file or folder in the contract's columns")
    _settings_arguments(
        upsert,
        "index.KEY=VALUE",
        "a setting of index or serving; the others are the release's",
        '{"index.precision": "int8"}',
    )
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


def _cluster_commands(command: Command) -> None:
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


def _settings_command(command: Command) -> None:
    settings = command(
        "settings", "list the settings of a room, or of all, with their defaults and reasons",
        "python pipeline.py settings towers --model ueppr", "python pipeline.py settings --json",
    )  # fmt: skip
    settings.add_argument("room", nargs="?", help="logs, validation, features, towers, evaluation, index or serving")
    settings.add_argument("--model", default="mgdspr", help="whose towers are meant: mgdspr, ueppr or mmse")


def _pipeline_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", default="marketplace", help="marketplace (simulated), parquet, or a public set's name"
    )
    parser.add_argument("--data", default="", help="path of the source's files")
    parser.add_argument("--model", default="mgdspr", help="mgdspr, ueppr or mmse (default: mgdspr)")
    parser.add_argument("--environment", default="local", help="feature store: local, redis or cluster")
    _accept_argument(parser)
    _settings_arguments(parser, "ROOM.KEY=VALUE", "a setting, e.g. towers.epochs=3", '{"towers.epochs": 3}')
    _share_argument(parser)


def _accept_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accept", default="", help="names of alarms you accept, comma-separated")


def _settings_arguments(parser: argparse.ArgumentParser, metavar: str, help: str, example: str) -> None:
    parser.add_argument("--set", action="append", default=[], metavar=metavar, help=help)
    parser.add_argument(
        "--settings", type=Path, dest="settings_file", metavar="FILE",
        help=f"a JSON file of settings, e.g. {example}; --set wins over it",
    )  # fmt: skip


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
