"""New, changed or removed products go live without training: a child of the served release through the same gates."""

import tempfile
from pathlib import Path
from typing import Any

from components.common.errors import GateClosed
from components.common.files import read_json
from components.common.lock import workdir_lock
from components.common.manifest import current_release_id
from components.releases.garbage import collect_garbage, retire
from components.releases.ledger import read_record
from components.releases.log_statistics import keep_statistics, statistics_directory
from components.releases.rollout import check_share, promote_to_share


def upsert_and_promote(
    workdir: Path, products: Path, index_settings: str = "{}", serving_settings: str = "{}", share: float = 100
) -> str:
    """Makes a child of the served release with the products of a Parquet file, tests it and serves it; returns its id.

    With a `share` below 100 percent the child becomes a canary beside the served release. It has its parent's towers,
    so the parent's quality blessing holds for it; the infrastructure gate is passed anew, by a real server on the
    child. When no product differs, the served release stays and its id is returned.

    Raises:
        WorkdirBusy: a run holds the work directory.
        NotFound, BadInput: nothing is served, no such file, or it does not follow the contract.
        BadSetting: the share is none.
        GateClosed: the child did not pass; the parent is still served.
    """
    check_share(share)
    from components.index.upsert import upsert_products
    from components.serving.smoke import smoke_test

    workdir = Path(workdir)
    with workdir_lock(workdir, f"upsert of {products}"):
        collect_garbage(workdir)
        child = upsert_products(workdir, products, index_settings)
        parent = current_release_id(workdir)
        if parent is None or child == parent:
            return child
        with tempfile.TemporaryDirectory(prefix="towerline-upsert-") as folder:
            blessing = Path(folder) / "infrastructure.json"
            smoke_test(workdir, child, blessing, serving_settings)
            promote_to_share(workdir, child, share, _quality_of(workdir, parent), read_json(blessing))
        keep_statistics(workdir, child, statistics_directory(workdir) / parent)
        retire(workdir)
    return child


def _quality_of(workdir: Path, release_id: str) -> dict[str, Any]:
    """The quality blessing that a release was promoted with."""
    for entry in reversed(read_record(workdir)):
        if entry.release == release_id and entry.quality is not None:
            return entry.quality
    raise GateClosed(
        f"release {release_id} is served without a quality blessing, so no child of it can be promoted; "
        "run the pipeline to promote a release."
    )
