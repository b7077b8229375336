"""Pipeline task of this room: measure the towers by exact search and say whether they may go on."""

from kfp import dsl

from components.image import component


@component
def evaluate_towers(
    examples: dsl.Input[dsl.Dataset],
    towers: dsl.Input[dsl.Model],
    truth: dsl.Input[dsl.Artifact],
    workdir: str,
    current_release: str,
    settings: str,
    evaluation: dsl.Output[dsl.Artifact],
    blessing: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Evaluates the towers beside random, popularity, BM25 and the current release, and writes the quality blessing.

    Args:
        examples: what build_features wrote; its test split is evaluated.
        towers: the trained towers.
        truth: the generator's truth for the good rate (marketplace only).
        workdir: holds the releases.
        current_release: id of the served release, empty before the first.
        settings: JSON object of overrides of EvaluationSettings.
        evaluation: evaluation.json and the per-query table.
        blessing: whether the quality gate opens, and why.
        metrics: the model's main figures, for the Kubeflow UI.
    """
    from pathlib import Path

    from components.evaluation.gate import quality_gate
    from components.evaluation.step import run

    figures = run(
        Path(examples.path), Path(towers.path), truth.path, workdir, current_release, Path(evaluation.path), settings
    )
    quality_gate(Path(evaluation.path), Path(blessing.path), settings)
    for name, value in figures.items():
        if isinstance(value, int | float):
            metrics.log_metric(name, value)
    Path(metrics.path).parent.mkdir(parents=True, exist_ok=True)
    Path(metrics.path).write_text(str(dict(metrics.metadata)))
