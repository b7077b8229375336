"""The statistics of the logs that releases were trained on: what the data gate compares the next night with.

They lie in `<workdir>/statistics/<release id>/`. The data gate takes the newest, by the time of `statistics.json`, so
that file is a copy with a time of its own, and a rollback makes it the newest again.
"""

import os
import shutil
from pathlib import Path

from components.common.files import link_tree, staged_directory

_MAIN = "statistics.json"


def statistics_directory(workdir: Path) -> Path:
    """Where the statistics of all promoted releases lie."""
    return Path(workdir) / "statistics"


def keep_statistics(workdir: Path, release_id: str, statistics: Path) -> None:
    """Keeps a folder of statistics as those of a release, the newest of all; without statistics nothing happens."""
    if not (statistics / _MAIN).exists():
        return
    with staged_directory(statistics_directory(workdir) / release_id) as staging:
        link_tree(statistics, staging)
        (staging / _MAIN).unlink()
        shutil.copyfile(statistics / _MAIN, staging / _MAIN)


def make_newest(workdir: Path, release_id: str) -> None:
    """Makes a release's statistics the newest, if it has any."""
    path = statistics_directory(workdir) / release_id / _MAIN
    if path.exists():
        os.utime(path)


def remove_statistics(workdir: Path, release_id: str) -> None:
    """Removes a retired release's statistics."""
    path = statistics_directory(workdir) / release_id
    if path.exists():
        shutil.rmtree(path)
