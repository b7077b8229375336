"""The step `upsert_embeddings`: from towers and catalogue to a candidate release with its own, verified collection."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.common.candidates import hold_candidate
from components.common.errors import BadInput, BadSetting, NotFound
from components.common.files import link_tree, read_json, staged_directory, write_json
from components.common.manifest import (
    Release,
    current_release_id,
    fingerprint_files,
    new_release_id,
    release_directory,
    write_release,
)
from components.common.records import TaskRecord, task_record
from components.common.settings import from_overrides
from components.index.assemble import Content, write_index
from components.index.backends import choose_backend, choose_index_type
from components.index.catalogue import read_catalogue
from components.index.content import HELD_OUT, encode_searches, is_cosine, item_encoder, make_content
from components.index.embed import embed, parse_part, shard_rows, write_shard
from components.index.garbage import collect_collections, owner_mark
from components.index.golden import choose_golden, make_golden, write_golden
from components.index.search import open_search
from components.index.searches import sample_searches
from components.index.settings import IndexSettings


def run(
    examples: Path,
    towers: Path,
    evaluation: Path,
    workdir: str | Path,
    settings: str | Mapping[str, Any] = "{}",
    provenance: str | Mapping[str, Any] = "{}",
    release_id: str | None = None,
    shards: Sequence[Path] = (),
    environment: str = "local",
) -> str:
    """Builds `<workdir>/releases/<release id>/` and returns the release id; nothing that is served changes.

    The release is put together in a hidden sibling directory and appears by one rename, with `release.json` written
    last: a run killed anywhere leaves no release.

    Args:
        examples: what the features room wrote: the catalogue, and searches to tune and check on.
        towers: the trained towers; linked into the release.
        evaluation: directory with `evaluation.json`, which goes into the release.
        workdir: the work directory. The candidate is held while it is built, so that no other process clears it away.
        settings: overrides of IndexSettings.
        provenance: what the release comes from: code, settings, run.
        release_id: the new release's id; made from the time where it is not given.
        shards: directories of `embed_part`, one a part; without them the catalogue is embedded here.
        environment: the feature store that holds its shoppers: local, redis or cluster.

    Raises:
        BadInput, BadSetting, NotFound: with one sentence each.
        Unavailable: Milvus does not answer.
        GateClosed: the collection is not what was written or its recall is too low.
    """
    chosen = from_overrides(IndexSettings, settings)
    origin = _object(provenance)
    workdir = Path(workdir)
    with task_record("upsert_embeddings") as record:
        release_id = release_id or new_release_id(suffix=uuid.uuid4().hex[:6])
        directory = release_directory(workdir, release_id)
        if directory.exists():
            raise BadInput(f"release {release_id} exists already, and a release never changes; choose another id.")
        backend = choose_backend(directory / "milvus")
        choose_index_type(backend, chosen.milvus_index, chosen.precision)
        for name in collect_collections(workdir, chosen):
            record.note(f"The collection {name}, left by a killed run, was dropped.")
        table = read_json(Path(evaluation) / "evaluation.json")
        model, features = _model(towers), read_json(Path(examples) / "features.json")
        products = read_catalogue(Path(examples) / "products.parquet")
        with hold_candidate(workdir, release_id), staged_directory(directory) as stage:
            link_tree(towers, stage / "towers")
            write_json(stage / "evaluation.json", table)
            backend = choose_backend(stage / "milvus")
            content, relevance = make_content(examples, stage / "towers", products, model, shards, chosen, record)
            plan = write_index(stage, release_id, content, backend, chosen, owner_mark(workdir), relevance=relevance)
            _golden(examples, stage, chosen, record)
            write_release(
                Release(
                    release_id=release_id,
                    model=str(model["name"]),
                    simulated=bool(features.get("simulated", False)),
                    collection=plan["milvus"]["collection"],
                    milvus=plan["milvus"],
                    feature_service=str(features.get("feature_service", "")),
                    log={
                        name: features[name]
                        for name in ("source", "window", "fingerprint", "split")
                        if name in features
                    },
                    code=str(origin.get("code", "")),
                    settings=dict(origin.get("settings", {})),
                    evaluation=table,
                    boosting=content.boosting.describe(),
                    files=fingerprint_files(stage),
                    created_at=datetime.now(UTC).isoformat(),
                    parent=current_release_id(workdir),
                    environment=environment,
                    directory=stage,
                )
            )
        _figures(plan, content, record)
        record.figure("release", release_id)
    return release_id


def embed_part(examples: Path, towers: Path, output: Path, part: str, settings: str | Mapping[str, Any] = "{}") -> int:
    """Embeds one part of the catalogue, "2/8" is the second of eight, into `output`; returns its number of products.

    Raises as `run`; BadSetting for a part that does not exist.
    """
    chosen = from_overrides(IndexSettings, settings)
    shard, shards = parse_part(part)
    with task_record("embed_catalogue" if shards == 1 else f"embed_catalogue_{shard + 1}_of_{shards}") as record:
        model = _model(towers)
        products = read_catalogue(Path(examples) / "products.parquet")
        if shards > products.num_rows:
            raise BadSetting(f"a catalogue of {products.num_rows} products has no {shards} parts; give it fewer.")
        rows = shard_rows(products.num_rows, shard, shards)
        own = products.slice(rows.start, rows.stop - rows.start)
        vectors = embed(item_encoder(towers, chosen), own, chosen.embed_batch, is_cosine(model))
        write_shard(Path(output), vectors, shard, shards)
        record.figure("products", len(vectors))
    return len(vectors)


def _golden(examples: Path, stage: Path, settings: IndexSettings, record: TaskRecord) -> None:
    with open_search(stage, IndexSettings(search="resident")) as searcher:
        pool = sample_searches(
            examples, ("test", *HELD_OUT), 8 * settings.golden_requests, searcher.products.row_of, settings.seed
        )
        searches = pool.take(choose_golden(pool, settings.golden_requests))
        if len(searches) < settings.golden_requests:
            record.note(f"Only {len(searches)} golden requests could be stored: the log has no more searches.")
        vectors = encode_searches(stage / "towers", searches, settings, "golden requests")
        write_golden(stage / "golden.json", make_golden(searches, vectors, searcher))


def _figures(plan: dict[str, Any], content: Content, record: TaskRecord) -> None:
    for name in ("products", "stored_dimension", "resident", "curve"):
        record.figure(name, plan[name])
    record.figure("milvus", {name: plan["milvus"][name] for name in ("kind", "index_type", "search", "verified")})
    record.figure("boosting", content.boosting.describe()["report"])
    record.figure("relevance", plan["relevance"])
    disregarded = [kind for kind, seen in content.terms.kinds.items() if not seen["used"]]
    if disregarded:
        record.note(f"Shoppers disregard these key terms, so they filter nothing: {', '.join(disregarded)}.")


def _model(towers: Path) -> dict[str, Any]:
    model = read_json(Path(towers) / "model.json")
    if not isinstance(model, dict) or not model.get("name") or model.get("score") not in ("cosine", "inner_product"):
        raise BadInput(f"{Path(towers) / 'model.json'} does not name its model and score; train the towers again.")
    if not (Path(towers) / "towers.safetensors").exists():
        raise NotFound(f"{towers} holds no towers.safetensors; train the towers again.")
    return model


def _object(provenance: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(provenance, str):
        try:
            provenance = json.loads(provenance or "{}")
        except json.JSONDecodeError as error:
            raise BadSetting(f"provenance is not a JSON object: {error}.") from error
    if not isinstance(provenance, Mapping):
        raise BadSetting(f"provenance must be a JSON object, not {type(provenance).__name__}.")
    return dict(provenance)
