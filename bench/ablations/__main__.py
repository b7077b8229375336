"""Trains the rows of the ablations, measures them, and writes the table of claims.

    python -m bench.ablations --examples DIR [--truth DIR] --group mgdspr --seeds 3 --out DIR [--set key=value]

Runs that are already in --out, made with the same settings from the same examples, are not repeated, so an interrupted
ablation goes on. On two cores a row of the sample marketplace takes minutes: all groups with three seeds are a night's
work, or minutes a group on a GPU (--set device=cuda).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.ablations.experiment import World, open_world, read_run, run
from bench.ablations.judge import Verdict, judge
from bench.ablations.tables import Configuration, read_claims, read_configurations
from components.common.errors import TowerlineError
from components.common.files import write_json, write_text
from components.evaluation.settings import EvaluationSettings

SHOWN = ("recall@10", "recall@100", "recall@1000", "purchase_recall@100", "good_rate@10", "good_rate@100")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.ablations", description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=Path, required=True, help="what build_features wrote")
    parser.add_argument("--truth", default="", help="the marketplace's truth, for the good rate")
    parser.add_argument("--group", action="append", required=True, help="group of configurations.toml, repeatable")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each row")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="setting of every trained row")
    parser.add_argument("--searches", type=int, default=4000, help="test searches measured")
    chosen = parser.parse_args(arguments)
    try:
        overrides = dict(entry.split("=", 1) for entry in chosen.set)
        rows = read_configurations(chosen.group, overrides)
        world = open_world(chosen.examples, chosen.truth, EvaluationSettings(max_searches=chosen.searches))
        runs = {row.name: _runs(row, chosen.seeds, world, chosen.out) for row in rows}
        verdicts = [judge(claim, runs, world) for claim in read_claims(list(runs))]
    except TowerlineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    write_json(chosen.out / "claims.json", [verdict.describe() for verdict in verdicts])
    text = _report(rows, runs, verdicts, world)
    write_text(chosen.out / "claims.md", text)
    print(text)
    return 0


def _runs(row: Configuration, seeds: int, world: World, out: Path) -> list[Path]:
    folders = []
    for seed in range(1, (seeds if row.trained else 1) + 1):
        print(f"{row.name}, seed {seed}", file=sys.stderr, flush=True)
        folders.append(run(row, seed, world, out))
    return folders


def _report(rows: list[Configuration], runs: dict[str, list[Path]], verdicts: list[Verdict], world: World) -> str:
    source = "simulated data" if world.test.simulated else "real data"
    lines = [f"Measured on {source} ({world.test.source or 'unnamed'}): {len(world.test)} test searches over "
             f"{world.test.catalogue.num_rows} products, exact search.", ""]  # fmt: skip
    results = {name: [read_run(folder)[0]["means"] for folder in folders] for name, folders in runs.items()}
    products = world.test.catalogue.num_rows
    telling = [name for name in SHOWN if int(name.split("@")[1]) < products]
    metrics = [name for name in telling if any(name in means[0] for means in results.values())]
    lines += ["| row | seeds | " + " | ".join(metrics) + " |", "| --- " * (len(metrics) + 2) + "|"]
    for row in rows:
        cells = [_spread([means.get(name) for means in results[row.name]]) for name in metrics]
        lines.append(f"| {row.name} | {len(results[row.name])} | " + " | ".join(cells) + " |")
    lines += ["", "A cell is the mean over the seeds and their range.", ""]
    lines += ["| paper | claim | paper's effect | measured as | ours [95 %] | verdict |", "| --- " * 6 + "|"]
    for found in verdicts:
        claim = found.claim
        what = "share of the steps" if claim.kind == "steps" else claim.metric
        what += f", {claim.slice}" if claim.slice != "all" else ""
        sides = f"`{claim.better}` over `{claim.worse}`: "
        ours = "" if found.value is None else f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        lines.append(f"| {claim.paper} | {claim.says} | {claim.effect} | {sides}{what} | {ours} | {found.verdict} |")
    return "\n".join([*lines, "", *(f"- {note}" for note in world.notes), ""])


def _spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = sum(known) / len(known)
    return f"{mean:.4f}" + (f" ({min(known):.4f} to {max(known):.4f})" if len(known) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
