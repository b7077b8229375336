"""The served release as a command needs it: there, or a sentence with the command that helps."""

import shlex
from pathlib import Path

from components.common.errors import NotFound
from components.common.manifest import current_release_id, list_release_ids, releases_directory


def served_release_id(workdir: Path) -> str:
    """The id of the served release, whose manifest is there. Raises NotFound without one."""
    workdir = Path(workdir).absolute()
    release_id = current_release_id(workdir)
    place = shlex.quote(str(workdir))
    if release_id is None and list_release_ids(workdir) and (releases_directory(workdir) / "promoted.json").exists():
        raise NotFound(
            f"{workdir / 'current'} names no release; `python pipeline.py rollback --workdir {place}` serves the last "
            "one again."
        )
    if release_id is None:
        raise NotFound(f"{workdir} has no promoted release; `python pipeline.py run --workdir {place}` makes one.")
    if release_id not in list_release_ids(workdir):
        raise NotFound(
            f"{workdir / 'current'} names {release_id[:60]!r}, which is no release that is there; "
            f"`python pipeline.py rollback --workdir {place}` serves an earlier one again."
        )
    return release_id
