"""Settings of the logs room: the size and seed of the sample marketplace, and the locale of public sets."""

from dataclasses import dataclass
from datetime import date

from components.common.errors import BadSetting
from components.common.settings import setting


@dataclass(frozen=True)
class LogSettings:
    """How large the simulated marketplace is; everything else about it follows from `products` and the seed.

    Of the other sources only ESCI has something to set: its locale.
    """

    products: int = setting(5000, "size of the catalogue; shoppers and searches grow with it")
    days: int = setting(9, "days of searches: seven to train on, one to validate, one to test")
    history_days: int = setting(21, "days of behaviour before the first search day, so that histories are not empty")
    activity: float = setting(1.0, "searches and browsing of a day, as a multiple of the default rate")
    overlap: float = setting(0.55, "share of queries whose noun is one that titles use; the rest is the semantic gap")
    seed: int = setting(7, "names the marketplace: the same seed gives the same bytes on every machine")
    end: str = setting("2026-06-30", "last day of the log, YYYY-MM-DD")
    locale: str = setting("us", "locale kept of a set that has several (ESCI: us, es, jp); empty keeps all")
    workers: int = setting(1, "processes that generate days side by side; the log is the same for any number")

    def __post_init__(self) -> None:
        if not 1000 <= self.products <= 10_000_000:
            raise BadSetting(f"logs.products must be between 1,000 and 10,000,000, not {self.products:,}.")
        if not 3 <= self.days <= 365:
            raise BadSetting(f"logs.days must be between 3 and 365, not {self.days}.")
        if not 0 <= self.history_days <= 365:
            raise BadSetting(f"logs.history_days must be between 0 and 365, not {self.history_days}.")
        if not 0.01 <= self.activity <= 1000:
            raise BadSetting(f"logs.activity must be between 0.01 and 1000, not {self.activity}.")
        if not 0 <= self.overlap <= 1:
            raise BadSetting(f"logs.overlap must be between 0 and 1, not {self.overlap}.")
        if self.workers < 1:
            raise BadSetting(f"logs.workers must be 1 or more, not {self.workers}.")
        if self.seed < 0:
            raise BadSetting(f"logs.seed must not be negative, not {self.seed}.")
        try:
            date.fromisoformat(self.end)
        except ValueError as error:
            raise BadSetting(f"logs.end must be a day such as 2026-06-30, not {self.end!r}.") from error
