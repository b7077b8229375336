"""Pipeline task of this room: embed the catalogue and build the candidate release with its own collection."""

from kfp import dsl

from components.image import component


@component
def upsert_embeddings(
    examples: dsl.Input[dsl.Dataset],
    towers: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    settings: str,
    provenance: str,
    workdir: str,
) -> str:
    """Embeds the catalogue, upserts it into a new Milvus collection, verifies it, and writes the candidate release.

    Args:
        examples: holds the catalogue.
        towers: the trained towers.
        evaluation: the evaluation table that goes into the release.
        settings: JSON object of overrides of IndexSettings.
        provenance: JSON object: the run, the settings and the code the release comes from.
        workdir: holds the releases.

    Returns:
        The candidate's release id.
    """
    from pathlib import Path

    from components.index.step import run

    return run(Path(examples.path), Path(towers.path), Path(evaluation.path), workdir, settings, provenance)
