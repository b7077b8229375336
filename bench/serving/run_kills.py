"""SIGKILL at random moments of `python pipeline.py run` beside a served release; then everything must be whole.

    python -m bench.serving.run_kills --times 15

Makes a small marketplace and its first release in a temporary directory (or takes those of `--start`). Each time a copy
of it runs the next night, with another seed, and is killed at a moment drawn evenly over the time of the first: in turn
the command alone, one of its tasks alone (as a kernel out of memory does), or all of its processes. Every other night
starts without kept outputs, so that its first tasks are killed too. Afterwards: no process goes on by itself; the
served release is whole and answers its stored queries; all products are there; no lock is held; the same command, run
again, ends with a promoted release of all products; no run still says `running`; and nothing half-made is left. Prints
a JSON object a night and one for all; expected: 0 everywhere but in `killed` and `finished`.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from bench.serving.kills import faults, leftovers
from components.common.files import read_json
from components.common.manifest import current_release_id, read_release

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    "logs.products=1000", "towers.epochs=1", "towers.dimension=16", "towers.lstm_layers=0", "towers.negatives=64",
    "towers.title_queries=0", "evaluation.bootstrap_samples=100", "evaluation.lexical_margin=1",
    "evaluation.tolerance=1", "evaluation.slice_tolerance=1", "serving.smoke_requests=24",
)  # fmt: skip
"""A night of the smallest shop, whose gates open whatever a seed brings: what is tested is not its quality."""
VICTIMS = ("command", "task", "all")
GONE_SECONDS = 60.0


def start_night(workdir: Path, seed: int) -> subprocess.Popen[bytes]:
    """A run in a session of its own."""
    words = [sys.executable, "pipeline.py", "run", "--workdir", str(workdir)]
    for setting in (*SETTINGS, f"towers.seed={seed}"):
        words += ["--set", setting]
    null = subprocess.DEVNULL
    return subprocess.Popen(words, cwd=ROOT, stdin=null, stdout=null, stderr=null, start_new_session=True)


def started_by(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes of a run's session beside itself, latest first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            if pid != process.pid and os.getsid(pid) == process.pid and not _is_zombie(folder):
                found.append(pid)
        except (ProcessLookupError, FileNotFoundError):  # it has just ended
            continue
    return sorted(found, reverse=True)


def _is_zombie(folder: Path) -> bool:
    return (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"


def kill(process: subprocess.Popen[bytes], victim: str) -> None:
    """Kills the command, its latest process, or all of them."""
    tasks = started_by(process)
    for pid in {"command": [process.pid], "task": tasks[:1] or [process.pid], "all": [process.pid, *tasks]}[victim]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended meanwhile
            continue


def ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the command and all it started are gone within a time; what is left is killed."""
    deadline = time.monotonic() + seconds
    while process.poll() is None or started_by(process):
        if time.monotonic() > deadline:
            kill(process, "all")
            process.wait()
            return False
        time.sleep(0.1)
    return True


def products_of(workdir: Path) -> set[str]:
    """Ids of the served catalogue."""
    release = read_release(workdir, str(current_release_id(workdir)))
    return set(pq.read_table(release.path("index", "products.parquet"), columns=["product_id"]).column(0).to_pylist())


def night(start: Path, work: Path, seed: int, seconds: float, victim: str, fresh: bool) -> Counter[str]:
    """One killed night and the one after it; what was found."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(start, work, ignore=shutil.ignore_patterns("outputs") if fresh else None)
    before, products = current_release_id(work), products_of(work)
    process = start_night(work, seed)
    found: Counter[str] = Counter()
    try:
        process.wait(seconds)
        found["finished"] += 1
    except subprocess.TimeoutExpired:
        found["killed"] += 1
        kill(process, victim)
    found["orphans"] += not ended(process, GONE_SECONDS)
    found.update(faults(work, [products]))
    again = start_night(work, seed)
    found["rerun_failed"] += again.wait(600) != 0 or current_release_id(work) == before
    found["products lost"] += products_of(work) != products
    found["still running"] += any(read_json(path)["state"] == "running" for path in work.glob("runs/*/run.json"))
    found["leftovers"] += bool(leftovers(work))
    outcome = {name: number for name, number in found.items() if number}
    print(json.dumps({"after": round(seconds, 1), "victim": victim, "fresh": fresh, **outcome}), flush=True)
    return found


def main() -> int:
    """Kills, checks, prints; 1 for a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, help="a work directory that a run with these settings has left")
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    names = ("orphans", "products lost", "wrong answers", "lock left", "rerun_failed", "still running", "leftovers")
    total: Counter[str] = Counter(dict.fromkeys(("killed", "finished", *names), 0))
    with tempfile.TemporaryDirectory() as folder:
        start, work = options.start or Path(folder) / "start", Path(folder) / "work"
        if options.start is None and start_night(start, 1).wait(900) != 0:
            raise SystemExit("the first run of the small marketplace did not succeed.")
        usual = max(read_json(path)["seconds"] for path in start.glob("runs/*/run.json"))
        moments = [usual * (number + draw.random()) / options.times for number in range(options.times)]
        draw.shuffle(moments)
        for number, moment in enumerate(moments):
            seed, victim = 100 * options.seed + number, VICTIMS[number % 3]
            total.update(night(start, work, seed, moment, victim, fresh=number % 2 == 1))
    print(json.dumps({"operation": "run", "seconds": round(usual, 1), **total}), flush=True)
    return int(any(total[name] for name in names))


if __name__ == "__main__":
    sys.exit(main())
