"""SIGKILL at random moments of upsert, promotion, rollback and serve; then everything must be whole.

    python -m bench.serving.kills --workdir .towerline --operation upsert --times 100
    python -m bench.serving.kills --workdir .towerline --operation upsert --gate server --times 5
    python -m bench.serving.kills --workdir .towerline --operation serve --times 100

Works on copies of the work directory. Each time the operation runs in a process of its own and is killed at a moment
drawn evenly over the time it takes when nobody kills it. Afterwards: the served release is the old or the new one, its
files are unchanged, it answers its stored queries with their products; all products of before or of after are there;
no lock is held; the same operation, run again, completes; and nothing half-made is left. With `--gate blessing` the
infrastructure gate is a file, so that the moments fall on index, promotion and retirement; with `server` it starts its
real server. Prints one JSON object; expected: 0 everywhere but in `killed` and `finished`.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.common.errors import TowerlineError, WorkdirBusy
from components.common.files import write_json
from components.common.lock import workdir_lock
from components.common.manifest import current_release_id, read_release, verify_files
from components.index.golden import read_golden
from components.index.search import open_search
from components.releases.garbage import collect_garbage
from components.releases.ledger import releases_lock
from components.releases.operations import list_releases, promote, rollback, upsert_and_promote
from components.serving.client import running_server

PRELOADED = ["bench.serving.kills", "kserve", "feast", "pymilvus", "milvus_lite", "onnxruntime", "torch", "faiss"]
READY_SECONDS = 120.0
_KNOWN = {".lock", ".owner", "promoted.json", "rollout.json"}


def blessing_of(workdir: Path, release_id: str, gate: str) -> dict[str, Any]:
    """An open blessing of a gate for a release."""
    towers = read_release(workdir, release_id).towers_fingerprint
    return {"gate": gate, "open": True, "reason": "stands in", "release": release_id, "towers": towers}


def upsert(workdir: Path, gate: str) -> str:
    """Brings the changed products of `changes.parquet` into the release."""
    if gate == "blessing":
        from components.serving import smoke

        def blessed(workdir: Path, release_id: str, blessing: Path, settings: Any) -> dict[str, Any]:
            verdict = blessing_of(workdir, release_id, "infrastructure")
            write_json(blessing, verdict)
            return verdict

        smoke.smoke_test = blessed  # type: ignore[assignment]
    return upsert_and_promote(workdir, workdir / "changes.parquet")


def promotion(workdir: Path, gate: str) -> str:
    """Promotes the release that is not served."""
    served = current_release_id(workdir)
    other = next(row["release_id"] for row in list_releases(workdir) if row["release_id"] != served)
    blessings = [blessing_of(workdir, other, name) for name in ("quality", "infrastructure")]
    return promote(workdir, other, *blessings)


def back(workdir: Path, gate: str) -> str:
    """Rolls back by one release."""
    return rollback(workdir)


def serving(workdir: Path, gate: str) -> None:
    """Serves until killed."""
    from components.serving.server import serve

    os.environ["TOWERLINE_OWNER_PID"] = str(os.getppid())
    serve(workdir, port=0, settings={"access_log": "false", "log_level": "ERROR"})


OPERATIONS: dict[str, Callable[[Path, str], Any]] = {
    "upsert": upsert, "promote": promotion, "rollback": back, "serve": serving,
}  # fmt: skip


def killed_after(seconds: float | None, name: str, workdir: Path, gate: str) -> tuple[bool, float]:
    """Runs an operation in its own process and kills it after `seconds` (None: never): whether it was, and its time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    begun = context.Event()
    process = context.Process(target=_child, args=(begun, name, workdir, gate))
    process.start()
    begun.wait()
    started = time.perf_counter()
    if name == "serve" and seconds is None:
        while running_server(workdir) is None:
            time.sleep(0.02)
        took = time.perf_counter() - started
        os.kill(int(process.pid or 0), signal.SIGTERM)
        process.join()
        return False, took
    process.join(seconds)
    took = time.perf_counter() - started
    killed = process.is_alive()
    if killed:
        process.kill()
        process.join()
    elif process.exitcode != 0:
        raise SystemExit(f"{name} ended with {process.exitcode} without being killed.")
    return killed, took


def _child(begun: Any, name: str, workdir: Path, gate: str) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    begun.set()
    OPERATIONS[name](workdir, gate)
    os._exit(0)  # what the interpreter does at its end is not part of the operation


def changes(workdir: Path, path: Path) -> tuple[set[str], set[str]]:
    """Writes new, changed and deleted products of the served catalogue; the ids before and after them."""
    release = read_release(workdir, str(current_release_id(workdir)))
    table = pq.read_table(release.path("index", "products.parquet"), columns=["product_id", "title", "brand"])
    rows = table.to_pylist()
    before = {row["product_id"] for row in rows}
    changed = [{**row, "title": f"{row['title']} renewed", "deleted": False} for row in rows[:20]]
    removed = [{**row, "deleted": True} for row in rows[20:30]]
    new = [{**row, "product_id": f"new{number}", "deleted": False} for number, row in enumerate(rows[30:60])]
    pq.write_table(pa.Table.from_pylist(changed + removed + new), path)
    after = (before - {row["product_id"] for row in removed}) | {row["product_id"] for row in new}
    return before, after


def faults(workdir: Path, allowed: list[set[str]]) -> list[str]:
    """What is not whole in a work directory after a kill."""
    found = []
    release = read_release(workdir, str(current_release_id(workdir)))
    verify_files(release)
    with open_search(release, '{"search": "resident"}') as searcher:
        if set(searcher.products.ids) not in allowed:
            found.append("products lost")
        golden = read_golden(release.directory)
        answers = searcher.search(np.array([one["vector"] for one in golden], dtype=np.float32), 10)
        if [[hit.product_id for hit in hits] for hits in answers] != [one["products"] for one in golden]:
            found.append("wrong answers")
    try:
        with workdir_lock(workdir, "kills"), releases_lock(workdir, 0.0):
            pass
    except WorkdirBusy:
        found.append("lock left")
    return found


def leftovers(workdir: Path) -> list[str]:
    """Half-made things that garbage collection leaves, an hour later: it spares young files, which may be in use."""
    hour_ago = time.time() - 3600
    for path in (workdir / "releases").iterdir():
        os.utime(path, (hour_ago, hour_ago))
    collect_garbage(workdir)
    complete = {row["release_id"] for row in list_releases(workdir)}
    return [path.name for path in (workdir / "releases").iterdir() if path.name not in complete | _KNOWN]


def main() -> None:
    """Kills, checks, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"))
    parser.add_argument("--operation", choices=list(OPERATIONS), required=True)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--gate", choices=("blessing", "server"), default="blessing")
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    draw, name, gate = random.Random(options.seed), options.operation, options.gate
    with tempfile.TemporaryDirectory() as folder:
        start, work = Path(folder) / "start", Path(folder) / "work"
        for part in ("releases", "feature_store", "statistics", "current"):
            source = Path(options.workdir) / part
            if source.is_dir():
                shutil.copytree(source, start / part)
            elif source.exists():
                shutil.copyfile(source, start / part)
        before, after = changes(start, start / "changes.parquet")
        if name in ("promote", "rollback"):  # both need a second release
            killed_after(None, "upsert", _copied(start, work), "blessing")
            if name == "promote":
                rollback(work)
            shutil.rmtree(start)
            shutil.copytree(work, start)
        allowed = [before, after]
        usual = sorted(killed_after(None, name, _copied(start, work), gate)[1] for _ in range(3))[1]
        outcome: Counter[str] = Counter(dict.fromkeys(("products lost", "wrong answers", "lock left"), 0))
        outcome.update(killed=0, finished=0, rerun_failed=0, leftovers=0)
        for number in range(options.times):
            _copied(start, work)
            killed, _ = killed_after(draw.uniform(0, usual * 1.05), name, work, gate)
            outcome["killed" if killed else "finished"] += 1
            outcome.update(faults(work, allowed))
            outcome["rerun_failed"] += not _completes(name, work, after, again=number % 10 == 0)
            outcome["leftovers"] += bool(leftovers(work))
        print(json.dumps({"operation": name, "gate": gate, "seconds": round(usual, 3), **outcome}), flush=True)


def _copied(start: Path, work: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(start, work)
    return work


def _completes(name: str, work: Path, after: set[str], again: bool) -> bool:
    """Whether the operation, done again after the kill, gets where it should; a server is started again on `again`."""
    try:
        if name == "serve":
            return not again or killed_after(None, name, work, "")[1] < READY_SECONDS
        if name == "promote":
            promoted = list_releases(work)[-1]["release_id"]
            return promoted == current_release_id(work) or promotion(work, "") == promoted
        if name == "rollback":
            return current_release_id(work) == list_releases(work)[0]["release_id"] or bool(rollback(work))
        killed_after(None, "upsert", work, "blessing")
        release = read_release(work, str(current_release_id(work)))
        ids = pq.read_table(release.path("index", "products.parquet"), columns=["product_id"]).column(0).to_pylist()
        return set(ids) == after
    except TowerlineError:
        return False


if __name__ == "__main__":
    main()
