"""Collections that no release owns: what killed runs left on a Milvus server.

A server may be shared, so every collection carries the mark of the work directory it was made for, and only those with
this work directory's mark are looked at. (A Milvus Lite database lies inside its release's directory and goes with it.)
"""

import uuid
from pathlib import Path

from components.common.candidates import held_candidates
from components.common.files import write_text
from components.common.manifest import list_release_ids, releases_directory
from components.index.backends import choose_backend
from components.index.settings import IndexSettings
from components.index.store import VectorStore, collection_name


def owner_mark(workdir: Path) -> str:
    """The work directory's own random mark, made on first use and kept in `releases/.owner`."""
    path = releases_directory(workdir) / ".owner"
    if not path.exists():
        write_text(path, uuid.uuid4().hex + "\n")
    return path.read_text(encoding="utf-8").strip()


def collect_collections(workdir: Path, settings: IndexSettings) -> list[str]:
    """Drops this work directory's collections that belong to no complete release; returns their names.

    One of a candidate that a live process builds (`hold_candidate`) stays. Without a server there is nothing to do.
    Raises Unavailable when the server does not answer.
    """
    backend = choose_backend(releases_directory(workdir))
    if backend.is_lite:
        return []
    mark = owner_mark(workdir)
    releases = [*list_release_ids(workdir), *held_candidates(workdir)]
    kept = {collection_name(release_id) for release_id in releases}
    dropped = []
    with VectorStore(backend, mark, settings.milvus_timeout) as store:
        for name in store.collections():
            if name not in kept and store.owner(name) == mark:
                store.drop(name)
                dropped.append(name)
    return dropped
