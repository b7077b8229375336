"""Every limit of the data gate, with its reason.

Pairs are `warn,stop`: beyond the first the run says so in a sentence, beyond the second the gate closes.
"""

import dataclasses
from dataclasses import dataclass
from datetime import date

from components.common.errors import BadSetting
from components.common.settings import setting
from components.validation.alarms import Alarms
from components.validation.expectations import expectation_names


@dataclass(frozen=True)
class ValidationSettings:
    """Settings of `validate_logs`; thresholds start with the name of the table they judge.

    Raises BadSetting for a value out of range, a pair that is not `warn,stop`, or an unknown alarm name.
    """

    # Row checks.
    query_characters: int = setting(500, "no shopper types more; longer ones are scrapers or pasted pages")
    title_characters: int = setting(2_000, "marketplaces cap titles at 80 to 500; beyond this it is a description")
    text_characters: int = setting(1_000_000, "bound of description, brand, category and shop, against runaway rows")
    id_bytes: int = setting(256, "ids are keys in every table and in the index; none needs more")
    price_maximum: float = setting(1e9, "above it a price is a barcode or a timestamp in the wrong column")
    clock_skew_seconds: float = setting(2.0, "clients and servers disagree by this much without anything being wrong")
    earliest: str = setting("1995-01-01", "no shop has searches before; earlier means a wrong unit of time")

    # The gate on rows.
    products_bad_share: float = setting(0.05, "above it the source is broken, not a few rows")
    searches_bad_share: float = setting(0.05, "above it the source is broken, not a few rows")
    events_bad_share: float = setting(0.05, "above it the source is broken, not a few rows")
    judgements_bad_share: float = setting(0.20, "public judgement lists often name products that a catalogue lacks")
    day_bad_share: float = setting(0.20, "one day this bad is a broken night, although the window dilutes it")
    products_floor: int = setting(10, "fewer good products than this are not a catalogue")
    searches_floor: int = setting(10, "fewer good searches than this train nothing")
    events_floor: int = setting(10, "fewer good events than this train nothing")

    # Distributions: yesterday against the days before it, and against the window the served release was trained on.
    trailing_days: int = setting(14, "two weeks: every weekday twice, and a change is usual again after a fortnight")
    products_count: tuple[float, ...] = setting((1.25, 2.0), "factor of catalogue size, up or down")
    products_prices: tuple[float, ...] = setting((0.10, 0.30), "largest gap of the two price distributions, 0 to 1")
    products_titles: tuple[float, ...] = setting((0.15, 0.35), "largest gap of the title length distributions")
    products_category_mix: tuple[float, ...] = setting((0.05, 0.20), "Jensen-Shannon divergence in bits, 0 to 1")
    products_brand_mix: tuple[float, ...] = setting((0.10, 0.30), "Jensen-Shannon divergence in bits, 0 to 1")
    searches_volume: tuple[float, ...] = setting((1.7, 3.0), "factor of a usual day, up or down; weekends reach 1.5")
    searches_query_length: tuple[float, ...] = setting((0.10, 0.25), "largest gap of the query length distributions")
    searches_unknown_words: tuple[float, ...] = setting((0.05, 0.15), "rise of the share of words not in the catalogue")
    searches_one_query: tuple[float, ...] = setting((0.10, 0.30), "share of one query among a day's searches")
    events_volume: tuple[float, ...] = setting((1.7, 3.0), "factor of a usual day for each action, up or down")
    events_hours: tuple[float, ...] = setting((0.03, 0.10), "Jensen-Shannon divergence of the hours of the day")
    events_missing_hours: tuple[float, ...] = setting((0.04, 0.15), "usual share of the hours that hold nothing")
    events_click_through: tuple[float, ...] = setting((1.3, 2.0), "factor of clicks per impression at a position")
    events_conversion: tuple[float, ...] = setting((1.5, 3.0), "factor of carts or orders per click")
    events_category_mix: tuple[float, ...] = setting((0.08, 0.25), "Jensen-Shannon divergence of events' categories")
    events_brand_mix: tuple[float, ...] = setting((0.12, 0.30), "Jensen-Shannon divergence of the events' brands")
    events_one_shopper: tuple[float, ...] = setting((0.05, 0.20), "share of one shopper among a day's events")
    events_bots: tuple[float, ...] = setting((0.01, 0.05), "share of searches and actions faster than a person acts")
    events_label_leak: tuple[float, ...] = setting((0.80, 1.01), "share of searches whose engaged products stand first")
    events_other_user: tuple[float, ...] = setting((0.01, 0.20), "share of events whose user is not the search's user")
    null_share: tuple[float, ...] = setting((0.10, 0.40), "rise of the share of nulls in an optional column")
    actions_per_minute: int = setting(60, "one shopper who clicks or searches more often in a minute is a program")
    shoppers_minimum: int = setting(30, "with fewer shoppers, one with a large share is natural")
    sample_minimum: int = setting(200, "shares of fewer rows than this say nothing")
    warn_only: tuple[str, ...] = setting((), "alarms that may not close the gate in this shop")

    # Statistics and expectations.
    vocabulary: int = setting(20_000, "heavy hitters kept a sketch: query words, products, brands, categories")
    expectations: bool = setting(True, "run the great-expectations suites (their import takes 6 to 12 s)")
    expectation_rows: int = setting(20_000, "rows a table that the suites see; row checks see every row")
    batch_rows: int = setting(131_072, "rows read at a time; memory is flat in it")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in ("tuple[float, ...]", tuple[float, ...]):
                if len(value) != 2 or not 0 <= value[0] <= value[1]:
                    raise BadSetting(f"validation.{field.name} must be warn,stop with 0 <= warn <= stop, not {value}.")
            elif field.name.endswith("_share") and not 0 <= value <= 1:
                raise BadSetting(f"validation.{field.name} must be a share from 0 to 1, not {value}.")
            elif isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
                raise BadSetting(f"validation.{field.name} must not be negative, not {value}.")
        for name in ("trailing_days", "vocabulary", "expectation_rows", "batch_rows", "actions_per_minute"):
            if getattr(self, name) < 1:
                raise BadSetting(f"validation.{name} must be at least 1, not {getattr(self, name)}.")
        try:
            date.fromisoformat(self.earliest)
        except ValueError as error:
            raise BadSetting(f"validation.earliest must be a day such as 1995-01-01, not {self.earliest!r}.") from error
        Alarms(warn_only=self.warn_only, expectations=expectation_names())
