"""The columns of this room's files and the names Feast knows them by; a change of columns is a new VERSION."""

import pyarrow as pa

VERSION = 1
HISTORY_VIEW = f"shopper_history_v{VERSION}"
SERVICE = HISTORY_VIEW
PUSH_SOURCE = f"shopper_events_v{VERSION}"
PROJECT = "towerline"
SHOPPER = "user_id"
SNAPSHOT_TIME = "event_timestamp"
TIMESTAMP = pa.timestamp("us", tz="UTC")

FEATURES: dict[str, pa.DataType] = {
    "product_ids": pa.list_(pa.string()),
    "actions": pa.list_(pa.int32()),
    "timestamps": pa.list_(pa.int64()),
    "queries": pa.list_(pa.string()),
    "query_timestamps": pa.list_(pa.int64()),
    "bought_product_ids": pa.list_(pa.string()),
    "bought_timestamps": pa.list_(pa.int64()),
    "available_at": pa.int64(),
}
"""The features of the history view. `available_at` is the snapshot's own time in microseconds: Feast keeps event times
online with less precision (whole seconds in SQLite), too coarse to order two clicks."""

SNAPSHOTS = pa.schema([(SHOPPER, pa.string()), (SNAPSHOT_TIME, TIMESTAMP), *FEATURES.items()])

EXAMPLE_HISTORY: dict[str, tuple[str, pa.DataType]] = {
    "history_product_ids": ("product_ids", pa.list_(pa.string())),
    "history_actions": ("actions", pa.list_(pa.int8())),
    "history_timestamps": ("timestamps", pa.list_(pa.int64())),
    "history_queries": ("queries", pa.list_(pa.string())),
    "history_query_timestamps": ("query_timestamps", pa.list_(pa.int64())),
    "bought_product_ids": ("bought_product_ids", pa.list_(pa.string())),
    "bought_timestamps": ("bought_timestamps", pa.list_(pa.int64())),
}
"""Columns of a training example that hold the history: their name, the feature they come from, their type."""

EXAMPLES = pa.schema(
    [
        ("search_id", pa.string()),
        ("timestamp", TIMESTAMP),
        ("query", pa.string()),
        ("user_id", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("country", pa.string()),
        ("product_ids", pa.list_(pa.string())),
        ("stages", pa.list_(pa.int8())),
        ("positions", pa.list_(pa.int32())),
        *((name, kind) for name, (_, kind) in EXAMPLE_HISTORY.items()),
    ]
)

GRAPH = pa.schema(
    [("product_id", pa.string()), ("queries", pa.list_(pa.string())), ("weights", pa.list_(pa.float32()))]
)
SPLITS = ("train", "validation", "test")
