"""How much of Redis' memory a shopper takes, by the behaviours that are kept of her. Simulated logs.

    python -m bench.capacity.redis_memory --redis 127.0.0.1:6379     # an empty Redis, which is emptied again

Prints one JSON object: bytes for a shopper without behaviours, and bytes for each behaviour (clicks, carts, orders and
searches; impressions are not kept), from two logs of 5,000 shoppers with few and with many behaviours each.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import redis

from bench.capacity.model import line
from bench.features.synthetic_log import write_log

SHOPPERS = 5_000
EVENTS = (20_000, 200_000)


def main() -> None:
    """Measures both logs and prints the line through them."""
    from components.features.step import build, materialise

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", required=True, help="host:port of an empty Redis that may be written to")
    options = parser.parse_args()
    host, _, port = options.redis.partition(":")
    store = redis.Redis(host, int(port))
    if store.dbsize():
        raise SystemExit(f"{options.redis} is not empty.")
    os.environ["TOWERLINE_REDIS"] = options.redis
    kept, each = [], []
    for events in EVENTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_log(folder / "log", events, shoppers=SHOPPERS)
            before = store.info("memory")["used_memory"]
            build(folder / "log", folder / "examples", folder / "sources")
            shoppers = materialise(folder / "sources", folder / "work", "redis")["shoppers"]
            each.append((store.info("memory")["used_memory"] - before) / shoppers)
            kept.append(events * 1.1 / shoppers)  # a search for every ten events is kept as well
        store.flushall()
    found = line(kept, each)
    print(json.dumps({"bytes_a_shopper": round(found.base), "bytes_a_behaviour": round(found.each), "simulated": True}))


if __name__ == "__main__":
    main()
