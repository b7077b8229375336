"""Pipeline tasks of this room: point-in-time training examples, and the online store that serving reads."""

from kfp import dsl

from components.image import component


@component
def build_features(
    log: dsl.Input[dsl.Dataset],
    settings: str,
    examples: dsl.Output[dsl.Dataset],
    sources: dsl.Output[dsl.Dataset],
) -> None:
    """Builds each search's example with the shopper's history as it was just before it, through Feast.

    Args:
        log: the checked log.
        settings: JSON object of overrides of FeatureSettings.
        examples: train, validation and test examples, products, query-product graph.
        sources: the feature tables that Feast reads, for materialisation.
    """
    from pathlib import Path

    from components.features.step import build

    examples.metadata.update(build(Path(log.path), Path(examples.path), Path(sources.path), settings))


@component
def materialise_features(sources: dsl.Input[dsl.Dataset], settings: str, environment: str, workdir: str) -> None:
    """Brings each shopper's latest history into the online store; only what changed is written.

    Args:
        sources: the feature tables.
        settings: JSON object of overrides of FeatureSettings.
        environment: which feature_store.yaml: local, redis or cluster.
        workdir: holds the local registry and online store.
    """
    from pathlib import Path

    from components.features.step import materialise

    materialise(Path(sources.path), Path(workdir), environment, settings)
