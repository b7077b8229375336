"""How close the marketplace comes to a real shop: facts reported for JDsearch beside what a generated log shows.

JDsearch has one search a shopper, with that shopper's history and about a hundred candidates. Here the searches of the
log's last day by known shoppers stand for them. Facts about engagement are compared as odds ratios, because the rates
themselves follow from how long the shown lists are.

    python -m components.logs.marketplace.calibration [--set products=200000]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.common.settings import from_overrides
from components.logs.contract import Log
from components.logs.marketplace.generate import generate
from components.logs.settings import LogSettings

TEN_MINUTES = 600 * 10**6


@dataclass(frozen=True)
class Fact:
    """One fact: what it is, what is reported for JDsearch, and what the generated log shows."""

    name: str
    target: float
    produced: float


def odds_ratio(first: float, second: float) -> float:
    """How much likelier, as odds, a thing of probability `first` is than one of probability `second`."""
    return (first / (1 - first)) / (second / (1 - second))


REFIND, SAME_SHOP, SAME_BRAND = odds_ratio(0.258, 0.019), odds_ratio(0.065, 0.0175), odds_ratio(0.03, 0.018)


def calibration(log: Log) -> list[Fact]:
    """The table of facts for a log with users, times and impressions."""
    last = log.days("searches")[-1]
    codes = _Codes(log)
    searches = log.read("searches", days=[last])
    searches = searches.filter(pc.is_valid(searches["user_id"]))
    ids, when = searches["search_id"], searches["timestamp"].cast(pa.int64()).to_numpy()
    who = codes.users(searches["user_id"])
    history = codes.history(log)
    past = history.before(who, when)
    recent = history.last(who, when)
    row, product, engaged, ordered = codes.shown(log, last, ids)
    known = {name: history.met(who[row], code[product], name, when[row])
             for name, code in codes.properties.items()}  # fmt: skip
    rate = {name: (engaged[met].mean(), engaged[~met].mean()) for name, met in known.items()}
    return [
        Fact("history actions before a search", 153, past.mean()),
        Fact("history actions without a query", 0.647, history.outside(who, when)),
        Fact("searches that end in an order", 0.117, len(np.unique(row[ordered])) / len(ids)),
        Fact("shown products that are exact re-finds", 0.0079, known["product"].mean()),
        Fact("odds of engagement, re-finds against others", REFIND, odds_ratio(*rate["product"])),
        Fact("odds of engagement, shop used before against others", SAME_SHOP, odds_ratio(*rate["shop_id"])),
        Fact("odds of engagement, brand used before against others", SAME_BRAND, odds_ratio(*rate["brand"])),
        Fact("searches within ten minutes of the last action", 0.39, (when - recent <= TEN_MINUTES).mean()),
    ]


def table(facts: list[Fact], title: str) -> str:
    """The facts as a Markdown table."""
    lines = [f"{title} (simulated)", "", "| fact (JDsearch) | target | produced |", "| --- | ---: | ---: |"]
    return "\n".join(lines + [f"| {fact.name} | {fact.target:.3g} | {fact.produced:.3g} |" for fact in facts])


class _History:
    """Engaged events of all shoppers, ordered by shopper and time."""

    def __init__(
        self, user: NDArray[np.int64], time: NDArray[np.int64], searched: NDArray[np.bool_],
        properties: dict[str, NDArray[np.int64]],
    ) -> None:  # fmt: skip
        self._origin = int(time.min())
        order = np.lexsort((time, user))
        self._keys = self._key(user, time)[order]
        self._times, self._users, self._searched = time[order], user[order], np.append(0, np.cumsum(searched[order]))
        self._first = {name: _first_times(user, code, time) for name, code in properties.items()}

    def before(self, user: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many actions each shopper did before a time."""
        return np.searchsorted(self._keys, self._key(user, time)) - np.searchsorted(self._users, user)

    def last(self, user: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
        """When each shopper last acted before a time; long ago for one who never did."""
        place = np.searchsorted(self._keys, self._key(user, time)) - 1
        found = (place >= 0) & (self._users[place] == user)
        return np.where(found, self._times[place], self._origin - 10**15)

    def outside(self, user: NDArray[np.int64], time: NDArray[np.int64]) -> float:
        """Of all actions before these searches, the share that answers no search."""
        stop, start = np.searchsorted(self._keys, self._key(user, time)), np.searchsorted(self._users, user)
        return float(1 - (self._searched[stop] - self._searched[start]).sum() / (stop - start).sum())

    def met(
        self, user: NDArray[np.int64], code: NDArray[np.int64], name: str, time: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether each shopper acted on the product, shop or brand before a time."""
        keys, first = self._first[name]
        wanted = user * (1 << 32) + code
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return (keys[place] == wanted) & (first[place] < time)

    def _key(self, user: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
        return user * (1 << 43) + (time - self._origin)


class _Codes:
    """Ids of a log as numbers."""

    def __init__(self, log: Log) -> None:
        products = log.products(["product_id", "brand", "shop_id"])
        self._products = products["product_id"].combine_chunks()
        self.properties: dict[str, NDArray[np.int64]] = {"product": np.arange(len(products))}
        for name in ("shop_id", "brand"):
            self.properties[name] = products[name].combine_chunks().dictionary_encode().indices.to_numpy().astype("i8")
        everybody = pc.unique(log.read("events", columns=["user_id"])["user_id"]).drop_null()
        self._users = pa.concat_arrays([everybody, pc.unique(log.read("searches", columns=["user_id"])["user_id"])])
        self._users = pc.unique(self._users.drop_null())

    def users(self, ids: pa.ChunkedArray) -> NDArray[np.int64]:
        """Numbers of shoppers."""
        return pc.index_in(ids, self._users).to_numpy().astype(np.int64)

    def history(self, log: Log) -> _History:
        """Everything known shoppers engaged with."""
        events = log.read("events", columns=["timestamp", "product_id", "action", "search_id", "user_id"])
        events = events.filter(pc.and_(pc.not_equal(events["action"], "impression"), pc.is_valid(events["user_id"])))
        product = pc.index_in(events["product_id"], self._products).to_numpy()
        return _History(
            self.users(events["user_id"]),
            events["timestamp"].cast(pa.int64()).to_numpy(),
            pc.is_valid(events["search_id"]).to_numpy(),
            {name: code[product] for name, code in self.properties.items()},
        )

    def shown(self, log: Log, day: str, searches: pa.ChunkedArray) -> tuple[NDArray[Any], ...]:
        """Of each product shown on a day: row of its search, its number, whether it was engaged with, and ordered."""
        events = log.read("events", days=[day], columns=["product_id", "action", "search_id"])
        row = pc.fill_null(pc.index_in(events["search_id"], searches.combine_chunks()), -1).to_numpy()
        product = pc.index_in(events["product_id"], self._products).to_numpy()
        action = events["action"].to_numpy(zero_copy_only=False)
        mine = row >= 0
        row, product, action = row[mine].astype(np.int64), product[mine].astype(np.int64), action[mine]
        key = row * len(self._products) + product
        shown = np.unique(key[action == "impression"])
        rows, products = np.divmod(shown, len(self._products))
        return rows, products, np.isin(shown, key[action != "impression"]), np.isin(shown, key[action == "order"])


def _first_times(
    user: NDArray[np.int64], code: NDArray[np.int64], time: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    keys = user * (1 << 32) + code
    order = np.lexsort((time, keys))
    unique, first = np.unique(keys[order], return_index=True)
    return unique, time[order][first]


def main() -> None:
    """Generates a log and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of LogSettings")
    settings = from_overrides(LogSettings, dict(item.split("=", 1) for item in parser.parse_args().set))
    with tempfile.TemporaryDirectory() as folder:
        generate(settings, Path(folder) / "log", Path(folder) / "truth")
        print(table(calibration(Log(Path(folder) / "log")), f"Marketplace of {settings.products:,} products"))


if __name__ == "__main__":
    main()
