"""What the towers' vocabulary would lose if it came from sketches of a day's queries instead of the training text.

The training text is the catalogue's titles and the queries of training searches that led to an action, each once. The
alternative keeps a Misra-Gries sketch of each day's queries, merges those of the training days, and takes the queries
that are left. Both cut the same units and drop tokens of one text alone.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tfx_bsl import sketches

from components.logs.contract import Log
from components.logs.marketplace.generate import generate
from components.logs.settings import LogSettings
from components.towers.text import cut
from components.towers.vocabulary import Vocabulary

UNITS = ("stems", "stem_bigrams", "character_3grams")


def compare(folder: Path, products: int, capacities: list[int]) -> list[dict[str, Any]]:
    """One row for the vocabulary from the text, with what making it costs, and one a capacity of the sketches."""
    generate(LogSettings(products=products, history_days=0), folder / "log", folder / "truth")
    log = Log(folder / "log")
    *days, _, last = log.days("searches")
    titles = log.products(["title"])["title"].to_pylist()
    queries = _training_queries(log, days)
    start = time.process_time()
    known = _tokens([*titles, *queries], folder)
    seconds = round(time.process_time() - start, 2)
    asked = _queries(log, last).to_pylist()
    test = Counter((unit, token) for query in asked for unit in UNITS for token in cut(query, unit))
    told = {token: count for token, count in test.items() if token in known}
    rows: list[dict[str, Any]] = [{"text": len(queries), "tokens": len(known), "cpu_seconds": seconds}]
    for capacity in capacities:
        states = [_sketch(_queries(log, day), capacity) for day in days]
        found = _merged(states, capacity)
        tokens = _tokens([*titles, *found], folder)
        lost = sum(count for token, count in told.items() if token not in tokens)
        rows.append(
            {
                "capacity": capacity,
                "queries": len(found),
                "megabytes": round(sum(map(len, states)) / 1e6, 2),
                "tokens_lost": len(known - tokens),
                "tokens_untrained": len(tokens - known),
                "test_tokens_lost": round(lost / sum(told.values()), 4),
            }
        )
    return rows


def _tokens(texts: list[str], folder: Path) -> set[tuple[str, str]]:
    Vocabulary.build(texts, UNITS).save(folder / "vocabulary.parquet")
    table = pq.read_table(folder / "vocabulary.parquet", columns=["unit", "token"])
    return set(zip(table["unit"].to_pylist(), table["token"].to_pylist(), strict=True))


def _queries(log: Log, day: str) -> pa.Array:
    return log.read("searches", [day], ["query"])["query"].combine_chunks()


def _training_queries(log: Log, days: list[str]) -> list[str]:
    """The distinct queries of these days' searches that led to more than being shown products."""
    searches = log.read("searches", days, ["search_id", "query"])
    events = log.read("events", days, ["search_id", "action"])
    acted = events.filter(pc.not_equal(events["action"], "impression"))["search_id"].drop_null()
    found: list[str] = pc.unique(searches.filter(pc.is_in(searches["search_id"], acted))["query"]).to_pylist()
    return found


def _sketch(queries: pa.Array, capacity: int) -> bytes:
    sketch = sketches.MisraGriesSketch(capacity)
    sketch.AddValues(queries)
    state: bytes = sketch.Serialize()
    return state


def _merged(states: list[bytes], capacity: int) -> list[str]:
    total = sketches.MisraGriesSketch(capacity)
    for state in states:
        total.Merge(sketches.MisraGriesSketch.Deserialize(state))
    found: list[str] = total.Estimate().field(0).cast(pa.string()).to_pylist()
    return found
