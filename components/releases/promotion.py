"""Promotion: the only way in which a release becomes the served one without having been served before."""

from pathlib import Path
from typing import Any

from components.common.manifest import current_release_id, read_release
from components.releases.blessings import check_blessings, summary
from components.releases.ledger import Promotion, now, point_at, releases_lock, settle


def promote(workdir: Path, release_id: str, quality: dict[str, Any], infrastructure: dict[str, Any]) -> str:
    """Makes a release the served one and returns its id; promoting the served release again changes nothing.

    Args:
        workdir: the work directory.
        release_id: a complete release.
        quality: the blessing of the quality gate on its towers.
        infrastructure: the blessing of the infrastructure gate on this release.

    Raises:
        GateClosed: a blessing is closed, missing, or speaks of another release or other towers.
        NotFound, BadInput: no such release, or its files were changed.
    """
    with releases_lock(workdir):
        record = settle(workdir)
        check_blessings(read_release(workdir, release_id), quality, infrastructure)
        served = current_release_id(workdir)
        if served == release_id:
            return release_id
        entry = Promotion(release_id, now(), "promote", served, summary(quality), summary(infrastructure))
        point_at(workdir, [*record, entry], release_id)
    return release_id
