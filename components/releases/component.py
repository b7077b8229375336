"""Pipeline task of this room: make the candidate the served release."""

from kfp import dsl

from components.image import component


@component
def promote_release(
    release: str,
    quality: dsl.Input[dsl.Artifact],
    infrastructure: dsl.Input[dsl.Artifact],
    statistics: dsl.Input[dsl.Artifact],
    share: int,
    workdir: str,
) -> str:
    """Promotes the candidate if both blessings are open and speak of its towers; retires what is too old.

    Args:
        release: the candidate's release id.
        quality: the quality blessing.
        infrastructure: the infrastructure blessing.
        statistics: statistics of the log the release was trained on; later logs are compared with them.
        share: percent of the shoppers who get the candidate; below 100 it is a canary beside the served release.
        workdir: holds the releases.

    Returns:
        The served release id.
    """
    from pathlib import Path

    from components.releases.step import run

    gates = Path(quality.path), Path(infrastructure.path)
    return run(Path(workdir), release, *gates, Path(statistics.path), share=share)
