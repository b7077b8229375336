"""Drops a release's collection from a Milvus server; in the embedded default the index lies in the release itself."""

import os
from pathlib import Path


def drop_from_server(release_id: str) -> None:
    """Drops the release's collection on the server that the environment names, if one is named and has it.

    Raises Unavailable when the server does not answer, BadSetting when its URI is none.
    """
    from components.index.backends import URI, choose_backend

    if not os.environ.get(URI, "").strip():
        return
    from components.index.store import VectorStore, collection_name

    with VectorStore(choose_backend(Path())) as store:
        store.drop(collection_name(release_id))
