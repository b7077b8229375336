"""Towerline: from a shop's log to a served release, as one Kubeflow pipeline, and the command line over it."""

import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main`: Ctrl-C while libraries load ends without a traceback

from kfp import dsl

from components.common.code import code_fingerprint
from components.evaluation.component import evaluate_towers
from components.features.component import build_features, materialise_features
from components.index.component import embed_catalogue, upsert_embeddings
from components.logs.component import inspect_inputs, load_log
from components.placement import Needs, accelerators, place
from components.releases.component import promote_release
from components.runs.component import report_run
from components.serving.component import deploy_endpoint, smoke_test
from components.towers.component import train_towers
from components.validation.component import open_gate, validate_logs

SMALL = Needs(cpu="500m", memory="2G", minutes=30)
READING = Needs(cpu="4", memory="16G", minutes=180)
TRAINING = Needs(cpu="8", memory="32G", minutes=600, retries=1, accelerators=accelerators() or 0, manifests=True)
SERVING = Needs(cpu="2", memory="8G", minutes=30, secrets=True)
WRITING = Needs(cpu="4", memory="16G", minutes=180, retries=2, secrets=True)
EMBEDDING = Needs(cpu="8", memory="16G", minutes=180, retries=2)
PROMOTING = Needs(cpu="2", memory="8G", minutes=30, retries=2, secrets=True)
DEPLOYING = Needs(cpu="500m", memory="2G", minutes=120, retries=1, manifests=True)
"""Resources on a cluster; `python -m bench.capacity limits` says for how many rows. A laptop ignores them."""


def _cached(room: str, task: dsl.PipelineTask, needs: Needs) -> dsl.PipelineTask:
    """A task that may be answered from an earlier run: its key also holds the code of its room and those above it."""
    return place(task, needs).set_env_variable("TOWERLINE_CODE", code_fingerprint(room)).set_caching_options(True)


def _always(task: dsl.PipelineTask, needs: Needs = SMALL) -> dsl.PipelineTask:
    """A task that acts on something outside its outputs and so runs every time."""
    return place(task, needs).set_caching_options(False)


def _gate(name: str, verdict: object, evidence: object) -> dsl.PipelineTask:
    """A task that fails, and with it the run, when the verdict is closed."""
    return _always(open_gate(name=name, verdict=verdict, evidence=evidence)).set_display_name(name.replace("_", " "))


@dsl.pipeline(name="towerline", description="A shop's log in, a verified release behind an endpoint out.")
def towerline(
    source: str = "marketplace",
    data: str = "",
    model: str = "mgdspr",
    workdir: str = "/towerline",
    environment: str = "local",
    accept: str = "",
    training_job: str = "",
    parts: list[str] = ["1/1"],  # noqa: B006  (kfp compiles the default, nobody changes it)
    endpoint: str = "",
    canary_percent: int = 10,
    gateway: str = "",
    share: int = 100,
    provenance: str = "{}",
    log_settings: str = "{}",
    validation_settings: str = "{}",
    feature_settings: str = "{}",
    tower_settings: str = "{}",
    evaluation_settings: str = "{}",
    index_settings: str = "{}",
    serving_settings: str = "{}",
) -> None:
    """The nightly run.

    Args:
        source: where the log comes from: marketplace (simulated), parquet, or a public set's name.
        data: path of the source's files, as the tasks see it.
        model: mgdspr, ueppr or mmse.
        workdir: directory all tasks share: releases, feature store, checkpoints, runs.
        environment: which feature store: local, redis or cluster.
        accept: names of drift alarms a person accepts, comma-separated.
        training_job: path of the PyTorchJob that trains on several nodes, as the tasks see it; empty: one task.
        parts: the parts in which the catalogue is embedded, a task each, such as ["1/2", "2/2"].
        endpoint: path of the InferenceService that is moved to the release, as the tasks see it; empty: none.
        canary_percent: share of the endpoint's requests that the release gets first.
        gateway: URL of the ingress gateway, where the endpoint's names have no DNS.
        share: percent of the shoppers who get the release; below 100 it stays a canary until somebody promotes it.
        provenance: JSON object kept in the release: run id, code revision, settings.
        log_settings: JSON object of overrides for loading the log.
        validation_settings: JSON object of overrides for the data gate.
        feature_settings: JSON object of overrides for histories and examples.
        tower_settings: JSON object of overrides for the towers and their training.
        evaluation_settings: JSON object of overrides for the evaluation and the quality gate.
        index_settings: JSON object of overrides for the index.
        serving_settings: JSON object of overrides for the smoke test's server.
    """
    with dsl.ExitHandler(_always(report_run(source=source, data=data, model=model, workdir=workdir))):
        inputs = _always(inspect_inputs(source=source, data=data, settings=log_settings, workdir=workdir))

        loaded = _cached(
            "logs",
            load_log(source=source, data=data, settings=log_settings, fingerprint=inputs.outputs["fingerprint"]),
            READING,
        )
        checked = _cached(
            "validation",
            validate_logs(log=loaded.outputs["log"], settings=validation_settings, accept=accept, workdir=workdir),
            READING,
        )
        data_gate = _gate("data_gate", checked.outputs["verdict"], checked.outputs["report"])

        features = _cached(
            "features", build_features(log=checked.outputs["checked"], settings=feature_settings), READING
        )
        features.after(data_gate)
        online = _always(
            materialise_features(
                sources=features.outputs["sources"],
                settings=feature_settings,
                environment=environment,
                workdir=workdir,
            ),
            WRITING,
        )

        trained = _cached(
            "towers",
            train_towers(
                examples=features.outputs["examples"],
                model=model,
                settings=tower_settings,
                training_job=training_job,
                workdir=workdir,
            ),
            TRAINING,
        )
        evaluated = _cached(
            "evaluation",
            evaluate_towers(
                examples=features.outputs["examples"],
                towers=trained.outputs["towers"],
                truth=loaded.outputs["truth"],
                workdir=workdir,
                current_release=inputs.outputs["current_release"],
                settings=evaluation_settings,
            ),
            READING,
        )
        quality_gate = _gate("quality_gate", evaluated.outputs["blessing"], evaluated.outputs["evaluation"])

        with dsl.ParallelFor(parts, name="parts of the catalogue") as part:
            embedded = _cached(
                "index",
                embed_catalogue(
                    examples=features.outputs["examples"],
                    towers=trained.outputs["towers"],
                    part=part,
                    settings=index_settings,
                ),
                EMBEDDING,
            ).after(quality_gate)
        candidate = _always(
            upsert_embeddings(
                examples=features.outputs["examples"],
                towers=trained.outputs["towers"],
                vectors=dsl.Collected(embedded.outputs["vectors"]),
                evaluation=evaluated.outputs["evaluation"],
                settings=index_settings,
                provenance=provenance,
                environment=environment,
                workdir=workdir,
            ),
            WRITING,
        ).after(quality_gate)

        tested = _always(
            smoke_test(release=candidate.output, settings=serving_settings, workdir=workdir), SERVING
        ).after(online)
        infrastructure_gate = _gate("infrastructure_gate", tested.outputs["blessing"], tested.outputs["blessing"])

        deployed = _always(
            deploy_endpoint(
                release=candidate.output,
                endpoint=endpoint,
                canary_percent=canary_percent,
                gateway=gateway,
                workdir=workdir,
            ),
            DEPLOYING,
        ).after(infrastructure_gate)
        _always(
            promote_release(
                release=deployed.output,
                quality=evaluated.outputs["blessing"],
                infrastructure=tested.outputs["blessing"],
                statistics=checked.outputs["statistics"],
                share=share,
                workdir=workdir,
            ),
            PROMOTING,
        )


def main() -> int:
    """The command line; returns the exit code."""
    from components.runs.commands import main as command_line

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return command_line(towerline)


if __name__ == "__main__":
    sys.exit(main())
