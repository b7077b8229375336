"""Pipeline task of this room: train the query tower and the item tower."""

from kfp import dsl

from components.image import component


@component
def train_towers(
    examples: dsl.Input[dsl.Dataset],
    model: str,
    settings: str,
    training_job: str,
    workdir: str,
    towers: dsl.Output[dsl.Model],
) -> None:
    """Trains both towers and exports them as safetensors, ONNX and JSON.

    Args:
        examples: what build_features wrote.
        model: mgdspr, ueppr or mmse.
        settings: JSON object of overrides of the towers' settings.
        training_job: path of a PyTorchJob's manifest: trains on its nodes; empty: in this task.
        workdir: holds the checkpoints from which a killed training goes on.
        towers: the trained towers with their vocabularies and training curves.
    """
    from pathlib import Path

    from components.towers.training_job import train

    facts = train(Path(examples.path), Path(towers.path), model, settings, Path(workdir), training_job)
    towers.metadata.update(facts)
