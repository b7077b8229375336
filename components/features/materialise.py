"""Brings shoppers' latest histories online: only what changed, never undoing a real-time event, safe to kill.

Which shoppers changed is known from a fingerprint of each latest snapshot, kept in `online-<environment>.parquet`
beside the registry. The online store holds a marker with the same token as that file; where they differ (the store was
emptied, another one is used, a run was killed) everything is compared again. Until the end nothing claims to be
complete, and every write is the merge of the snapshot with what is online, so doing it twice equals doing it once.

The log is the truth up to its end; pushed events after that (less a grace, since logs arrive late) stay online.

An environment with a compute engine (Spark) fills an empty store through it; changes are merged one batch at a time
everywhere.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.common.errors import NotFound
from components.common.files import fsync_directory, read_json, write_json
from components.common.lock import workdir_lock
from components.common.progress import Progress
from components.common.settings import as_overrides
from components.features.buckets import connect, literal
from components.features.history import History
from components.features.locks import Locks, shard_of
from components.features.online import OnlineHistories, Stored
from components.features.repository import (
    SETTINGS_FILE,
    apply_definitions,
    fill_with_engine,
    has_engine,
    load_config,
    store_directory,
)
from components.features.schema import FEATURES, SHOPPER
from components.features.settings import FeatureSettings

_TOKEN = b"towerline_token"
_LOCK_SECONDS = 30.0
_STATE = pa.schema([(SHOPPER, pa.string()), ("fingerprint", pa.uint64())])


def materialise_histories(sources: Path, workdir: Path, environment: str, settings: FeatureSettings) -> dict[str, Any]:
    """Applies the definitions and writes what changed; see the module. Returns the figures of `step.materialise`."""
    if not (sources / "sources.json").is_file():
        raise NotFound(f"there are no feature sources at {sources}: sources.json is missing; build the features first.")
    log_end = int(read_json(sources / "sources.json")["log_end_us"])
    directory = store_directory(workdir)
    with workdir_lock(directory, "materialise features"):
        for leftover in directory.glob(".*.tmp"):
            leftover.unlink()
        apply_definitions(environment, directory, sources / "shopper_history")
        write_json(directory / SETTINGS_FILE, as_overrides(settings))
        _let_readers_read(environment, directory)
        online = OnlineHistories(environment, directory)
        state = directory / f"online-{environment}.parquet"
        known = _known(state, online.marker())
        latest = _fingerprints(sources, directory, settings)
        changed, removed = _difference(latest, known)
        keep_from = log_end + 1 - int(settings.push_grace_seconds * 1_000_000)
        filled = 0
        if has_engine(environment) and not known.num_rows and latest.num_rows:
            fill_with_engine(environment, directory, 0, log_end)
            filled, changed = len(changed), set()
        merger = _Merger(online, online.locks(), keep_from, settings)
        with Progress(len(changed) + len(removed), "materialise", "shoppers") as progress:
            for rows in _batches(_snapshots(sources, changed), settings.online_batch):
                merger.merge(rows)
                progress.advance(len(rows))
            for rows in _batches(((user_id, History.empty(), 0) for user_id in removed), settings.online_batch):
                merger.merge(rows)
                progress.advance(len(rows))
        token = uuid.uuid4().hex
        online.set_marker(token)
        _remember(state, latest, token)
    return {
        "shoppers": latest.num_rows,
        "written": merger.written + filled,
        "unchanged": latest.num_rows + len(removed) - merger.written - filled,
        "removed": len(removed),
    }


class _Merger:
    """Writes snapshots merged with what is online, one batch under one lock."""

    def __init__(self, online: OnlineHistories, locks: Locks, keep_from: int, settings: FeatureSettings) -> None:
        self._online, self._locks, self._keep_from, self._settings = online, locks, keep_from, settings
        self.written = 0

    def merge(self, rows: list[tuple[str, History, int]]) -> None:
        """Merges snapshots (shopper, history, available time) of one shard."""
        with self._locks.hold(shard_of(rows[0][0]), _LOCK_SECONDS):
            stored = self._online.read([user_id for user_id, _, _ in rows])
            changes = []
            for (user_id, snapshot, available), old in zip(rows, stored, strict=True):
                history = snapshot.merge(old.history.since(self._keep_from), self._settings)
                if old.available_at is None or history != old.history:
                    newer = max(available, (old.available_at or 0) + 1)
                    changes.append((user_id, Stored(history, newer)))
            self._online.write(changes)
            self.written += len(changes)


def _snapshots(sources: Path, changed: set[str]) -> Iterator[tuple[str, History, int]]:
    """The changed shoppers' latest snapshots, file by file, each file's ordered by shard."""
    for path in sorted((sources / "shopper_history").glob("latest-*.parquet")):
        table = pq.read_table(path)
        users = table[SHOPPER].to_pylist()
        rows = [row for row, user_id in enumerate(users) if user_id in changed]
        rows.sort(key=lambda row: shard_of(users[row]))
        columns = {name: table[name].combine_chunks() for name in FEATURES}
        for row in rows:
            values = {name: column[row].as_py() for name, column in columns.items()}
            available = values.pop("available_at")
            yield users[row], History(**values), available


def _batches(rows: Iterator[tuple[str, History, int]], size: int) -> Iterator[list[tuple[str, History, int]]]:
    """Runs of rows of one shard, at most `size` long."""
    batch: list[tuple[str, History, int]] = []
    for row in rows:
        if batch and (len(batch) == size or shard_of(batch[0][0]) != shard_of(row[0])):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _fingerprints(sources: Path, directory: Path, settings: FeatureSettings) -> pa.Table:
    """user_id and a 64-bit hash of every latest snapshot."""
    connection = connect(directory, settings)
    pattern = literal(str(sources / "shopper_history" / "latest-*.parquet"))
    columns = ", ".join(FEATURES)
    try:
        return (
            connection.sql(
                f"SELECT {SHOPPER}, hash({columns}) AS fingerprint FROM read_parquet({pattern}) ORDER BY {SHOPPER}"
            )
            .to_arrow_table()
            .cast(_STATE)
        )
    finally:
        connection.close()


def _known(state: Path, marker: str | None) -> pa.Table:
    """The fingerprints of what is online; none when the store doesn't carry this file's token."""
    if marker is None or not state.is_file():
        return _STATE.empty_table()
    table = pq.read_table(state)
    token = (table.schema.metadata or {}).get(_TOKEN, b"").decode()
    return table.replace_schema_metadata(None).cast(_STATE) if token == marker else _STATE.empty_table()


def _difference(latest: pa.Table, known: pa.Table) -> tuple[set[str], list[str]]:
    """Shoppers whose snapshot is new or changed; shoppers who were online and are in the log no longer."""
    place = pc.index_in(latest[SHOPPER], value_set=known[SHOPPER].combine_chunks())
    before = known["fingerprint"].take(place)
    same = pc.fill_null(pc.equal(latest["fingerprint"], before), False)
    changed = set(latest.filter(pc.invert(same))[SHOPPER].to_pylist())
    gone = pc.is_null(pc.index_in(known[SHOPPER], value_set=latest[SHOPPER].combine_chunks()))
    return changed, sorted(known.filter(gone)[SHOPPER].to_pylist(), key=lambda user_id: (shard_of(user_id), user_id))


def _remember(state: Path, latest: pa.Table, token: str) -> None:
    staged = state.with_name(f".{state.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        pq.write_table(latest.replace_schema_metadata({_TOKEN: token.encode()}), staged, compression="zstd")
        staged.replace(state)
        fsync_directory(state.parent)
    finally:
        staged.unlink(missing_ok=True)


def _let_readers_read(environment: str, directory: Path) -> None:
    """Puts SQLite in write-ahead mode (kept in its file): readers see the last commit and don't wait for writers."""
    config = load_config(environment, directory)
    if config.online_store.type == "sqlite":
        connection = sqlite3.connect(config.online_store.path)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
