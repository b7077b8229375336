"""The step `promote_release`: the last task of the DAG, behind all gates."""

from pathlib import Path

from components.common.files import read_json
from components.common.manifest import read_release
from components.common.records import task_record
from components.releases.garbage import DropCollection, retire
from components.releases.log_statistics import keep_statistics
from components.releases.rollout import promote_to_share
from components.releases.server_index import drop_from_server


def run(
    workdir: Path,
    release: str,
    quality: Path,
    infrastructure: Path,
    statistics: Path,
    drop: DropCollection = drop_from_server,
    share: float = 100,
) -> str:
    """Promotes the candidate, keeps its log's statistics for the next night, and retires what is too old.

    Args:
        workdir: the work directory.
        release: the candidate's id.
        quality: file of the quality blessing.
        infrastructure: file of the infrastructure blessing.
        statistics: statistics of the log that the release was trained on; later logs are compared with them.
        drop: drops the collection of a retired release that lies outside its directory.
        share: percent of the shoppers who get the candidate; below 100 it is a canary beside the served release.

    Returns:
        The served release's id.

    Raises:
        GateClosed, NotFound, BadInput: see `promote`; nothing that is served has changed then.
    """
    with task_record("promote_release") as record:
        served = promote_to_share(workdir, release, share, read_json(quality), read_json(infrastructure))
        record.figure("release", served)
        record.figure("simulated", read_release(workdir, served).simulated)
        if served != release:
            record.figure("canary", release)
            record.note(
                f"Release {release} is a canary: {share:g} % of the shoppers get it. "
                "`python pipeline.py canary --promote` gives it to all, `--stop` takes it back."
            )
        keep_statistics(workdir, release, statistics)
        for release_id in retire(workdir, drop=drop):
            record.note(f"Release {release_id} was retired, index and files together.")
        return served
