"""The two tasks of this room: examples out of a log, and shoppers' latest histories into the online store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from components.common.errors import BadInput
from components.common.files import staged_directory, write_json
from components.common.progress import track
from components.common.records import task_record
from components.common.settings import as_overrides, from_overrides
from components.features.buckets import Buckets, lay_out, work_directory
from components.features.examples import ExampleWriter, bucket_examples, write_no_snapshots
from components.features.graph import build_graph
from components.features.materialise import materialise_histories
from components.features.passthrough import choose_split, write_judgements, write_products
from components.features.repository import PointInTimeJoin
from components.features.schema import SERVICE
from components.features.settings import FeatureSettings
from components.features.splits import Split, iso
from components.logs.contract import Log

__all__ = ["build", "materialise"]

_ABSENT = {
    "users": "The log has no shoppers: every history is empty and Feast is not asked for any.",
    "times": "The log has no times: nothing is known to lie before a search, so every history is empty; Feast is not "
    "asked for any, and the examples are split by query.",
    "impressions": "The log has no impressions: an example holds only products acted on, none shown and ignored.",
    "locations": "The log has no locations: latitude, longitude and country of searches are empty.",
}


def build(log: Path, examples: Path, sources: Path, settings: str = "{}") -> dict[str, Any]:
    """Writes the training examples and Feast's offline tables of a log.

    Args:
        log: a log in the contract. examples: folder to write (train, validation, test, products, graph, judgements,
            features.json). sources: folder to write (snapshots for Feast, sources.json). settings: JSON overrides of
            FeatureSettings.

    Returns: figures: rows per split, snapshots, products. Raises BadInput when the log leaves nothing to train on, and
    the contract's errors for an unreadable log.
    """
    options = from_overrides(FeatureSettings, settings)
    with (
        task_record("build_features") as record,
        staged_directory(Path(examples)) as out,
        staged_directory(Path(sources)) as lake,
        work_directory(lake / "work", options) as connection,
    ):
        source = Log(Path(log))
        left_out = [sentence for name, sentence in _ABSENT.items() if not source.has[name]]
        split = choose_split(source, left_out, connection)
        common = {"feature_service": SERVICE, "simulated": source.simulated, "settings": as_overrides(options)}
        buckets = lay_out(source, lake / "work", split.ends, options, connection)
        writer = _write_examples(source, split, buckets, out, lake / "shopper_history", options)
        graph = build_graph(connection, out / "train.parquet", options)
        pq.write_table(graph, out / "graph.parquet", compression="zstd")
        ends = {"log_end_us": buckets.log_end_us, "snapshots": writer.snapshots}
        write_json(lake / "sources.json", {**common, **ends})
        figures = {f"{name}_rows": count for name, count in writer.rows.items()}
        figures |= {"snapshots": writer.snapshots, "products": write_products(source, out)}
        write_judgements(source, split, out)
        windows = writer.windows if source.has["times"] else {}
        window = {name: [iso(first), iso(last)] for name, (first, last) in windows.items()}
        kept = {key: value for key, value in source.description.items() if key in ("source", "grades", "fingerprint")}
        write_json(
            out / "features.json",
            {**kept, "split": split.name, "has": source.has, "left_out": left_out, "window": window, **common},
        )
        for sentence in left_out:
            record.note(sentence)
        for name, value in figures.items():
            record.figure(name, value)
    return figures


def _write_examples(
    log: Log, split: Split, buckets: Buckets, out: Path, snapshots: Path, settings: FeatureSettings
) -> ExampleWriter:
    snapshots.mkdir()
    with_histories = log.has["users"] and log.has["times"]
    join = PointInTimeJoin(buckets.folder / "feast", buckets.connection) if with_histories else None
    if join is None:
        write_no_snapshots(snapshots)
    with ExampleWriter(out) as writer:
        for bucket in track(range(buckets.count), label="build features", unit="buckets"):
            writer.write(*bucket_examples(buckets, bucket, split, snapshots, join, settings))
    if not writer.rows["train"]:
        raise BadInput(
            f"the log {log.path} leaves no training example: none of its training searches led to a click, favourite, "
            "cart or order; check that events carry the search_id of the search they answer."
        )
    return writer


def materialise(sources: Path, workdir: Path, environment: str = "local", settings: str = "{}") -> dict[str, Any]:
    """Brings every shopper's latest history into the online store of an environment; writes only what changed.

    A kill at any moment loses nothing: run it again. Returns figures: shoppers, written, unchanged, removed.
    Raises BadSetting for an unknown environment, NotFound without sources, Unavailable when the store doesn't answer.
    """
    options = from_overrides(FeatureSettings, settings)
    with task_record("materialise_features") as record:
        figures = materialise_histories(Path(sources).resolve(), Path(workdir), environment, options)
        if not figures["shoppers"]:
            record.note("The log has no shoppers' histories: the online store starts empty and takes real-time events.")
        for name, value in figures.items():
            record.figure(name, value)
    return figures
