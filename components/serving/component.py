"""Pipeline task of this room: start a real server on the candidate and replay stored queries."""

from kfp import dsl

from components.image import component


@component
def smoke_test(release: str, settings: str, workdir: str, blessing: dsl.Output[dsl.Artifact]) -> None:
    """Starts KServe's ModelServer on the candidate release, replays its golden queries and writes the blessing.

    Args:
        release: the candidate's release id.
        settings: JSON object of overrides of ServingSettings.
        workdir: holds the releases.
        blessing: whether the infrastructure gate opens, and why.
    """
    from pathlib import Path

    from components.serving.smoke import smoke_test as smoke

    smoke(Path(workdir), release, Path(blessing.path), settings)
