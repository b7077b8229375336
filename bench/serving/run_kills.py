"""SIGKILL of `python pipeline.py run` at random moments and at every stage boundary, beside a server that goes on.

    python -m bench.serving.run_kills --workdir W --kills 100 --minutes 13

All nights are those of one work directory of a small marketplace, which the first call makes (three nights that nobody
kills: with nothing kept, with another seed, with the same seed again; they say how long each kind takes). Then nights
are killed in turn: the command alone, one of its tasks alone, or all of its processes. The next night goes on in what
the killed one left, and after `KILLED_IN_ROW` of them one runs undisturbed; after each that completes, the next has
another seed, so it trains, and every third begins with nothing kept. Every other one is killed at the end of a stage,
until each stage has had its turn, the others at a moment drawn evenly over the time of their kind; a night whose end
comes first has completed. So a kill costs about half a night.

After each kill: no process of it goes on; the served release is whole, has all products and gives its stored answers;
the server gives them too, names the release it has, with its scores; no lock is held. After each completed night also:
it promoted a release of all products, no run still says `running`, and nothing half-made and no temporary file is
left. Counts are kept in W/kills.json, so that a later call goes on and adds to them. Prints an object a night and one
for all; expected: 0 in every count of FAULTS.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.serving.kills import faults, leftovers
from bench.serving.nights import VICTIMS, ended, kill, last_task, runs, start_night, temporary, wait_for_end_of
from bench.serving.parts import process
from components.common.files import read_json, write_json
from components.common.manifest import current_release_id, read_release
from components.runs.state import TASKS
from components.serving.http_client import HttpClient
from components.serving.smoke import instance

FAULTS = (
    "orphans", "products lost", "wrong answers", "wrong replies", "lock left", "night failed", "still running",
    "leftovers", "temporary files",
)  # fmt: skip
KILLED_IN_ROW = 7
_GONE_SECONDS = 60.0
_NIGHT_SECONDS = 600.0
_SEEN_SECONDS = 30.0
_SCORES = 1e-3
_MADE_ONCE = ("load_log", "validate_logs", "build_features")
"""Tasks that another seed does not bring about: only a night with nothing kept runs them."""


def products_of(workdir: Path) -> set[str]:
    """Ids of the served catalogue."""
    release = read_release(workdir, str(current_release_id(workdir)))
    return set(pq.read_table(release.path("index", "products.parquet"), columns=["product_id"]).column(0).to_pylist())


def replies_are_right(url: str, workdir: Path) -> bool:
    """Whether the server answers the served release's stored requests with its name, products and scores."""
    release_id = str(current_release_id(workdir))
    golden = read_json(read_release(workdir, release_id).path("golden.json"))
    with HttpClient(url, 60.0) as client:

        def answer(item: dict[str, Any]) -> dict[str, Any]:
            found = client.post("/v1/models/retrieval:predict", {"instances": [instance(item)]})
            return dict(found["predictions"][0])

        deadline = time.monotonic() + _SEEN_SECONDS
        while answer(golden[0])["release"] != release_id and time.monotonic() < deadline:
            time.sleep(0.1)
        return all(_is_right(answer(item), item, release_id) for item in golden)


def _is_right(reply: dict[str, Any], item: dict[str, Any], release_id: str) -> bool:
    """Equal scores may change places, so products are compared by score; the last may be others of the same score."""
    if reply["release"] != release_id or reply["degraded"] or len(reply["products"]) != len(item["products"]):
        return False
    wanted = dict(zip(item["products"], item["scores"], strict=True))
    scores = [product["score"] for product in reply["products"]]
    own = [wanted.get(product["product_id"], item["scores"][-1]) for product in reply["products"]]
    return bool(np.allclose(scores, item["scores"], atol=_SCORES) and np.allclose(scores, own, atol=_SCORES))


class Nights:
    """The nights of one work directory and what they counted, kept in its kills.json."""

    def __init__(self, workdir: Path, seed: int) -> None:
        self.workdir, self._seed, self._path = workdir, seed, workdir / "kills.json"
        self.state: dict[str, Any] = read_json(self._path) if self._path.exists() else self._begin()
        self.counts: Counter[str] = Counter(self.state["counts"])
        self._products = products_of(workdir)

    def _begin(self) -> dict[str, Any]:
        seconds = {}
        for kind, number in (("whole", 0), ("trained", 1), ("reused", 1)):
            begun = time.monotonic()
            if start_night(self.workdir, self._night_seed(number)).wait() != 0:
                raise SystemExit(f"a night that nobody killed failed: {runs(self.workdir)[-1]['reason']}")
            seconds[kind] = round(time.monotonic() - begun, 1)
        state = {"seconds": seconds, "rounds": 0, "completed": 1, "in_row": 0, "boundaries": list(TASKS)}
        return {**state, "counts": dict.fromkeys(("killed", "at a boundary", *FAULTS), 0), "during": {}}

    def _night_seed(self, number: int) -> int:
        return 1000 * self._seed + number

    def round(self, url: str) -> None:
        """One night, killed or not, and what is checked after it."""
        state, before = self.state, current_release_id(self.workdir)
        draw, victim = random.Random(f"{self._seed} {state['rounds']}"), VICTIMS[state["rounds"] % len(VICTIMS)]
        kind, boundary = self._next_night()
        night = start_night(self.workdir, self._night_seed(state["completed"] + 1))
        moment = round(draw.uniform(0, state["seconds"][kind]), 2)
        if boundary is not None:
            killed = wait_for_end_of(boundary, night, self.workdir)
            state["boundaries"] = [name for name in state["boundaries"] if name != boundary or not killed]
        else:
            killed = state["in_row"] < KILLED_IN_ROW and not _ended_within(night, moment)
        told: dict[str, Any] = {"kind": kind, "killed": None}
        if killed:
            kill(night, victim)
            at = last_task(night, self.workdir)
            state["during"][at] = state["during"].get(at, 0) + 1
            told |= {"killed": victim, "after": moment} if boundary is None else {"killed": victim, "end of": boundary}
            told["at"] = at
        # a run whose task was killed tries it again, where its task may be, or ends by itself
        gone = ended(night, _GONE_SECONDS if killed and victim != "task" else _NIGHT_SECONDS)
        completed = not killed or (victim == "task" and night.returncode == 0)
        found = self._faults(url)
        found.update(
            {"killed": int(killed), "at a boundary": int(killed and boundary is not None), "orphans": not gone}
        )
        if completed:
            found["night failed"] += night.returncode != 0 or current_release_id(self.workdir) == before
            found["still running"] += any(run["state"] == "running" for run in runs(self.workdir))
            found["leftovers"] += bool(leftovers(self.workdir))
            found["temporary files"] += any(temporary(self.workdir).iterdir())
        self._keep(found, completed)
        told |= {"completed": completed, "faults": {name: found[name] for name in FAULTS if found[name]}}
        if found["night failed"]:
            told["why"] = runs(self.workdir)[-1]["reason"]
        print(json.dumps({"night": state["rounds"], **told}), flush=True)

    def _next_night(self) -> tuple[str, str | None]:
        """What the next night is, `whole`, `trained` or `reused`, and the task at whose end it is killed, if any."""
        state, in_row = self.state, self.state["in_row"]
        boundary = next(iter(state["boundaries"]), None) if in_row % 2 == 0 and in_row < KILLED_IN_ROW else None
        if in_row > 0:
            return "reused", None if boundary in _MADE_ONCE else boundary
        if boundary not in _MADE_ONCE and state["completed"] % 3:
            return "trained", boundary
        shutil.rmtree(self.workdir / "outputs", ignore_errors=True)
        return "whole", boundary

    def _faults(self, url: str) -> Counter[str]:
        found = Counter({"products lost": int(products_of(self.workdir) != self._products)})
        found.update(faults(self.workdir, [self._products]))
        found["wrong replies"] += not replies_are_right(url, self.workdir)
        return found

    def _keep(self, found: Counter[str], completed: bool) -> None:
        self.counts.update(found)
        state = self.state
        state["rounds"] += 1
        state["in_row"] = 0 if completed else state["in_row"] + 1
        state["completed"] += completed
        write_json(self._path, {**state, "counts": dict(self.counts)})


def _ended_within(night: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while night.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return night.poll() is not None


def main() -> int:
    """Kills, checks, prints; 1 for a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="made by the first call, and gone on with")
    parser.add_argument("--kills", type=int, default=100, help="kills in all, those of earlier calls included")
    parser.add_argument("--minutes", type=float, default=13.0, help="no night begins later than this")
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    options.workdir.mkdir(parents=True, exist_ok=True)
    nights = Nights(options.workdir.absolute(), options.seed)
    with tempfile.TemporaryDirectory() as folder:
        announcement = Path(folder) / "server.json"
        command = ["components.serving", "--workdir", str(nights.workdir), "--port", "0"]
        command += ["--announce", str(announcement), "--set=serving.cache=off", "--set=serving.access_log=false"]
        with process(*command, announcement=announcement) as url:
            while time.monotonic() < deadline and (nights.counts["killed"] < options.kills or nights.state["in_row"]):
                nights.round(url)
    print(json.dumps({"operation": "run", **nights.state, "counts": dict(nights.counts)}), flush=True)
    return int(any(nights.counts[name] for name in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
