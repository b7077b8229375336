"""Training speed of each model beside the same towers written plainly, and beside TensorFlow Recommenders.

    python -m bench.training --examples DIR [--rows 1000000] [--steps 10] [--peer-path DIR] [--breakdown] [--out FILE]

Each measurement is a process of its own on this machine's cores, one after the other, so that its memory is its own.
Ratios are of processor time, which neighbours on a machine distort less than the clock.

On the sample marketplace (simulated, 5,000 products, tables of a million rows), on an otherwise idle machine, each
process by itself with `--only`, `OMP_NUM_THREADS=1` and pinned to one core, 12 steps of ours and 4 written plainly, in
examples a core second: MGDSPR 1,571 against 144 written plainly (10.9 times), UEPPR 1,315 against 69 (19.0), MMSE 1,192
against 228 (5.2). Bare towers, 40 steps, in six turns with TensorFlow Recommenders 0.7.7: pinned to one core 37,800 to
43,100 beside 17,300 to 19,500, 1.99 to 2.31 times (median 2.16); by the clock of both cores, both with two threads,
46,000 to 55,300 beside 21,600 to 28,300, 1.94 to 2.23 times (median 2.10). Memory at the peak, and what of it are
tables and what the optimiser keeps: MGDSPR 1,220 to 1,301 MB of which 991, UEPPR (Adam) 961 to 1,083 of which 765, MMSE
1,128 to 1,142 of which 990, bare towers 989 to 1,040 of which 982.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from bench.training import peer, towers
from bench.training.plain import Plain
from components.common.files import write_json

OWN_NEGATIVES = 16
"""Negatives each example draws by itself in the plain form, far fewer than the 2,048 a batch shares."""
OURS, PLAIN = "ours", "all three: plainly"
WAYS = {
    OURS: Plain(),
    "dense gradients": Plain(dense=True),
    "padded batches": Plain(padded=True),
    "negatives of each example": Plain(negatives=OWN_NEGATIVES),
    PLAIN: Plain(dense=True, padded=True, negatives=OWN_NEGATIVES),
}
MODELS = ("mgdspr", "ueppr", "mmse")
PEER = "tensorflow-recommenders"


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 where a value of expected.toml is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=Path, required=True, help="what build_features wrote")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the token and of the id table")
    parser.add_argument("--steps", type=int, default=10, help="steps measured")
    parser.add_argument("--peer-path", default="", help="folder with tensorflow_recommenders and tf_keras installed")
    parser.add_argument("--model", action="append", choices=MODELS, help="only these models")
    parser.add_argument("--breakdown", action="store_true", help="each plain way by itself too")
    parser.add_argument("--out", type=Path, help="file for the figures as JSON")
    parser.add_argument("--only", nargs=2, metavar=("MODEL", "WAY"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.only:
        print(json.dumps(_measure(*chosen.only, chosen)))
        return 0
    ways = list(WAYS) if chosen.breakdown else [OURS, PLAIN]
    pairs = [(model, way) for model in chosen.model or MODELS for way in ways]
    pairs += [("bare", OURS), ("bare", PEER)]
    rows = []
    for model, way in pairs:
        rows.append({"model": model, "way": way, **_in_a_process(model, way, chosen)})
        print(_line(rows[-1]), flush=True)
    missed = _missed(rows)
    print(*missed, sep="\n")
    if chosen.out:
        write_json(chosen.out, {"rows": rows, "missed": missed, "table_rows": chosen.rows, "steps": chosen.steps})
    return 1 if missed else 0


def _line(row: dict[str, Any]) -> str:
    speed = "{examples_per_second:8.0f} examples/s {examples_per_core_second:8.0f} a core second"
    memory = "{memory_megabytes:6.0f} MB beside {table_megabytes:5.0f} MB of tables"
    return ("{model:8} {way:28} " + speed + "  " + memory).format(**row)


def _measure(model: str, way: str, chosen: argparse.Namespace) -> dict[str, float]:
    if way == PEER:
        return peer.measure(chosen.examples, chosen.peer_path, chosen.rows, chosen.steps)
    name, overrides = ("mgdspr", peer.BARE) if model == "bare" else (model, {})
    return towers.measure(chosen.examples, name, overrides, chosen.rows, WAYS[way], chosen.steps)


def _in_a_process(model: str, way: str, chosen: argparse.Namespace) -> dict[str, float]:
    command = [
        sys.executable, "-m", "bench.training", "--examples", str(chosen.examples), "--rows", str(chosen.rows),
        "--steps", str(chosen.steps), "--peer-path", chosen.peer_path, "--only", model, way,
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _missed(rows: list[dict[str, Any]]) -> list[str]:
    """Sentences on what expected.toml asks for and the rows do not give."""
    expected = tomllib.loads((Path(__file__).parent / "expected.toml").read_text())
    speed = {(row["model"], row["way"]): row["examples_per_core_second"] for row in rows}
    found = []
    pairs = [((model, PLAIN), (model, OURS), "over_plain") for model in MODELS]
    for slow, fast, name in [*pairs, (("bare", PEER), ("bare", OURS), "over_peer")]:
        if slow in speed and speed[fast] < expected[name] * speed[slow]:
            found.append(f"{fast[0]}: {speed[fast] / speed[slow]:.1f} times {slow[1]}, expected {expected[name]}.")
    for row in rows:
        beside = row["memory_megabytes"] - row["held_megabytes"] if row["way"] == OURS else 0.0
        if beside > expected["megabytes_beside"]:
            found.append(f"{row['model']}: {beside:.0f} MB beside its tables and the optimiser's state.")
    return found


if __name__ == "__main__":
    sys.exit(main())
