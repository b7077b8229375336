"""Pipeline tasks of this room: embed the catalogue, and build the candidate release with its own collection."""

from kfp import dsl

from components.image import component


@component
def embed_catalogue(
    examples: dsl.Input[dsl.Dataset],
    towers: dsl.Input[dsl.Model],
    part: str,
    settings: str,
    vectors: dsl.Output[dsl.Dataset],
) -> None:
    """Embeds one part of the catalogue with the item tower.

    Args:
        examples: holds the catalogue.
        towers: the trained towers.
        part: which part of how many, "1/1" for all, "2/8" for the second of eight.
        settings: JSON object of overrides of IndexSettings.
        vectors: item vectors, float32, in catalogue order.
    """
    from pathlib import Path

    from components.index.step import embed_part

    vectors.metadata["products"] = embed_part(
        Path(examples.path), Path(towers.path), Path(vectors.path), part, settings
    )


@component
def upsert_embeddings(
    examples: dsl.Input[dsl.Dataset],
    towers: dsl.Input[dsl.Model],
    vectors: dsl.Input[list[dsl.Dataset]],
    evaluation: dsl.Input[dsl.Artifact],
    settings: str,
    provenance: str,
    environment: str,
    workdir: str,
) -> str:
    """Upserts the catalogue into a new Milvus collection, verifies it, and writes the candidate release.

    Args:
        examples: holds the catalogue.
        towers: the trained towers.
        vectors: the parts of the embedded catalogue.
        evaluation: the evaluation table that goes into the release.
        settings: JSON object of overrides of IndexSettings.
        provenance: JSON object: the run, the settings and the code the release comes from.
        environment: the feature store that holds its shoppers; a server on the release reads that one.
        workdir: holds the releases.

    Returns:
        The candidate's release id.
    """
    from pathlib import Path

    from components.index.step import run

    shards = [Path(part.path) for part in vectors]
    return run(
        Path(examples.path), Path(towers.path), Path(evaluation.path), workdir, settings, provenance, shards=shards,
        environment=environment,
    )  # fmt: skip
