"""Two shoppers of opposite lasting taste, and a query where it should show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from components.common.errors import NotFound
from components.logs.marketplace.catalogue import type_demand
from components.logs.marketplace.lexicon import GROUPS, lexicon
from components.logs.marketplace.truth import truth_settings

_FIELD = GROUPS.index("fashion")  # where taste decides most
_ACTIVE = 0.85  # quantile of activity from which a shopper's history surely shows the taste


def demo_shoppers(truth_dir: str | Path) -> tuple[str, str, str]:
    """A thrifty shopper, one who buys dear things in other styles, and a query both would type.

    Returns:
        Two user ids and the query, for the marketplace log beside this truth.

    Raises:
        NotFound: the folder holds no truth, or too few shoppers to find such a pair.
    """
    folder = Path(truth_dir)
    settings = truth_settings(folder)
    rows = pq.ParquetFile(sorted((folder / "shoppers").glob("part-*.parquet"))[0]).read()
    level = np.array(rows["level"].to_pylist())[:, _FIELD]
    styles = np.array(rows["styles"].to_pylist()).reshape(len(rows), len(GROUPS), 2)[:, _FIELD]
    activity, joined = rows["activity"].to_numpy(), rows["joined"].to_numpy()
    types, group = np.array(rows["types"].to_pylist()), lexicon().column("group")
    demand = np.where((group == _FIELD) & (lexicon().column("taste") >= 1.0), type_demand(settings.seed, lexicon()), 0)
    kind = int(np.argmax(demand))
    at_home = (group[types] == _FIELD).sum(axis=1) + 2 * (types == kind).any(axis=1)
    usable = (activity >= np.quantile(activity, _ACTIVE)) & (joined < 0) & (at_home > 0)
    thrifty = np.flatnonzero(usable & (level <= np.quantile(level, 0.2)))
    lavish = np.flatnonzero(usable & (level >= np.quantile(level, 0.8)))
    pairs = [
        (int(at_home[one] + at_home[other]), -int(one), -int(other))
        for one in thrifty
        for other in lavish
        if not set(styles[one]) & set(styles[other])
    ]
    if not pairs:
        raise NotFound(f"{folder} has no two active shoppers of opposite taste; generate more products.")
    _, one, other = max(pairs)
    ids = rows["user_id"]
    return ids[-one].as_py(), ids[-other].as_py(), lexicon().types[kind].titles[0].lower()
