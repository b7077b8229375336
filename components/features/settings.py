"""The settings of this room: how long a history is kept, how its windows are cut, how much memory the build takes."""

from dataclasses import dataclass, fields

from components.common.errors import BadSetting
from components.common.settings import setting

_MAY_BE_ZERO = ("real_time_days", "push_grace_seconds")


@dataclass(frozen=True)
class FeatureSettings:
    """Histories, windows, the query-product graph, and the build's limits.

    Window lengths and ages follow MGDSPR (section 3.1): real-time clicks, short-term clicks of 10 days, long-term
    behaviours of a month. Raises BadSetting when a value is out of range.
    """

    history_length: int = setting(300, "product behaviours kept per shopper: enough for every window at its cap")
    recent_queries: int = setting(20, "searches kept per shopper: historical queries (MGDSPR), recent searches (UEPPR)")
    bought_products: int = setting(100, "distinct products bought that are kept per shopper (UEPPR)")
    real_time_length: int = setting(50, "latest clicks in the real-time window (MGDSPR)")
    real_time_days: float = setting(0.0, "oldest click of the real-time window in days; 0: no limit, as in MGDSPR")
    short_term_length: int = setting(100, "clicks in the short-term window (MGDSPR)")
    short_term_days: float = setting(10.0, "oldest click of the short-term window in days (MGDSPR)")
    long_term_length: int = setting(100, "behaviours of each action in the long-term window (MGDSPR)")
    long_term_days: float = setting(30.0, "oldest behaviour of the long-term window in days (MGDSPR: one month)")
    graph_weights: tuple[float, ...] = setting(
        (1.0, 2.0, 3.0, 5.0), "weight of click, favourite, cart, order on a query-product edge: rarer means more"
    )
    graph_queries: int = setting(50, "queries kept per product in the graph, the heaviest first")
    push_grace_seconds: float = setting(
        3600.0, "pushed events this close to the log's end stay online although the log lacks them: logs arrive late"
    )
    bucket_elements: int = setting(8_000_000, "list elements of histories worked on at once: bounds the memory")
    online_batch: int = setting(500, "shoppers written online in one transaction")
    memory_limit_mb: int = setting(1500, "memory DuckDB may take before it spills to disk")

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                continue
            if value < 0 or (value == 0 and field.name not in _MAY_BE_ZERO):
                raise BadSetting(f"features.{field.name} must be greater than 0, not {value}.")
        if len(self.graph_weights) != 4 or min(self.graph_weights) <= 0:
            raise BadSetting(
                "features.graph_weights needs four numbers above 0 (click, favourite, cart, order), "
                f"not {self.graph_weights}."
            )
        if self.short_term_days > self.long_term_days:
            raise BadSetting(
                f"features.short_term_days ({self.short_term_days}) must not exceed "
                f"features.long_term_days ({self.long_term_days})."
            )
