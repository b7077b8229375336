"""The step `promote_release`: the last task of the DAG, behind all gates."""

from pathlib import Path

from components.common.files import read_json
from components.common.manifest import read_release
from components.common.records import task_record
from components.releases.garbage import DropCollection, retire
from components.releases.log_statistics import keep_statistics
from components.releases.promotion import promote
from components.releases.server_index import drop_from_server


def run(
    workdir: Path,
    release: str,
    quality: Path,
    infrastructure: Path,
    statistics: Path,
    drop: DropCollection = drop_from_server,
) -> str:
    """Promotes the candidate, keeps its log's statistics for the next night, and retires what is too old.

    Args:
        workdir: the work directory.
        release: the candidate's id.
        quality: file of the quality blessing.
        infrastructure: file of the infrastructure blessing.
        statistics: statistics of the log that the release was trained on; later logs are compared with them.
        drop: drops the collection of a retired release that lies outside its directory.

    Returns:
        The served release's id.

    Raises:
        GateClosed, NotFound, BadInput: see `promote`; nothing that is served has changed then.
    """
    with task_record("promote_release") as record:
        served = promote(workdir, release, read_json(quality), read_json(infrastructure))
        record.figure("release", served)
        record.figure("simulated", read_release(workdir, served).simulated)
        keep_statistics(workdir, served, statistics)
        for release_id in retire(workdir, drop=drop):
            record.note(f"Release {release_id} was retired, index and files together.")
        return served
