"""Memory and speed of each process of a data-parallel training whose id table is held whole, or in parts.

    python -m bench.training.sharding --examples DIR [--rows 4000000] [--processes 2] [--steps 5] [--way row ...]

Processes of one machine, started by torchrun on its processor, train MGDSPR's towers on an id table of `rows` rows. For
each `towers.table_sharding` the largest memory that training added to a process, and examples a second of all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from bench.training.towers import WARM, Watch, peak_megabytes
from components.common.settings import from_overrides
from components.towers.data import load_training_data
from components.towers.models import model_class
from components.towers.parallel import world
from components.towers.settings import SHARDINGS
from components.towers.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.training.sharding", description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=Path, required=True, help="what build_features wrote")
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows of the id table")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="steps measured")
    parser.add_argument("--way", action="append", choices=SHARDINGS, help="default: none and row")
    parser.add_argument("--measured", choices=SHARDINGS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measured:
        _measure(chosen)
        return
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={chosen.processes}"]
    for way in chosen.way or ("none", "row"):
        words = ["-m", "bench.training.sharding", "--measured", way, *sys.argv[1:]]
        done = subprocess.run([*launcher, *words], stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        table = f"{found['table']:6.0f} MB of {found['whole']:.0f} MB of ids"
        print(f"{way:9} {table}, {found['peak']:6.0f} MB in all, {found['rate']:6.0f} examples/s", flush=True)


def _measure(chosen: argparse.Namespace) -> None:
    """One process of torchrun; the first prints the largest memory of any."""
    torch.set_num_threads(1)
    kind = model_class("mgdspr")
    settings = from_overrides(kind.Settings, {"table_sharding": chosen.measured, "shard_above_megabytes": "0"})
    with world("cpu") as processes:
        data = load_training_data(chosen.examples, kind, settings)
        data = replace(data, schema=replace(data.schema, items=max(chosen.rows, data.schema.items)))
        before = peak_megabytes()
        torch.manual_seed(settings.seed)
        model = kind(settings, data.schema)
        model.prepare(data.catalogue, data.train)
        trainer = Trainer(model, data, settings, torch.device("cpu"), processes=processes)
        watch = Watch()
        for step in range(WARM + chosen.steps):
            if step == WARM:
                watch = Watch()
            trainer._step(trainer._batch(step))
            trainer.state.step += 1
        rate = watch.rates(chosen.steps * trainer.batches.size)["examples_per_second"]
        peak = torch.tensor([peak_megabytes() - before])
        dist.all_reduce(peak, op=dist.ReduceOp.MAX)
        if processes.leads:
            whole = data.schema.items * settings.dimension * 4 / 2**20
            own = model.ids.weight.nbytes / 2**20
            print(json.dumps({"table": own, "whole": whole, "peak": float(peak), "rate": rate}), flush=True)


if __name__ == "__main__":
    main()
