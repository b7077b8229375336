"""Pipeline tasks of this room: look at what the run starts from, and bring the log into the contract."""

from typing import NamedTuple

from kfp import dsl

from components.image import component


@component
def inspect_inputs(source: str, data: str, settings: str, workdir: str) -> NamedTuple(
    "Inputs", [("fingerprint", str), ("current_release", str)]
):
    """Fingerprints the content of the source and names the release served now; later tasks are keyed on both.

    Args:
        source: name of the source, `marketplace` or a loader's name.
        data: path of the source's files; empty for the marketplace or for a set that is downloaded.
        settings: JSON object of overrides of LogSettings.
        workdir: the work directory with the releases.

    Returns:
        fingerprint: SHA-256 of the source's content and settings. current_release: its id, empty before the first.
    """
    from components.logs.step import inspect

    return inspect(source, data, settings, workdir)


@component
def load_log(
    source: str,
    data: str,
    settings: str,
    fingerprint: str,
    log: dsl.Output[dsl.Dataset],
    truth: dsl.Output[dsl.Artifact],
) -> None:
    """Translates a source into the data contract.

    Args:
        source: name of the source.
        data: path of the source's files.
        settings: JSON object of overrides of LogSettings.
        fingerprint: the source's content, so that a changed source is a changed task.
        log: the log in the contract (products, searches, events).
        truth: what the generator knows and the log does not say (marketplace only; empty otherwise).
    """
    from pathlib import Path

    from components.logs.step import load_log as load

    log.metadata.update(load(source, data, settings, Path(log.path), Path(truth.path)))
