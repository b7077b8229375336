"""Pipeline tasks of this room: try the candidate in a real server, and move a cluster's endpoint to it."""

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

    verdict = smoke(Path(workdir), release, Path(blessing.path), settings)
    blessing.metadata.update({name: verdict[name] for name in ("release", "open", "reason")})


@component
def deploy_endpoint(release: str, endpoint: str, canary_percent: int, gateway: str, workdir: str) -> str:
    """Moves the KServe endpoint to the candidate by a canary, verifies its replies, and takes it back on failure.

    Args:
        release: the candidate's release id.
        endpoint: path of the InferenceService's manifest; empty: no endpoint is moved.
        canary_percent: share of the requests that the candidate gets first.
        gateway: URL of the ingress gateway, where the endpoint's names have no DNS.
        workdir: holds the releases; the endpoint mounts it too.

    Returns:
        The release id, for what may only follow a deployment that went well.
    """
    from pathlib import Path

    from components.serving.deploy import run

    run(Path(workdir), release, endpoint, canary_percent, gateway)
    return release
